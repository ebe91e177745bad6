use globset::GlobBuilder;

use super::*;

fn matches(glob: &str, text: &str) -> bool {
    Glob::new(glob).unwrap().matches(Text::new(text))
}

fn grants(glob: &str, text: &str) -> bool {
    Glob::for_access(glob).unwrap().matches(Text::new(text))
}

/// A deterministic xorshift64* generator, which makes the same cases in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % bound
    }

    fn text(&mut self, pieces: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| pieces[self.below(pieces.len())]).collect()
    }
}

/// A reference matcher that follows the dialect's table literally: it matches the first character of a glob, and then
/// the rest.
fn says(glob: &[char], text: &[char], whole_segments: bool, at_segment: bool) -> bool {
    let stars = glob.iter().take_while(|c| **c == '*').count();
    let any = |rest: &[char], upto: usize| {
        (0..=upto).any(|n| says(rest, &text[n..], whole_segments, false))
    };
    match (glob, text) {
        ([], _) => text.is_empty(),
        (['*', ..], _) if stars == 1 => {
            any(&glob[1..], text.iter().take_while(|c| **c != '/').count())
        }
        (['*', ..], _) => {
            let rest = &glob[stars..];
            let nothing = whole_segments
                && at_segment
                && rest.first() == Some(&'/')
                && says(&rest[1..], text, whole_segments, true);
            nothing || any(rest, text.len())
        }
        (['?', rest @ ..], [first, left @ ..]) if *first != '/' => {
            says(rest, left, whole_segments, false)
        }
        (['?', ..], _) | (_, []) => false,
        ([expected, rest @ ..], [first, left @ ..]) => {
            expected == first && says(rest, left, whole_segments, *expected == '/')
        }
    }
}

#[test]
fn the_examples_of_the_documentation_hold() {
    let page = include_str!("../../docs/configuration.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| glob |")).skip(2);
    let rows: Vec<Vec<&str>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 10, "{} rows", rows.len());
    for row in rows {
        let names = |cell: &str| -> Vec<String> {
            let names = cell.split(", ").filter(|name| !name.is_empty());
            names.map(|name| name.trim_matches('`').to_owned()).collect()
        };
        let glob = row[0].trim_matches('`');
        for text in names(row[1]) {
            assert!(matches(glob, &text), "{glob} matches {text}");
        }
        for text in names(row[2]) {
            assert!(!matches(glob, &text), "{glob} does not match {text}");
        }
    }
}

#[test]
fn a_glob_matches_what_it_says() {
    for (glob, text, expected) in [
        ("bkt/k", "bkt/k", true),
        ("bkt/k", "bkt/kk", false),
        ("bkt/**", "bkt/", true),
        ("bkt/**", "bkt2/a", false),
        ("bkt/*.png", "bkt/a.png.exe", false),
        ("bkt/?", "bkt/ü", true),
        ("bkt/??", "bkt/ü", false),
        ("bkt/[ä-ü]", "bkt/ö", true),
        ("bkt/[!ö]", "bkt/ö", false),
        ("bkt/[]a]", "bkt/]", true),
        ("bkt/[a-]", "bkt/-", true),
        ("bkt/[^a]", "bkt/b", true),
        ("bkt/**/**/k", "bkt/k", true),
        ("**/**", "k", true),
        ("**/k", "k", true),
        ("**/k", "/k", true),
        ("**/k", "ak", false),
        ("a{b,c{d,e},}f", "acef", true),
        ("a{b,c{d,e},}f", "af", true),
        ("a{b,c{d,e},}f", "acf", false),
        ("*.{jpg,png}", "a.png", true),
        ("{a,b}/**", "b/x/y", true),
        ("a,b", "a,b", true),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        ("{**/k,x}", "a/b/k", true),
        ("a*b*c/d", "abxbxc/d", true),
        ("a*b*c/d", "abxbx/c/d", false),
        ("***", "a/b", true),
        ("", "", true),
        ("", "a", false),
        ("a**a", "a", false),
    ] {
        assert_eq!(matches(glob, text), expected, "{glob} {text}");
    }
}

#[test]
fn r21_a_glob_that_grants_has_each_of_its_slashes() {
    for (glob, text, rule, grant) in [
        ("bkt/**/k", "bkt/k", true, false),
        ("bkt/**/k", "bkt/a/k", true, true),
        ("bkt/**/k", "bkt//k", true, true),
        ("**/k", "k", true, false),
        ("bkt/**", "bkt/k", true, true),
        ("bkt/**.png", "bkt/a/b.png", true, true),
    ] {
        assert_eq!((matches(glob, text), grants(glob, text)), (rule, grant), "{glob} {text}");
    }
}

#[test]
fn what_is_no_glob_is_refused() {
    for (text, error) in [
        ("a[", InvalidGlob::UnclosedClass),
        ("a[]", InvalidGlob::UnclosedClass),
        ("a[z-a]", InvalidGlob::InvalidRange('z', 'a')),
        ("{a,b", InvalidGlob::UnclosedBrace),
        ("a}", InvalidGlob::UnopenedBrace),
        ("a\\", InvalidGlob::DanglingEscape),
    ] {
        assert_eq!(Glob::new(text), Err(error), "{text}");
    }
    assert_eq!(Glob::new(&"{".repeat(9)), Err(InvalidGlob::TooDeep));
    assert_eq!(Glob::new(&"a".repeat(4097)), Err(InvalidGlob::TooLong));
}

#[test]
fn stars_that_stand_beside_others_are_told() {
    for text in ["b/**.png", "b/a**", "a**/b", "b/***", "{**/a,b}/k"] {
        assert!(Glob::new(text).unwrap().has_inner_stars() == (text != "b/***"), "{text}");
    }
    for text in ["**", "b/**", "**/a", "b/**/a", "b/*.png", "b/\\**"] {
        assert!(!Glob::new(text).unwrap().has_inner_stars(), "{text}");
    }
}

#[test]
fn random_globs_match_as_the_table_says() {
    let mut random = Random(1);
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    let (mut matched, mut begun) = (0, 0);
    for _ in 0..40_000 {
        let glob = random.text(&["a", "b", "/", "*", "**", "?", "/**/", "ab"], 7);
        let text = random.text(&["a", "b", "/", "ab", "a/"], 7);
        for whole_segments in [true, false] {
            let compiled = Glob::compile(&glob, whole_segments).unwrap();
            let expected = says(&chars(&glob), &chars(&text), whole_segments, true);
            let what = format!("{glob} {text} {whole_segments}");
            assert_eq!(compiled.matches(Text::new(&text)), expected, "{what}");
            if let Some((bucket, key)) = text.split_once('/') {
                assert_eq!(compiled.matches(Text::path(bucket, key)), expected, "{what}");
            }
            matched += usize::from(expected);
            if expected {
                let cut = random.below(text.len() + 1);
                assert!(compiled.may_begin_with(Text::new(&text[..cut])), "{what} {cut}");
                assert!(text.starts_with(compiled.literal()), "{what}");
                assert!(!compiled.is_open() || compiled.matches(Text::path(&text, "b")), "{what}");
            }
            begun += usize::from(!expected && compiled.may_begin_with(Text::new(&text)));
        }
    }
    assert!(matched > 3000 && begun > 3000, "{matched} {begun}");
}

/// Excludes stars next to other characters, empty alternatives, and `**/` alone, which matches everything in globset.
#[test]
fn random_globs_match_as_those_of_globset() {
    let mut random = Random(2);
    let pieces = ["a", "b", "/", "*", "**/", "?", "[ab]", "[!a]", "{a,b/}", "{a*,{b,ab}}", "\\*"];
    let (mut compared, mut matched) = (0, 0);
    for _ in 0..6000 {
        let glob = random.text(&pieces, 6);
        let compiled = Glob::new(&glob).unwrap();
        let is_recursive_only = glob.replace("**/", "").is_empty() && !glob.is_empty();
        if compiled.has_inner_stars() || glob.contains("***") || is_recursive_only {
            continue;
        }
        let oracle = GlobBuilder::new(&glob).literal_separator(true).build().unwrap();
        let oracle = oracle.compile_matcher();
        for _ in 0..10 {
            let text = random.text(&["a", "b", "/", "*", "ab", "a/"], 6);
            let expected = oracle.is_match(&text);
            assert_eq!(compiled.matches(Text::new(&text)), expected, "{glob} {text}");
            compared += 1;
            matched += usize::from(expected);
        }
    }
    assert!(compared > 20_000 && matched > 1000, "{compared} {matched}");
}

/// Each glob would take longer than the age of the universe with backtracking.
#[test]
fn hostile_globs_end_soon() {
    let text = format!("bkt/{}", "a".repeat(300));
    // The globs end with a class, since a literal suffix would be compared first.
    for glob in [
        "bkt/**a**a**a**a*a*a*a*a**[b]".to_owned(),
        format!("bkt/{}[b]", "*a".repeat(250)),
        format!("bkt/{}[b]", "**a".repeat(250)),
        format!("bkt/{}[b]", "{a,aa,*}".repeat(400)),
        format!("bkt/*{}[b]", "{,}".repeat(1300)),
        format!("bkt/{}[b]", "{a,{a,{a,{a,*}}}}".repeat(200)),
    ] {
        assert!(!matches(&glob, &text), "{glob}");
    }
}

/// Returns a set of overlapping rules over few buckets and prefixes; the last is often `**`.
fn random_rules(random: &mut Random) -> Vec<Glob> {
    let pieces = ["a", "b", "/", "a/", "b/", "ab", "*", "**", "?", "{a,b}", "[ab]"];
    let mut rules: Vec<Glob> =
        (0..random.below(30)).map(|_| Glob::new(&random.text(&pieces, 6)).unwrap()).collect();
    if random.below(2) == 0 {
        rules.push(Glob::new("**").unwrap());
    }
    rules
}

#[test]
fn the_first_match_is_that_of_a_scan_in_order() {
    let mut random = Random(3);
    let mut found = 0;
    for _ in 0..3000 {
        let rules = random_rules(&mut random);
        let index = FirstMatch::new(rules.clone());
        for _ in 0..20 {
            let bucket = ["a", "b", "ab", "bb"][random.below(4)];
            let key = random.text(&["a", "b", "/", "ab"], 6);
            let text = Text::path(bucket, &key);
            let expected = rules.iter().position(|glob| glob.matches(text));
            assert_eq!(index.find(bucket, &key), expected, "{rules:?} {bucket}/{key}");
            found += usize::from(expected.is_some_and(|at| at + 1 < rules.len()));
        }
    }
    assert!(found > 5000, "{found}");
}

#[test]
fn of_a_thousand_rules_few_are_tried() {
    let rules = |count: usize| {
        let rules = (0..count).flat_map(|n| [format!("b{n}/**"), format!("data/p{n}/x/**")]);
        FirstMatch::new(rules.chain(["**".to_owned()]).map(|glob| Glob::new(&glob).unwrap()))
    };
    for (bucket, key, first, most) in [
        ("data", "p7/x/k", Some(15), 1),
        ("data", "p499/x/k", Some(999), 1),
        ("data", "p499/y/k", Some(1000), 1),
        ("b3", "k", Some(6), 1),
        ("other", "k", Some(1000), 1),
    ] {
        let (found, tried) = rules(500).find_and_count(bucket, key);
        assert_eq!(found, first, "{bucket}/{key}");
        assert!(tried <= most, "{bucket}/{key}: {tried}");
    }
}
