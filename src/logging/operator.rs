//! The operator's log: messages about the server itself, on the standard error.
//!
//! Its level is `log::max_level`, which may change while the server runs; libraries log from warnings on.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::config::MessageFormat;
use super::text::{json_string, one_line, timestamp};

/// Names of the levels, from the least to the most verbose.
pub const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Whether messages are in JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

struct Operator;

/// Starts logging; an invalid level counts as `info`.
pub fn start(format: MessageFormat, level: &str) {
    set_format(format);
    // Only a second call fails.
    let _ = log::set_logger(&Operator);
    log::set_max_level(level.parse().unwrap_or(LevelFilter::Info));
}

/// Sets the format of messages from now on.
pub fn set_format(format: MessageFormat) {
    IS_JSON.store(format == MessageFormat::Json, Ordering::Relaxed);
}

/// Sets the minimum level of messages from now on; `false`: it is not a level.
pub fn set_level(level: &str) -> bool {
    let Some(filter) =
        LEVELS.iter().find(|name| **name == level).and_then(|name| name.parse().ok())
    else {
        return false;
    };
    log::set_max_level(filter);
    true
}

/// Returns the minimum level of messages.
pub fn level() -> &'static str {
    LEVELS[log::max_level() as usize]
}

impl Log for Operator {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_ours = target == "hotset" || target.starts_with("hotset::");
        is_ours || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let format = match IS_JSON.load(Ordering::Relaxed) {
                true => MessageFormat::Json,
                false => MessageFormat::Plain,
            };
            let line = line(format, record, SystemTime::now());
            // One write a line, so that lines of several threads do not mix.
            let _ = std::io::stderr().lock().write_all(&line);
        }
    }

    fn flush(&self) {}
}

fn line(format: MessageFormat, record: &Record<'_>, now: SystemTime) -> Vec<u8> {
    let (level, target, message) = (record.level(), record.target(), record.args().to_string());
    let mut out = Vec::with_capacity(message.len() + 80);
    match format {
        MessageFormat::Plain => {
            out.push(b'[');
            timestamp(&mut out, now);
            let _ = write!(out, " {level:<5} {target}] {}", one_line(&message));
        }
        MessageFormat::Json => {
            out.extend_from_slice(b"{\"time\":\"");
            timestamp(&mut out, now);
            out.extend_from_slice(b"\",\"level\":\"");
            out.extend_from_slice(level.as_str().to_ascii_lowercase().as_bytes());
            out.extend_from_slice(b"\",\"target\":");
            json_string(&mut out, target.as_bytes());
            out.extend_from_slice(b",\"message\":");
            json_string(&mut out, message.as_bytes());
            out.push(b'}');
        }
    }
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: MessageFormat, message: &str) -> String {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_500);
        let arguments = format_args!("{message}");
        let record =
            Record::builder().level(Level::Warn).target("hotset::a").args(arguments).build();
        String::from_utf8(line(format, &record, now)).unwrap()
    }

    const HOSTILE: &str = "a\n[2026 ERROR\r\u{1b}[2J\u{9b}\u{7f} ü\\\"'";

    #[test]
    fn a_plain_message_is_one_line_without_control_characters() {
        assert_eq!(
            shown(MessageFormat::Plain, HOSTILE),
            "[1970-01-01T00:00:01.500Z WARN  hotset::a] a\\x0A[2026 ERROR\\x0D\\x1B[2J\\x9B\\x7F ü\\\"'\n"
        );
    }

    #[test]
    fn a_json_message_reads_back() {
        let line = shown(MessageFormat::Json, HOSTILE);
        let object = line.strip_suffix('\n').unwrap();
        assert!(!object.contains(char::is_control), "{line}");
        let read: serde_json::Value = serde_json::from_str(object).unwrap();
        assert_eq!(read["message"], HOSTILE);
        assert_eq!((&read["level"], &read["target"]), (&"warn".into(), &"hotset::a".into()));
        assert_eq!(read["time"], "1970-01-01T00:00:01.500Z");
    }

    #[test]
    fn libraries_are_heard_from_warnings_on() {
        let is_heard = |level, target| {
            Operator.enabled(&Metadata::builder().level(level).target(target).build())
        };
        assert!(is_heard(Level::Trace, "hotset") && is_heard(Level::Trace, "hotset::a"));
        assert!(is_heard(Level::Warn, "pingora") && !is_heard(Level::Info, "pingora"));
        assert!(!is_heard(Level::Info, "hotsets"));
    }

    #[test]
    fn levels_are_in_the_order_of_the_filter() {
        for (index, name) in LEVELS.into_iter().enumerate() {
            assert_eq!(name.parse::<LevelFilter>().unwrap() as usize, index);
        }
    }
}
