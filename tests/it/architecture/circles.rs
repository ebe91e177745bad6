//! Import cycles between files: found in every spelling of a path, and bounded in size.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Maximum number of files in an import cycle.
const LARGEST_CIRCLE: usize = 3;

/// Files as modules: the path from the root, such as `cache::fetch::plan`, and the code.
type Modules = BTreeMap<Vec<String>, String>;

fn modules(sources: &[Source]) -> Modules {
    let shipped = sources.iter().filter(|source| !is_test_file(source));
    shipped
        .map(|source| {
            let path = source.path.trim_end_matches(".rs");
            let path = path.strip_suffix("/mod").unwrap_or(path);
            let root = path == "lib" || path == "main";
            let path = path.split('/').filter(|_| !root).map(str::to_owned).collect();
            (path, source.code())
        })
        .collect()
}

/// Splits code into words and single punctuation marks; `::` counts as a word.
pub(super) fn tokens(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = match first {
            ':' if rest.starts_with("::") => 2,
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        found.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    found
}

/// Returns each path of a `use` tree, without renames (`as`).
fn paths(tree: &[&str]) -> Vec<Vec<String>> {
    let mut prefix = Vec::new();
    let mut at = 0;
    while at < tree.len() {
        match tree[at] {
            "::" => {}
            "as" => at += 1,
            "{" => {
                let (mut found, mut depth, mut start) = (Vec::new(), 0, at + 1);
                for (end, token) in tree.iter().enumerate().skip(at) {
                    match *token {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        _ => {}
                    }
                    let is_end = depth == 0 || depth == 1 && *token == ",";
                    if is_end {
                        found.extend(paths(&tree[start..end]));
                        start = end + 1;
                    }
                    if depth == 0 {
                        break;
                    }
                }
                let joined = |path: Vec<String>| prefix.iter().cloned().chain(path).collect();
                return found.into_iter().map(joined).collect();
            }
            word => prefix.push(word.to_owned()),
        }
        at += 1;
    }
    if prefix.is_empty() { Vec::new() } else { vec![prefix] }
}

/// Resolves a path in the module `of` to one from the root; `None`: it is another crate's, or a name in scope.
fn from_root(path: &[String], of: &[String], modules: &Modules) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let joined = |base: &[String], rest: &[String]| Some([base, rest].concat());
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => joined(of, &path[1..]),
        "super" => joined(&of[..of.len().checked_sub(supers)?], &path[supers..]),
        _ => {
            let child = [of, &path[..1]].concat();
            modules.contains_key(&child).then(|| [of, path].concat())
        }
    }
}

/// Names that a file takes from elsewhere: in `use`, and in paths that begin with a module. A name that it only
/// re-exports (`pub use`) and does not use itself is not among them.
struct Names {
    used: Vec<Vec<String>>,
    /// Re-exports, by the name under which the file exports them.
    handed_on: BTreeMap<String, Vec<String>>,
}

fn names(of: &[String], code: &str, modules: &Modules) -> Names {
    let tokens = tokens(code);
    let mut names = Names { used: Vec::new(), handed_on: BTreeMap::new() };
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before]);
        if tokens[at] == "use" && before != "+" {
            let end = tokens[at..].iter().position(|t| *t == ";").map_or(tokens.len(), |n| at + n);
            let is_public = before == "pub" || before == ")";
            for path in paths(&tokens[at + 1..end]) {
                let Some(path) = from_root(&path, of, modules) else { continue };
                let name = path.last().cloned().unwrap_or_default();
                let has_use = tokens.iter().filter(|token| **token == name).count() > 1;
                if !is_public || has_use {
                    names.used.push(path.clone());
                }
                if is_public {
                    names.handed_on.insert(name, path);
                }
            }
            at = end;
        } else if tokens.get(at + 1) == Some(&"::") && before != "::" && before != "in" {
            let mut path = vec![tokens[at].to_owned()];
            while tokens.get(at + 1) == Some(&"::") && at + 2 < tokens.len() {
                path.push(tokens[at + 2].to_owned());
                at += 2;
            }
            names.used.extend(from_root(&path, of, modules));
        }
        at += 1;
    }
    names
}

/// Returns the files that each file imports; a re-exported name counts for the file that defines it.
fn graph(modules: &Modules) -> BTreeMap<&[String], BTreeSet<&[String]>> {
    let of_files: BTreeMap<_, _> =
        modules.iter().map(|(path, code)| (path, names(path, code, modules))).collect();
    let file_of = |path: &[String]| {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let length = (0..=path.len()).rev().find(|n| modules.contains_key(&path[..*n]))?;
            let (file, names) = of_files.get_key_value(&path[..length].to_vec())?;
            match path.get(length).and_then(|name| names.handed_on.get(name)) {
                Some(further) => path = [further, &path[length + 1..]].concat(),
                None => return Some(file.as_slice()),
            }
        }
        None
    };
    let imports = |(path, names): (&&Vec<String>, &Names)| {
        let files = names.used.iter().filter_map(|used| file_of(used));
        // The crate's root only lists the modules.
        let others = files.filter(|file| !file.is_empty() && *file != path.as_slice());
        (modules.get_key_value(*path).expect("one of them").0.as_slice(), others.collect())
    };
    of_files.iter().map(imports).collect()
}

/// Returns the groups of files in which every file reaches every other one.
fn circles<'a>(
    graph: &BTreeMap<&'a [String], BTreeSet<&'a [String]>>,
) -> Vec<BTreeSet<&'a [String]>> {
    let reached = |from: &'a [String]| {
        let mut found = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            for next in graph.get(file).into_iter().flatten() {
                if found.insert(*next) {
                    open.push(next);
                }
            }
        }
        found
    };
    let reached: BTreeMap<_, _> = graph.keys().map(|file| (*file, reached(file))).collect();
    let mut found: Vec<BTreeSet<_>> = Vec::new();
    for (file, of_it) in &reached {
        let circle: BTreeSet<_> =
            of_it.iter().copied().filter(|other| reached[other].contains(file)).collect();
        if !circle.is_empty() && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

#[test]
fn no_circle_of_imports_is_larger_than_three_files() {
    let modules = modules(&sources());
    let graph = graph(&modules);
    assert!(graph.values().map(BTreeSet::len).sum::<usize>() > 500, "imports are found");
    let name = |file: &&[String]| file.join("::");
    let too_large: Vec<Vec<_>> = circles(&graph)
        .iter()
        .filter(|circle| circle.len() > LARGEST_CIRCLE)
        .map(|circle| circle.iter().map(name).collect())
        .collect();
    assert!(too_large.is_empty(), "circles of imports: {too_large:#?}");
}

#[test]
fn a_circle_is_found_through_every_spelling_and_no_other() {
    let file = |path: &str, code: &str| {
        (path.split("::").map(str::to_owned).collect::<Vec<_>>(), without_tests(&bare(code)))
    };
    let modules = Modules::from([
        (Vec::new(), "pub mod a; pub mod b;".to_owned()),
        file("a", "mod x; mod y; pub use x::{Thing as Name, self}; pub use y::Other;"),
        file("a::x", "use super::y::{self, Other}; pub struct Thing;"),
        file("a::y", "fn f() { crate::b::z::g() } pub(in crate::a) fn h() {}"),
        file("b", "pub mod z; mod apart;"),
        file("b::z", "use crate::{a::{Other}, b::apart}; // use crate::b;\nfn g() {}"),
        file("b::apart", "#[cfg(test)]\nmod tests { use super::z; }"),
    ]);
    let found = circles(&graph(&modules));
    let found: Vec<Vec<_>> =
        found.iter().map(|circle| circle.iter().map(|file| file.join("::")).collect()).collect();
    assert_eq!(found, [["a::y", "b::z"]]);
}
