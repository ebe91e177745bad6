//! Generated files of the repository, checked by tests. `make generate` writes them.

use std::path::Path;

/// Compares a generated file with its expected text, and writes it first if `HOTSET_WRITE_SCHEMA` is set.
pub(crate) fn assert_current(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("HOTSET_WRITE_SCHEMA").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file that can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(text.lines()).find(|(found, text)| found != text);
    assert!(found == text, "{file} is out of date: run `make generate`; first line: {differs:?}");
}
