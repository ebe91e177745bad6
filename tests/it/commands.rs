//! Every command against a running server: arguments, exit code and output, compared with `commands.golden`.
//!
//! `HOTSET_WRITE_GOLDEN=1` rewrites that file; read the difference before it is committed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::support::*;

/// The commands, in order. CONFIG, RUNNING and SERVER stand for options, OTHER for a configuration that differs, and
/// DISK for one of a server that does not run.
const COMMANDS: [&str; 39] = [
    "--version",
    "check CONFIG",
    "check --config OTHER --diff SERVER",
    "health RUNNING",
    "health --config NONE",
    "explain s3://data/models/a SERVER",
    "explain s3://data/none SERVER",
    "explain s3://data/models/a --json SERVER",
    "explain --request SPACED_GET SERVER",
    "explain nonsense SERVER",
    "warm s3://data/models/ --dry-run SERVER",
    "warm s3://data/models/ SERVER",
    "warm s3://data/models/ --json SERVER",
    "warm s3://data/nothing/ SERVER",
    "warm s3://missing/ SERVER",
    "warm nonsense SERVER",
    "stats --once SERVER",
    "top --once SERVER",
    "top --once --of prefixes --by bytes SERVER",
    "top --once --of identities SERVER",
    "log --seconds 1 --filter status>=900 SERVER",
    "log --filter nonsense SERVER",
    "log-level SERVER",
    "log-level debug SERVER",
    "log-level info SERVER",
    "log-level loud SERVER",
    "purge s3://data/models/a --dry-run SERVER",
    "purge s3://data/models/a SERVER",
    "purge s3://data/models/a --json SERVER",
    "purge s3://data/models/* SERVER",
    "purge s3://data/no/*.csv SERVER",
    "purge --everything --erase SERVER",
    "purge nonsense SERVER",
    "purge s3://data/models/a --admin http://127.0.0.1:1",
    "reload --dry-run SERVER",
    "reload SERVER",
    "reload --json SERVER",
    "disk verify --config DISK",
    "serve CONFIG --nonsense",
];

/// Whether the numbers in a command's output depend on time and machine: only its words are compared.
fn has_changing_numbers(command: &str) -> bool {
    let names = ["stats", "top", "warm", "explain", "purge --everything"];
    names.iter().any(|name| command.starts_with(name))
}

/// Replaces each number by `N`, and the words of a date by placeholders.
fn without_numbers(text: &str) -> String {
    let mut text = text.to_owned();
    for day in ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"] {
        text = text.replace(&format!("{day}, "), "DAY, ");
    }
    for month in
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    {
        text = text.replace(&format!(" {month} "), " MONTH ");
    }
    let mut out = String::new();
    for line in text.lines() {
        let mut words = Vec::new();
        for word in line.split(' ').filter(|word| !word.is_empty()) {
            let mut shape = String::new();
            for part in word.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '.') {
                let digits = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                let is_id = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let is_number = is_id || part.starts_with(|c: char| c.is_ascii_digit());
                let mark = part.chars().last().filter(|c| !c.is_ascii_alphanumeric() && *c != '.');
                match (is_number, mark) {
                    (true, Some(mark)) => shape.extend(['N', mark]),
                    (true, None) => shape.push('N'),
                    (false, _) => shape.push_str(part),
                }
            }
            words.push(shape);
        }
        let words = words.join(" ").replace("N KiB", "N B").replace("N MiB", "N B");
        // Numbers are aligned to the right.
        let indent = match line.trim_start().starts_with(|c: char| c.is_ascii_digit()) {
            true => 2,
            false => line.len() - line.trim_start().len(),
        };
        writeln!(out, "{:indent$}{words}", "").unwrap();
    }
    out
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/commands.golden")
}

#[tokio::test]
async fn every_command_says_what_the_golden_file_has() {
    let (s3, scratch) = (FakeS3::start().await, Scratch::new());
    for (name, size) in [("a", 1000), ("b", 70_000)] {
        s3.put("data", &format!("models/{name}"), Object::random(size, size));
    }
    let text = |admin: &str, requests: u32, disk: &str| {
        format!(
            "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: '{admin}' }}\nlog: {{ access: off }}\n\
             limits: {{ requests: {requests} }}\norigin: {{ endpoint: '{}' }}\n\
             cache: {{ memory: 64MiB, disk: [{disk}] }}\n",
            s3.endpoint()
        )
    };
    let config = scratch.file("hotset.yaml", &text("127.0.0.1:0", 20_000, ""));
    let other = scratch.file("other.yaml", &text("127.0.0.1:0", 100, ""));
    let folder = scratch.path("disk");
    let disk = format!("{{ path: '{folder}', capacity: 256MiB }}");
    let disk = scratch.file("disk.yaml", &text("127.0.0.1:0", 20_000, &disk));
    let process = Process::serve(&config).await;
    let running = scratch.file("running.yaml", &text(&process.admin.to_string(), 20_000, ""));
    for _ in 0..3 {
        assert_eq!(process.client().get("/data/models/a").send().await.status, 200);
    }
    let server = format!("http://{}", process.admin);
    let mut said = String::new();
    for line in COMMANDS {
        let arguments: Vec<String> = line
            .split(' ')
            .flat_map(|word| match word {
                "CONFIG" => vec!["--config".to_owned(), config.clone()],
                "RUNNING" => vec!["--config".to_owned(), running.clone()],
                "DISK" => vec![disk.clone()],
                "SERVER" => vec!["--admin".to_owned(), server.clone()],
                "OTHER" => vec![other.clone()],
                "NONE" => vec![scratch.path("none.yaml")],
                "SPACED_GET" => vec!["GET /data/models/b?versionId=1".to_owned()],
                word => vec![word.to_owned()],
            })
            .collect();
        let ended = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run(hotset(&arguments))
        });
        let (code, out, err) = within(line, ended).await.unwrap();
        writeln!(said, "$ hotset {line}\nexit code {code}").unwrap();
        for (stream, text) in [("", out), ("stderr: ", err)] {
            let text = text
                .replace(&scratch.path(""), "FOLDER/")
                .replace(&s3.endpoint(), "ORIGIN")
                .replace(&s3.addr().to_string(), "ORIGIN")
                .replace(&process.admin.to_string(), "ADDRESS")
                .replace(env!("CARGO_PKG_VERSION"), "VERSION");
            let text = match has_changing_numbers(line) {
                true => without_numbers(&text),
                false => text,
            };
            for line in text.lines() {
                writeln!(said, "{}", format!("{stream}{line}").trim_end()).unwrap();
            }
        }
        said.push('\n');
    }
    if std::env::var_os("HOTSET_WRITE_GOLDEN").is_some() {
        std::fs::write(golden(), &said).unwrap();
    }
    let expected = std::fs::read_to_string(golden()).unwrap_or_default();
    let pairs = said.split("\n\n").zip(expected.split("\n\n"));
    for (said, expected) in pairs {
        assert_eq!(said, expected);
    }
    assert_eq!(said.len(), expected.len());
}

#[test]
fn the_golden_file_has_every_command() {
    let (code, help, _) = run(hotset(&["--help"]));
    assert_eq!(code, 0);
    let (_, commands) = help.split_once("Commands:").unwrap();
    let (commands, _) = commands.split_once("Options:").unwrap();
    let named = commands.lines().filter_map(|line| line.split_whitespace().next());
    let named: BTreeSet<&str> = named.filter(|name| *name != "help").collect();
    let tried = COMMANDS.iter().filter_map(|line| line.split(' ').next());
    let tried: BTreeSet<&str> = tried.filter(|name| !name.starts_with('-')).collect();
    assert_eq!(named, tried);
}
