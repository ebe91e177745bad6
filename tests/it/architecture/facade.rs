//! The cache is a facade: its work is done by types of their own, which do not know it.

use super::circles::tokens;
use super::*;

/// Files of the facade: its assembly and its delegating methods.
const FACADE: [&str; 2] = ["cache/assembly.rs", "cache/facade.rs"];

/// Returns the types that the code has `impl` blocks for, by their last name.
fn implemented(code: &str) -> BTreeSet<String> {
    let tokens = tokens(code);
    let blocks = tokens.iter().enumerate().filter(|(_, token)| **token == "impl");
    blocks.filter_map(|(at, _)| subject(&tokens[at + 1..])).map(str::to_owned).collect()
}

/// Returns the type of one `impl` block, given the tokens after `impl`; `None`: the keyword is in a parameter or a
/// result.
fn subject<'a>(tokens: &[&'a str]) -> Option<&'a str> {
    let mut name = None;
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "<" => depth += 1,
            // The `>` of `->` closes nothing.
            ">" if tokens[..at].last() != Some(&"-") => depth = depth.checked_sub(1)?,
            _ if depth > 0 => {}
            "{" | "where" => return name,
            "for" => name = None,
            "," | ";" | ")" | "=" | "+" => return None,
            word => name = Some(word).filter(|word| *word != "::").or(name),
        }
    }
    None
}

#[test]
fn the_cache_has_its_methods_in_two_files() {
    let sources = sources();
    let of_cache = sources.iter().filter(|s| s.room() == "cache" && !is_test_file(s));
    let files = of_cache.filter(|s| implemented(&s.code()).contains("Cache"));
    let mut files: Vec<_> = files.map(|source| source.path.as_str()).collect();
    files.sort_unstable();
    assert_eq!(files, FACADE, "methods of the cache belong to types of their own");
}

#[test]
fn no_part_of_the_cache_knows_the_facade() {
    let parts = sources();
    let parts = parts.iter().filter(|s| s.room() == "cache" && !is_test_file(s));
    let parts = parts.filter(|s| !FACADE.contains(&s.path.as_str()) && s.path != "cache/mod.rs");
    let knows = |source: &&Source| {
        let code = source.code();
        let tokens = tokens(&code);
        // `moka::sync::Cache as Moka` is another type.
        let names_it = |pair: &[&str]| pair[0] == "facade" || pair[0] == "Cache" && pair[1] != "as";
        tokens.windows(2).any(names_it)
    };
    let know: Vec<_> = parts.filter(knows).map(|source| &source.path).collect();
    assert!(know.is_empty(), "{know:?}");
}

#[test]
fn types_with_methods_are_found_in_every_spelling() {
    let code = "impl Plain { fn f(x: impl Into<Other>, y: Vec<impl Fn() -> Other>) -> impl Clone + use<'_> { x } }\n\
        impl<'a, T: Fn() -> Other> Generic<'a, T> where T: Clone {}\n\
        impl From<Other> for crate::cache::Path {}\nimpl<T> Trait for &Reference<T> {}";
    let found: Vec<_> = implemented(code).into_iter().collect();
    assert_eq!(found, ["Generic", "Path", "Plain", "Reference"]);
}
