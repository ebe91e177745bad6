use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    #[serde(default)]
    name: String,
    #[serde(default)]
    count: Option<u16>,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    list: Vec<Inner>,
    #[serde(default)]
    kind: Option<Kind>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    path: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Fast,
    Slow,
}

fn sample(text: &str) -> Sample {
    from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> String {
    from_str::<Sample>(text).expect_err(text).to_string()
}

fn json(text: &str) -> String {
    from_str::<serde_json::Value>(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .to_string()
}

#[test]
fn scalars_mean_what_the_core_schema_says() {
    for (text, meaning) in [
        ("", "null"),
        ("~", "null"),
        ("null", "null"),
        ("'null'", r#""null""#),
        ("true", "true"),
        ("'true'", r#""true""#),
        ("off", r#""off""#),
        ("0", "0"),
        ("+7", "7"),
        ("-7", "-7"),
        ("0x1F", "31"),
        ("0o17", "15"),
        ("0b101", "5"),
        ("0755", r#""0755""#),
        ("1_000", r#""1_000""#),
        ("--7", r#""--7""#),
        ("0x", r#""0x""#),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1.5", "1.5"),
        ("-1e3", "-1000.0"),
        ("1e999", r#""1e999""#),
        ("10.0.0.1", r#""10.0.0.1""#),
        ("1h", r#""1h""#),
        ("!!str 7", r#""7""#),
        ("!!int '7'", "7"),
        ("[1, a, [b], {c: d}]", r#"[1,"a",["b"],{"c":"d"}]"#),
        ("|\n  a\n  b\n", r#""a\nb\n""#),
        (">-\n  a\n  b\n", r#""a b""#),
        (r#""\u00e4\x41""#, r#""äA""#),
        ("a: &x [1]\nb: *x\n", r#"{"a":[1],"b":[1]}"#),
        ("---\na: 1\n", r#"{"a":1}"#),
    ] {
        assert_eq!(json(text), meaning, "{text}");
    }
}

#[test]
fn a_scalar_keeps_its_text_where_text_is_expected() {
    for text in ["123", "0660", "1.50", "true", "~", "0x10"] {
        assert_eq!(sample(&format!("name: {text}")).name, text);
    }
    assert_eq!(sample("count: 5").count, Some(5));
    assert_eq!(sample("count: null\nkind: slow").kind, Some(Kind::Slow));
    let names: BTreeMap<String, u8> = from_str("1: 2\ntrue: 3\n").unwrap();
    assert_eq!(names, BTreeMap::from([("1".to_owned(), 2), ("true".to_owned(), 3)]));
}

#[test]
fn a_list_or_a_map_whose_lines_are_commented_out_is_empty() {
    assert_eq!(sample("list:\n#  - path: a\n").list, []);
    assert_eq!(from_str::<BTreeMap<String, String>>("# nothing\n").unwrap(), BTreeMap::new());
    assert!(error("list: ~").starts_with("list: has no value"));
}

#[test]
fn an_error_names_the_key_and_its_place() {
    for (text, expected) in [
        (
            "name: a\ncuont: 1\n",
            "cuont: unknown key, expected one of `name`, `count`, `on`, `list`, `kind` (line 2, column 1)",
        ),
        (
            "list:\n  - path: a\n  - path: b\n    size: 1\n",
            "list[1].size: unknown key, expected one of `path` (line 4, column 5)",
        ),
        ("list:\n  - {}\n", "list[0]: the key `path` is missing (line 2, column 5)"),
        (
            "list: [{ path: [] }]",
            "list[0].path: invalid type: a list, expected text (line 1, column 16)",
        ),
        (
            "count: many\n",
            "count: invalid type: string \"many\", expected a whole number (line 1, column 8)",
        ),
        (
            "count: 70000\n",
            "count: invalid value: integer `70000`, expected a whole number (line 1, column 8)",
        ),
        (
            "on: 'true'\n",
            "on: invalid type: string \"true\", expected true or false (line 1, column 5)",
        ),
        ("on:\n", "on: has no value: give it one, or leave the key out (line 1, column 3)"),
        (
            "kind: odd\n",
            "kind: invalid value: `odd`, expected one of `fast`, `slow` (line 1, column 7)",
        ),
        (
            "kind: [fast]\n",
            "kind: invalid type: a list, expected one of `fast`, `slow` (line 1, column 7)",
        ),
        ("list: { a: b }\n", "list: invalid type: a map, expected a list (line 1, column 7)"),
        ("- a\n", "invalid type: a list, expected keys below it (line 1, column 1)"),
        ("name: a\nname: b\n", "name: is written twice, first on line 1 (line 2, column 1)"),
        (
            "list: [{ path: a, path: b }]",
            "list[0].path: is written twice, first on line 1 (line 1, column 19)",
        ),
        (
            "list:\n  - &x { path: a }\n  - <<: *x\n",
            "list[1].<<: merge keys are not supported: write the keys out (line 3, column 5)",
        ),
        ("name: !secret a\n", "name: has a tag, which is not supported (line 1, column 15)"),
        ("? [a]\n: b\n", "has a key that is no text (line 1, column 3)"),
        ("name: a\n---\nname: b\n", "has more than one document (line 2, column 1)"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    for text in ["a: [", "a: 'b", "a: b: c", "a:\n\tb: c", "name: *x", "a: @b"] {
        let error = error(text);
        assert!(error.contains("is not YAML: ") && error.contains("(line "), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_value_that_may_be_a_secret_is_described_by_its_kind() {
    for (text, expected) in [
        ("count: hunter2", "invalid type: text, expected a whole number"),
        ("kind: hunter2", "invalid value: text, expected one of `fast`, `slow`"),
        ("on: 123456", "invalid type: an integer, expected true or false"),
    ] {
        assert_eq!(from_str::<Sample>(text).unwrap_err().problem_without_value(), expected);
    }
}

#[test]
fn what_aliases_stand_for_is_bounded() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        let _ = writeln!(bomb, "a{level}: &a{level} [{aliases}]");
    }
    let problem = parse(&bomb).unwrap_err().to_string();
    assert!(problem.contains("its aliases stand for more than 100000 values"), "{problem}");

    let long = "x".repeat(1 << 20);
    let many = vec!["*a"; 1000].join(", ");
    let problem = parse(&format!("a: &a {long}\nb: [{many}]")).unwrap_err().to_string();
    assert!(problem.contains("its aliases stand for"), "{problem}");

    // Each is within the allowed depth, and nested in the next.
    let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(40), "]".repeat(40));
    let chain = format!("a: &a {}\nb: &b {}\n", deep("x"), deep("*a"));
    assert!(parse(&chain).unwrap_err().to_string().contains("is nested more than 64 deep"));
    assert!(parse(&format!("a: {}", deep(&deep("x")))).is_err());
    assert!(parse(&format!("a: {}", deep("x"))).is_ok());
    for open in ["[", "{a: ", "- ", "? "] {
        assert!(parse(&open.repeat(100_000)).is_err(), "{open}");
    }
    assert!(parse("a: &a [*a]").is_err());
}

#[test]
fn the_place_of_a_key_is_that_of_the_longest_part_that_is_written() {
    let tree = parse("rules:\n  - match: a\n    freshness: { ttl: 5s }\n").unwrap();
    let place = |path: &str| tree.place_of(path).map(|at| (at.line, at.column));
    assert_eq!(place("rules[0].match"), Some((2, 12)));
    assert_eq!(place("rules[0].freshness.ttl"), Some((3, 23)));
    assert_eq!(place("rules[0].negative"), Some((2, 5)));
    assert_eq!(place("rules[7]"), Some((2, 3)));
    assert_eq!(place("cache.block"), None);
}
