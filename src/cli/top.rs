//! `hotset top`: the hottest objects, prefixes, identities and addresses of a running server, live or once.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::admin::{Admin, AskError, Server};
use super::asking::{Ending, ask};
use super::format::{bytes, count, percent};
use super::refresh::{Output, Refresh};
use super::terminal::{Key, SIZE, Style, Terminal};
use crate::inspect::{By, Kind};
use crate::logging::text::one_line;

/// Number of columns before a name.
const BEFORE_NAME: usize = 26;

/// The arguments of `hotset top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Weights halve every 30 s, so that the list shows what is hot now. Each name with more than 1/256 of all \
    is listed (of prefixes 1/64), and no number is too large by more than that. Above some 500 requests a second, one of N \
    is counted.\n\
    Exit codes: 0 there is traffic; 3 there is none of this kind; 1 the server cannot be reached or refuses; 2 the \
    arguments or the configuration are wrong."
)]
pub(super) struct TopArguments {
    /// The kind of name
    #[arg(long, default_value = Kind::ALL[0].label(), value_parser = Kind::ALL.map(Kind::label))]
    of: String,
    /// The amount to list them by
    #[arg(long, default_value = By::ALL[0].label(), value_parser = By::ALL.map(By::label))]
    by: String,
    /// The most names
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=256))]
    limit: u16,
    #[command(flatten)]
    refresh: Refresh,
    #[command(flatten)]
    server: Server,
}

/// The requested list.
#[derive(Debug, Clone, Copy)]
struct Choice {
    of: Kind,
    by: By,
    limit: u16,
}

pub(super) fn run(arguments: &TopArguments) -> ExitCode {
    let find = |text: &str| By::ALL.into_iter().find(|by| by.label() == text);
    let of = Kind::ALL.into_iter().find(|kind| kind.label() == arguments.of);
    let choice = Choice {
        of: of.unwrap_or(Kind::ALL[0]),
        by: find(&arguments.by).unwrap_or(By::ALL[0]),
        limit: arguments.limit,
    };
    ask(Ok(choice), &arguments.server, async |admin, choice| {
        let interval = arguments.refresh.interval();
        match arguments.refresh.output() {
            Output::Json { once } => json(admin, choice, interval, once).await,
            Output::Once => once(admin, choice).await,
            Output::Live => live(admin, choice, interval).await,
        }
    })
}

async fn look(admin: &Admin, choice: Choice) -> Result<Value, AskError> {
    let Choice { of, by, limit } = choice;
    let path = format!("/api/v1/top?of={}&by={}&limit={limit}", of.label(), by.label());
    admin.ask(Method::GET, &path, None).await
}

async fn json(
    admin: &Admin,
    choice: Choice,
    interval: Duration,
    once: bool,
) -> Result<Ending, AskError> {
    loop {
        let top = look(admin, choice).await?;
        // A reader that has seen enough closes the pipe.
        if std::io::stdout().write_all(format!("{top}\n").as_bytes()).is_err() || once {
            return Ok(ending(&top));
        }
        sleep(interval).await;
    }
}

async fn once(admin: &Admin, choice: Choice) -> Result<Ending, AskError> {
    let top = look(admin, choice).await?;
    let text = lines(&top, Style { width: SIZE.0, colours: false }).join("\n") + "\n";
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(ending(&top))
}

fn ending(top: &Value) -> Ending {
    match top["entries"].as_array().is_none_or(Vec::is_empty) {
        true => Ending::Nothing,
        false => Ending::Done,
    }
}

async fn live(admin: &Admin, mut choice: Choice, interval: Duration) -> Result<Ending, AskError> {
    let mut top = look(admin, choice).await?;
    let mut terminal = Terminal::open().map_err(AskError::Terminal)?;
    let (mut paused, mut problem) = (false, None);
    loop {
        let (width, height) = terminal.size().unwrap_or(SIZE);
        let style = Style { width, colours: terminal.has_colours() };
        let mut lines = lines(&top, style);
        lines.truncate(height.saturating_sub(1));
        lines.push(keys(choice, paused, problem.as_deref(), style));
        if terminal.draw(&lines).is_err() {
            return Ok(Ending::Done);
        }
        match timeout_at(Instant::now() + interval, terminal.key()).await {
            Ok(Key::Quit) => return Ok(Ending::Done),
            Ok(Key::Next) => choice.of = next(&Kind::ALL, choice.of as usize),
            Ok(Key::Show(number)) => {
                choice.of = Kind::ALL.get(number).copied().unwrap_or(choice.of);
            }
            Ok(Key::Letter(b'b')) => choice.by = next(&By::ALL, choice.by as usize),
            Ok(Key::Pause) => {
                paused = !paused;
                continue;
            }
            Err(_) if paused => continue,
            Ok(Key::Letter(_)) | Err(_) => {}
        }
        match look(admin, choice).await {
            Ok(now) => (top, problem) = (now, None),
            // The server may be restarting; a refused token stays refused.
            Err(error @ AskError::NotReachable(..)) => problem = Some(error.to_string()),
            Err(error) => return Err(error),
        }
    }
}

fn next<T: Copy>(all: &[T], index: usize) -> T {
    all[(index + 1) % all.len()]
}

/// Returns the list as lines, with the accuracy of its numbers.
fn lines(top: &Value, style: Style) -> Vec<String> {
    let text = |name: &str| one_line(top[name].as_str().unwrap_or_default()).into_owned();
    let number = |of: &Value| of.as_f64().unwrap_or_default();
    let is_bytes = top["by"] == "bytes";
    let rate = |of: &Value| match is_bytes {
        true => format!("{}/s", bytes(number(of))),
        false => format!("{}/s", small(number(of))),
    };
    let heading = format!("{} by {}, {} of all", text("of"), text("by"), rate(&top["per_second"]));
    let mut lines = vec![style.heading(&heading)];
    let entries = top["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    for entry in entries {
        let name = one_line(entry["name"].as_str().unwrap_or_default()).into_owned();
        let name = shortened(&name, style.width.saturating_sub(BEFORE_NAME));
        let numbers = format!(
            "{:>14}  {:>8}",
            rate(&entry["per_second"]),
            percent(number(&entry["share"]), 1.0)
        );
        lines.push(format!("{}  {name}", style.paint("1", &numbers)));
    }
    if entries.is_empty() {
        lines.push("nothing in the last minutes".to_owned());
    }
    let error = percent(number(&top["error_share"]), 1.0);
    let mut worth =
        format!("weights halve every {} s; error {error} of all at most", top["half_life_seconds"]);
    if top["sampled_one_in"].as_u64().is_some_and(|n| n > 1) {
        let _ = write!(worth, "; 1 of {} is counted", top["sampled_one_in"]);
    }
    lines.push(style.paint("2", &worth.chars().take(style.width).collect::<String>()));
    lines
}

/// Formats a number, such as `0.03`, `4.2`, `950`, `12.3K`.
fn small(value: f64) -> String {
    if value > 0.0 && value < 1.0 { format!("{value:.2}") } else { count(value) }
}

/// Shortens a name to fit: of a longer one both ends are kept.
fn shortened(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (head, tail) = (kept / 2, kept - kept / 2);
    let begin = name.chars().take(head);
    begin.chain(['…']).chain(name.chars().skip(length - tail)).collect()
}

/// Returns the last line of the screen.
fn keys(choice: Choice, paused: bool, problem: Option<&str>, style: Style) -> String {
    let line = match problem {
        Some(problem) => one_line(problem).into_owned(),
        None => {
            let pause = if paused { "p go on" } else { "p pause" };
            let kinds = Kind::ALL.iter().enumerate().map(|(index, of)| match *of == choice.of {
                true => format!("[{} {}]", index + 1, of.label()),
                false => format!("{} {}", index + 1, of.label()),
            });
            let kinds = kinds.collect::<Vec<_>>().join(" ");
            format!("{kinds}  b by {}  {pause}  q quit", choice.by.label())
        }
    };
    let line: String = line.chars().take(style.width).collect();
    style.paint(if problem.is_some() { "31" } else { "2" }, &line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PLAIN: Style = Style { width: 80, colours: false };

    fn top() -> Value {
        json!({
            "of": "objects", "by": "bytes", "half_life_seconds": 30, "sampled_one_in": 32, "per_second": 2e9,
            "error_share": 1.0 / 256.0,
            "entries": [
                { "name": "data/a.bin", "per_second": 1e9, "share": 0.5, "error_per_second": 0.0 },
                { "name": format!("data/{}/\u{1b}[2J.bin", "long/".repeat(30)), "per_second": 4.0, "share": 0.00001 },
            ],
        })
    }

    #[test]
    fn the_list_is_as_in_the_golden_text() {
        let text = lines(&top(), PLAIN).join("\n");
        let expected = "objects by bytes, 1.86 GiB/s of all\n     954 MiB/s    50.0 %  data/a.bin\n         4 B/s     0.0 %  \
            data/long/long/long/long/l…long/long/long//\\x1B[2J.bin\nweights halve every 30 s; error 0.4 % of all at \
            most; 1 of 32 is counted";
        assert_eq!(text, expected);
    }

    #[test]
    fn it_fits_its_width_and_says_the_same_without_colours() {
        for width in [40, 80] {
            let plain = lines(&top(), Style { width, ..PLAIN });
            assert!(plain.iter().all(|line| line.chars().count() <= width.max(60)), "{plain:?}");
        }
        let coloured = lines(&top(), Style { colours: true, ..PLAIN }).join("\n");
        assert!(coloured.contains("\x1b[1m"));
        let keys =
            keys(Choice { of: Kind::Addresses, by: By::Requests, limit: 1 }, false, None, PLAIN);
        assert!(keys.chars().count() <= 80 && keys.ends_with("q quit"), "{keys}");
    }
}
