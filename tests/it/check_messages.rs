//! `hotset check`: each common mistake in a file is reported on one line with the place, the key and the reason.

use crate::support::{Scratch, hotset, run};

/// Returns the message of `hotset check` about an invalid file, with `FILE` for its path.
fn message(text: &str) -> String {
    let scratch = Scratch::new();
    let file = scratch.file("hotset.yaml", text);
    let (code, stdout, stderr) = run(hotset(&["check", "--config", &file]));
    assert_eq!((code, stdout.as_str()), (2, ""), "{text}: {stderr}");
    stderr.replace(&file, "FILE")
}

#[test]
fn mistakes_are_named_with_line_column_and_key() {
    for (text, expected) in [
        (
            "cache:\n  memroy: 2GiB\n",
            "FILE:2:3: cache.memroy: unknown key, expected one of `memory`, `block`, `in_flight`, `fetch`, `read_ahead`, `predict_reads`, `disk`, `admission`",
        ),
        (
            "rules:\n  - match: '**'\n    freshness: { ttl: 1m, swr: 5s }\n",
            "FILE:3:16: rules[0].freshness: either ttl or events is given, there is nothing beside it: `swr`",
        ),
        (
            "cache:\n  memory: 2 gigs\n",
            "FILE:2:11: cache.memory: `2 gigs` is not a size: write a whole number of bytes, or one with KiB, MiB, GiB or TiB",
        ),
        (
            "limits:\n  headers: many\n",
            "FILE:2:12: limits.headers: invalid type: string \"many\", expected a whole number",
        ),
        (
            "threads: -1\n",
            "FILE:1:10: threads: invalid value: integer `-1`, expected a whole number",
        ),
        (
            "listen: 127.0.0.1:9000\n",
            "FILE:1:9: listen: invalid type: string \"127.0.0.1:9000\", expected a list",
        ),
        ("cache: [memory]\n", "FILE:1:8: cache: invalid type: a list, expected keys below it"),
        (
            "threads: 2\nlisten: [{ address: '127.0.0.1:0' }]\nthreads: 4\n",
            "FILE:3:1: threads: is written twice, first on line 1",
        ),
        (
            "origin:\n  addressing: subdomain\n",
            "FILE:2:15: origin.addressing: invalid value: `subdomain`, expected one of `path`, `virtual`, `bucket`",
        ),
        (
            "cache:\n  block: 3MiB\n",
            "FILE:2:10: cache.block: 3MiB is not a power of two between 64KiB and 16MiB",
        ),
        (
            "log:\n  level: loud\n",
            "FILE:2:10: log.level: `loud` must be one of off, error, warn, info, debug, trace",
        ),
        (
            "cache:\n  block: null\n",
            "FILE:2:10: cache.block: has no value: give it one, or leave the key out",
        ),
        (
            "base: &base { match: '**' }\nrules:\n  - <<: *base\n",
            "FILE:3:5: rules[0].<<: merge keys are not supported: write the keys out",
        ),
        (
            "admin: { token: !vault secret/token }\n",
            "FILE:1:24: admin.token: has a tag, which is not supported",
        ),
        ("threads: 1\n---\nthreads: 2\n", "FILE:2:1: has more than one document"),
        ("- cache\n", "FILE:1:1: is not a map of keys and values"),
    ] {
        assert_eq!(message(text), format!("hotset: {expected}\n"), "{text}");
    }
    for (text, place) in [
        ("cache: { memory: 1GiB\n", "1:8"),
        ("rules:\n  - match: **\n", "2:12"),
        ("origin:\n\tregion: x\n", "2:2"),
    ] {
        let message = message(text);
        assert!(message.starts_with(&format!("hotset: FILE:{place}: is not YAML: ")), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}
