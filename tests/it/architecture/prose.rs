//! Modules named in the crate's documentation and on the page about the architecture.

use std::collections::BTreeMap;

use super::*;

/// Returns each `a::b` in a text.
fn paths(text: &str) -> Vec<Vec<&str>> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_part(c)).map(|word| word.trim_matches(':'));
    words.filter(|word| word.contains("::")).map(|word| word.split("::").collect()).collect()
}

/// Returns the code of each module by its path, such as `cache::fetch::plan`.
fn modules() -> BTreeMap<String, String> {
    let module = |source: &Source| {
        let path = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        (path.replace('/', "::"), source.code())
    };
    sources().iter().map(module).collect()
}

/// Whether a path is a module, or an item whose name occurs in its module.
fn exists(path: &[&str], modules: &BTreeMap<String, String>) -> bool {
    let (name, module) = path.split_last().expect("a path has parts");
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    modules.contains_key(&path.join("::"))
        || modules
            .get(&module.join("::"))
            .is_some_and(|code| code.split(|c| !is_word(c)).any(|word| word == *name))
}

#[test]
fn modules_that_the_documentation_names_exist() {
    let modules = modules();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("a readable file");
    let crate_docs: Vec<_> = read("src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(str::to_owned)
        .collect();
    let texts = [crate_docs.join("\n"), read("docs/architecture.md")];
    let mut named = 0;
    let mut missing = Vec::new();
    for path in texts.iter().flat_map(|text| paths(text)) {
        named += 1;
        if !exists(&path, &modules) {
            missing.push(path.join("::"));
        }
    }
    assert!(named > 15, "{named} are found");
    assert!(missing.is_empty(), "there is no {missing:?}");
}

#[test]
fn a_path_of_the_documentation_is_a_module_or_an_item_of_one() {
    let modules = BTreeMap::from([
        ("a".to_owned(), "mod b; pub use b::Thing;".to_owned()),
        ("a::b".to_owned(), "pub struct Thing;".to_owned()),
    ]);
    let text = "`a::b` and a::Thing, but (a::c) and b::Thing: see a::b::Other.";
    let missing: Vec<_> = paths(text).into_iter().filter(|path| !exists(path, &modules)).collect();
    assert_eq!(missing, [vec!["a", "c"], vec!["b", "Thing"], vec!["a", "b", "Other"]]);
}
