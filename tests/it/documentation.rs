use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use hotset::config::Config;

use crate::support::{Scratch, hotset, run};

/// Folders that hold pages, and single pages beside them.
const PLACES: &[&str] = &["README.md", "CHANGELOG.md", ".github", "docs", "conf", "helm/hotset"];

/// A Markdown page, by its path from the root of the project.
struct Page {
    path: PathBuf,
    /// Text of the page without fenced blocks.
    text: String,
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap();
        Self { path: path.to_owned(), text: without_code(&text) }
    }

    /// Returns the project files that the page links to, each with the heading if there is one.
    fn links(&self) -> Vec<(PathBuf, Option<String>)> {
        let targets = self.text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        targets
            .map(|(target, _)| target)
            .filter(|target| !target.contains("://"))
            .map(|target| {
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let folder = self.path.parent().unwrap();
                let path =
                    if file.is_empty() { self.path.clone() } else { plain(&folder.join(file)) };
                (path, Some(heading.to_owned()).filter(|heading| !heading.is_empty()))
            })
            .collect()
    }

    fn anchors(&self) -> BTreeSet<String> {
        self.text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn without_code(text: &str) -> String {
    let mut code = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Returns the path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(found.pop(), "{} leaves the project", path.display()),
            part => found.push(part),
        }
    }
    found
}

/// Returns the anchor that forges generate for a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn pages() -> Vec<Page> {
    let mut waiting: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if root().join(&path).is_dir() {
            let entries = fs::read_dir(root().join(&path)).unwrap();
            waiting.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(Page::read(&path));
        }
    }
    found
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let mut checked = 0;
    for page in pages() {
        for (target, heading) in page.links() {
            let shown = format!("{} links to {}", page.path.display(), target.display());
            assert!(root().join(&target).exists(), "{shown}, which does not exist");
            if let Some(heading) = heading {
                let anchors = Page::read(&target).anchors();
                assert!(
                    anchors.contains(&heading),
                    "{shown}#{heading}, a heading it does not have"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked} links were found");
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let mut reached = BTreeSet::from([PathBuf::from("README.md")]);
    let mut waiting = vec![PathBuf::from("README.md")];
    while let Some(path) = waiting.pop() {
        for (target, _) in Page::read(&path).links() {
            let is_page = target.extension().is_some_and(|extension| extension == "md");
            if is_page && reached.insert(target.clone()) {
                waiting.push(target);
            }
        }
    }
    // The book's table of contents is not read on a forge.
    let is_read = |path: &Path| path.starts_with("docs") && !path.ends_with("SUMMARY.md");
    let docs = pages().into_iter().filter(|page| is_read(&page.path));
    let missed: Vec<_> =
        docs.filter(|page| !reached.contains(&page.path)).map(|page| page.path).collect();
    assert!(missed.is_empty(), "no page links to {missed:?}");
}

#[test]
fn anchors_are_those_of_forges() {
    assert_eq!(anchor("## More than one replica"), "more-than-one-replica");
    assert_eq!(anchor("## `cluster.peers`"), "clusterpeers");
    assert_eq!(
        anchor("## Events: trusted for hours, behind by seconds"),
        "events-trusted-for-hours-behind-by-seconds"
    );
}

/// Returns the rules of `docs/invariants.md`: each number with the files in which the page says tests of it are.
fn rules() -> Vec<(u32, Vec<PathBuf>)> {
    let page = fs::read_to_string(root().join("docs/invariants.md")).unwrap();
    let mut rules = Vec::new();
    for section in page.split("\n### R").skip(1) {
        let number = section.split_once(':').unwrap().0.parse().unwrap();
        let tests = section.lines().find_map(|line| line.strip_prefix("Tests: "));
        let tests = tests.unwrap_or_else(|| panic!("R{number} has no line of tests"));
        let files = tests.split(", ").map(|file| PathBuf::from(file.trim_matches('`'))).collect();
        rules.push((number, files));
    }
    rules
}

#[test]
fn every_rule_has_tests_that_are_named_after_it() {
    let rules = rules();
    let numbers: Vec<u32> = rules.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    for (number, files) in rules {
        for file in files {
            let text = fs::read_to_string(root().join(&file));
            let text = text.unwrap_or_else(|e| panic!("R{number}: {}: {e}", file.display()));
            let named = [format!("fn r{number}_"), format!("def test_r{number}_")];
            assert!(
                named.iter().any(|name| text.contains(name)),
                "{} has no test that is named after R{number}",
                file.display()
            );
        }
    }
}

/// Returns the YAML blocks in a page, each with the line that it begins on.
fn yaml_blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut block, line.trim_start().strip_prefix("```")) {
            (None, Some("yaml" | "yml")) => block = Some((index + 1, String::new())),
            (None, _) => {}
            (Some(_), Some(_)) => blocks.extend(block.take()),
            (Some((_, text)), None) => text.extend([line, "\n"]),
        }
    }
    blocks
}

/// Returns the hotset configuration in a block, also within values of the chart. `None`: the block is something else.
fn configuration(block: &str) -> Option<String> {
    if block.contains("{{") || block.contains("apiVersion:") {
        return None;
    }
    let yaml: serde_json::Value = hotset::yaml::from_str(block).expect("YAML");
    let within = [&yaml["config"], &yaml["hotset"]["config"]];
    match within.into_iter().find(|config| config.is_object()) {
        // JSON is also YAML.
        Some(config) => Some(config.to_string()),
        None => Some(block.to_owned()),
    }
}

#[test]
fn every_configuration_in_the_documentation_is_right() {
    let scratch = Scratch::new();
    let mut seen = 0;
    for page in pages() {
        let path = &page.path;
        let text = fs::read_to_string(root().join(path)).unwrap();
        for (line, block) in yaml_blocks(&text) {
            let Some(config) = configuration(&block) else { continue };
            let place = format!("{}:{line}", path.display());
            let config = match config.contains("\nidentities:") {
                true => {
                    let file = scratch.file("identities.yaml", &config);
                    hotset::auth::Identities::load(Path::new(&file)).map(drop).unwrap();
                    seen += 1;
                    continue;
                }
                false => config,
            };
            let file = scratch.file("hotset.yaml", &config);
            let loaded = Config::load(Some(Path::new(&file)), std::iter::empty());
            let checked = loaded.and_then(|config| config.check());
            assert!(checked.is_ok(), "{place}: {}", checked.unwrap_err());
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen} are found");
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let contents: BTreeSet<PathBuf> = Page::read(Path::new("docs/SUMMARY.md"))
        .links()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    let pages = pages().into_iter().map(|page| page.path);
    let missed: Vec<_> = pages
        .filter(|path| path.starts_with("docs") && !path.ends_with("SUMMARY.md"))
        .filter(|path| !contents.contains(path))
        .collect();
    assert!(missed.is_empty(), "docs/SUMMARY.md does not have {missed:?}");
    assert!(contents.contains(Path::new("README.md")));
}

/// Returns the commands in `console` blocks: the text after a prompt, with its continuation lines.
fn commands(text: &str) -> Vec<String> {
    let (mut found, mut in_block) = (Vec::<String>::new(), false);
    for line in text.lines() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            in_block = !in_block && kind == "console";
        } else if in_block && let Some(command) = line.strip_prefix("$ ") {
            found.push(command.trim_end_matches('\\').to_owned());
        } else if in_block
            && let Some(command) = found.last_mut()
            && line.starts_with("    ")
        {
            command.push_str(line.trim_end_matches('\\'));
        }
    }
    found
}

/// Returns the help of a subcommand, from the real binary.
fn help(subcommand: &[&str]) -> String {
    let (code, out, err) = run(hotset(&[subcommand, &["--help"]].concat()));
    assert_eq!(code, 0, "hotset {subcommand:?}: {err}");
    out
}

#[test]
fn commands_of_hotset_and_make_in_the_documentation_exist() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let (mut of_hotset, mut of_make) = (0, 0);
    for page in pages() {
        let text = fs::read_to_string(root().join(&page.path)).unwrap();
        for command in commands(&text) {
            let command = command.split(" #").next().unwrap();
            let words: Vec<&str> = command.split_whitespace().collect();
            let place = format!("{}: {command}", page.path.display());
            match words[..] {
                ["make", target, ..] => {
                    assert!(makefile.contains(&format!("\n{target}:\n")), "{place}");
                    of_make += 1;
                }
                ["hotset", subcommand, ..] => {
                    let depth = if subcommand == "disk" { 3 } else { 2 };
                    let help = help(&words[1..depth]);
                    for option in words.iter().filter(|word| word.starts_with("--")) {
                        let option = option.split('=').next().unwrap();
                        assert!(help.contains(&format!("{option} ")), "{place}: {option}");
                    }
                    of_hotset += 1;
                }
                _ => {}
            }
        }
    }
    assert!(of_hotset >= 10 && of_make >= 3, "{of_hotset} of hotset, {of_make} of make");
}

#[test]
fn the_version_has_an_entry_in_the_changelog_and_ci_uses_the_oldest_rust() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("CHANGELOG.md").contains(&format!("\n## {version}\n")), "{version}");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(read(".github/workflows/ci.yml").contains(&format!("MSRV: \"{rust}\"")), "{rust}");
}

/// Returns the names in a generated reference: the text in the first backticks of lines with this beginning.
fn names(reference: &str, before: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/reference").join(reference)).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(before)?.split('`').next());
    lines.map(str::to_owned).collect()
}

/// Returns the README and the pages beside it, without the generated references.
fn prose() -> impl Iterator<Item = (PathBuf, String)> {
    let is_prose = |path: &Path| path == Path::new("README.md") || path.starts_with("docs");
    let paths = pages().into_iter().map(|page| page.path);
    let paths = paths.filter(move |path| is_prose(path) && !path.starts_with("docs/reference"));
    paths.map(|path| (path.clone(), fs::read_to_string(root().join(path)).unwrap()))
}

#[test]
fn metrics_in_the_documentation_exist() {
    let metrics = names("metrics.md", "## `");
    let mut seen = 0;
    for (path, text) in prose() {
        for (at, _) in text.match_indices("hotset_") {
            let name: String =
                text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            // The name of a package, a file, or something else.
            if text[..at].ends_with(['/', '-']) || text[at + name.len()..].starts_with(['.', '0']) {
                continue;
            }
            let is_known = metrics.iter().any(|metric| metric.starts_with(&name));
            assert!(is_known, "{}: there is no metric {name}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} are named");
}

#[test]
fn keys_in_the_documentation_exist() {
    let keys = names("configuration.md", "| `");
    let sections: BTreeSet<&str> = keys.iter().map(|key| first_part(key)).collect();
    let mut seen = 0;
    for (path, text) in prose() {
        for quoted in without_code(&text).split('`').skip(1).step_by(2) {
            let key = quoted.split(':').next().unwrap();
            let is_key = key.contains('.')
                && key.chars().all(|c| c.is_ascii_lowercase() || "_.[]".contains(c))
                && sections.contains(first_part(key));
            // A key of the identities file.
            if !is_key || key == "origin.domain" {
                continue;
            }
            assert!(keys.contains(key) || is_above(key, &keys), "{}: no key {key}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen} are named");
}

fn first_part(key: &str) -> &str {
    key.split(['.', '[']).next().unwrap()
}

/// Whether the key has keys below it, as `cache.disk[]` does.
fn is_above(key: &str, keys: &BTreeSet<String>) -> bool {
    keys.iter().any(|other| other.starts_with(&format!("{key}.")))
}
