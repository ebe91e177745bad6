//! Allowed imports between modules, as a table that the sources are checked against; and the maximum length of a
//! file.
//!
//! A pure vocabulary at the bottom (`s3`), a cache that knows no HTTP, an origin that knows no caching, a thin face
//! on top. `app`, `cli`, `config` and `embedded` assemble the modules and are not in the table; no module in it may
//! import them, except for `config::units`.

/// Import cycles between files.
mod circles;
/// First sentences of doc comments.
mod doc_comments;
/// The facade of the cache.
mod facade;
/// Modules named in the documentation.
mod prose;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Top modules, each with all top modules of ours that it may import; itself is always allowed.
const MAY_IMPORT: [(&str, &[&str]); 20] = [
    ("accept", &[]),
    ("pacing", &[]),
    ("permits", &[]),
    ("s3", &[]),
    ("sys", &[]),
    ("yaml", &[]),
    ("glob", &[]),
    ("metrics", &[]),
    ("logging", &["metrics", "pacing"]),
    ("inspect", &["glob", "logging", "metrics", "config::units"]),
    ("tls", &["metrics", "config::units"]),
    ("tracing", &["metrics", "pacing", "tls", "config::units"]),
    ("auth", &["s3", "glob", "yaml", "metrics", "config::units"]),
    (
        "origin",
        &["auth", "pacing", "permits", "sys", "s3", "glob", "tracing", "metrics", "config::units"],
    ),
    ("cache", &["origin", "sys", "s3", "glob", "metrics", "config::units"]),
    ("warm", &["cache", "origin", "permits", "s3", "glob", "metrics", "config::units"]),
    ("cluster", &["cache", "pacing", "s3", "glob", "metrics", "config::units"]),
    (
        "events",
        &[
            "accept",
            "cache",
            "cluster",
            "origin",
            "pacing",
            "permits",
            "warm",
            "auth",
            "tls",
            "s3",
            "metrics",
            "config::units",
        ],
    ),
    (
        "proxy",
        &[
            "accept",
            "cache",
            "cluster",
            "auth",
            "inspect",
            "logging",
            "origin",
            "permits",
            "s3",
            "tls",
            "tracing",
            "metrics",
            "config::units",
        ],
    ),
    (
        "admin",
        &[
            "accept",
            "auth",
            "cache",
            "cluster",
            "inspect",
            "logging",
            "tls",
            "warm",
            "s3",
            "metrics",
            "config::units",
        ],
    ),
];

/// Top modules that are independent of the HTTP library.
const NAME_NO_PINGORA: [&str; 2] = ["s3", "cache"];

const LONGEST_FILE: usize = 500;

struct Source {
    /// Path below `src/`, with slashes.
    path: String,
    text: String,
}

impl Source {
    /// Returns the top module that the file belongs to.
    fn room(&self) -> &str {
        let first = self.path.split('/').next().expect("a path has a first part");
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Returns the code without comments, the contents of strings, and `#[cfg(test)]` items.
    fn code(&self) -> String {
        without_tests(&bare(&self.text))
    }
}

/// Removes comments and the contents of strings and characters, where braces have no meaning.
fn bare(text: &str) -> String {
    let text: Vec<char> = text.chars().collect();
    let starts =
        |at: usize, with: &str| with.chars().enumerate().all(|(i, c)| text.get(at + i) == Some(&c));
    let mut kept = String::new();
    let mut at = 0;
    while at < text.len() {
        let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
        let raw = text[at] == 'r' && text.get(at + 1 + hashes) == Some(&'"');
        if starts(at, "//") {
            at = text[at..].iter().position(|c| *c == '\n').map_or(text.len(), |end| at + end);
        } else if raw {
            let end = format!("\"{}", "#".repeat(hashes));
            at += hashes + 2;
            while !starts(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if text[at] == '"' {
            at += 1;
            while text[at] != '"' {
                at += if text[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if starts(at, "'\\") || text[at] == '\'' && text.get(at + 2) == Some(&'\'') {
            at += if text[at + 1] == '\\' { 3 } else { 2 };
            while text[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else {
            kept.push(text[at]);
            at += 1;
        }
    }
    kept
}

fn sources() -> Vec<Source> {
    let found: Vec<_> =
        rust_files("src").into_iter().map(|(path, text)| Source { path, text }).collect();
    assert!(found.len() > 30, "the sources are found");
    found
}

/// Returns the paths below a folder of the repository, with slashes, and the texts of all Rust files there.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path: PathBuf = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.extend((!path.ends_with("target")).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a readable file");
                let below = path.strip_prefix(&root).expect("below the root");
                found.push((below.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
    found
}

/// Whether a file has tests only: `mod tests;` includes it under `#[cfg(test)]`.
fn is_test_file(source: &Source) -> bool {
    source.path.ends_with("/tests.rs") || source.path.contains("/tests/")
}

/// Removes each item behind `#[cfg(test)]`, up to its `;` or its matching brace.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find([';', '{']).expect("an attribute belongs to an item");
        let length =
            if rest.as_bytes()[end] == b';' { end + 1 } else { end + braces(&rest[end..]) };
        rest = &rest[length..];
    }
    kept + rest
}

/// Returns the length of a block that begins with a brace.
fn braces(block: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in block.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    panic!("braces that do not match in {block}")
}

/// Returns the modules that the code names after `crate::`, as precisely as the table: `cache`, `config::units`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        // `pub(in crate::auth)` limits visibility, and imports nothing.
        if code[..at].ends_with("in ") {
            continue;
        }
        for path in heads(&code[at + "crate::".len()..]) {
            found.insert(path);
        }
    }
    found
}

/// Returns the first modules of a path: `a` and `b` for `{a::X, b}`.
fn heads(path: &str) -> Vec<String> {
    if let Some(list) = path.strip_prefix('{') {
        let list = &list[..braces(path) - 2];
        let mut members = Vec::new();
        let (mut depth, mut start) = (0, 0);
        for (at, byte) in list.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b',' if depth == 0 => {
                    members.push(&list[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        members.push(&list[start..]);
        return members
            .iter()
            .map(|m| m.trim())
            .filter(|m| !m.is_empty())
            .flat_map(heads)
            .collect();
    }
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let first = word(path);
    match path[first.len()..].strip_prefix("::") {
        Some(rest) if first == "config" && rest.starts_with('{') => {
            heads(rest).iter().map(|second| format!("config::{second}")).collect()
        }
        Some(rest) if first == "config" => vec![format!("config::{}", word(rest))],
        _ => vec![first],
    }
}

#[test]
fn nobody_imports_what_the_table_does_not_allow() {
    let sources = sources();
    let mut forbidden = Vec::new();
    for (room, allowed) in MAY_IMPORT {
        let mut files = 0;
        for source in sources.iter().filter(|s| s.room() == room && !is_test_file(s)) {
            files += 1;
            for import in imports(&source.code()) {
                if import != room && !allowed.contains(&import.as_str()) {
                    forbidden.push(format!("src/{} imports crate::{import}", source.path));
                }
            }
        }
        assert!(files > 0, "there is no room {room} any more: change the table");
    }
    assert!(forbidden.is_empty(), "{forbidden:#?}");
}

#[test]
fn what_everybody_imports_imports_nothing_of_ours() {
    for source in sources().iter().filter(|s| s.path.starts_with("config/units")) {
        let imports = imports(&source.code());
        assert!(imports.iter().all(|i| i == "config::units"), "{}: {imports:?}", source.path);
    }
}

#[test]
fn s3_and_cache_name_no_type_of_pingora() {
    for source in sources().iter().filter(|s| NAME_NO_PINGORA.contains(&s.room())) {
        let code = source.code();
        assert!(!code.contains("pingora"), "src/{} names pingora", source.path);
    }
}

#[test]
fn connections_know_no_cache() {
    for source in sources().iter().filter(|s| s.path.starts_with("proxy/conn/")) {
        assert!(!imports(&source.code()).contains("cache"), "src/{} imports cache", source.path);
    }
}

#[test]
fn unsafe_code_is_in_one_folder() {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for source in sources().iter().filter(|s| s.room() != "sys") {
        let code = bare(&source.text);
        assert!(!code.split(|c| !is_word(c)).any(|w| w == "unsafe"), "src/{}", source.path);
    }
}

#[test]
fn no_file_is_longer_than_one_can_keep_in_mind() {
    let too_long: Vec<_> = sources()
        .iter()
        .map(|source| (source.path.clone(), source.text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .collect();
    assert!(too_long.is_empty(), "more than {LONGEST_FILE} lines: {too_long:?}");
}

#[test]
fn imports_are_found_in_every_spelling() {
    let code = "use crate::{cache::{self, Cache}, s3, config::{units::X, Config}};\n\
        fn f() { crate::origin::get() }\npub(in crate::auth) fn g() {}\n\
        #[cfg(test)]\nuse crate::admin;\n#[cfg(test)]\nmod tests { use crate::app::{App, run}; }\n\
        use crate::metrics;";
    let code = format!(
        "{code}\n// use crate::cli;\nconst X: &str = \"{{ crate::cli\";\nconst Y: char = '{{';\n\
        const Z: &str = r#\"crate::cli\"#;\nconst W: [char; 2] = ['\\'', '\\\\'];"
    );
    let found: Vec<_> = imports(&without_tests(&bare(&code))).into_iter().collect();
    assert_eq!(found, ["cache", "config::Config", "config::units", "metrics", "origin", "s3"]);
}
