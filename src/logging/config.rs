//! Configuration of the logs, the key `log`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Logging, the key `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Format of the access log, one line for each request: `off`, `plain`, `json` or `s3` (the S3 server
    /// access log format).
    pub access: AccessLog,
    /// Destination of the access log: `stdout`, an absolute path, `syslog` or `syslog:/path` (RFC 5424 to a
    /// Unix datagram socket, by default `/dev/log`), or `syslog://ip:port` (over UDP). Files are opened
    /// again on SIGUSR1.
    pub access_to: LogOutput,
    /// Audit log, one JSON line for each decision of authorisation and each use of the admin API: `off`,
    /// `denied` (refusals, and all requests to the admin API that change something) or `all`.
    pub audit: AuditLog,
    /// Destination of the audit log, as `access_to`.
    pub audit_to: LogOutput,
    /// Format of log messages: `plain` or `json`.
    pub format: MessageFormat,
    /// Minimum level of log messages: `off`, `error`, `warn`, `info`, `debug` or `trace`.
    #[serde(deserialize_with = "level")]
    #[cfg_attr(test, schemars(extend(
        "type" = ["string", "boolean"],
        "enum" = ["off", "error", "warn", "info", "debug", "trace", false],
    )))]
    pub level: String,
}

/// Parses a level, or the `false` into which writers of YAML 1.1 turn a bare `off`.
fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct LevelVisitor;
    impl Visitor<'_> for LevelVisitor {
        type Value = String;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("off, error, warn, info, debug or trace")
        }

        fn visit_bool<E: de::Error>(self, on: bool) -> Result<String, E> {
            if on {
                Err(E::invalid_value(de::Unexpected::Bool(on), &self))
            } else {
                Ok("off".to_owned())
            }
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }
    deserializer.deserialize_any(LevelVisitor)
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            access: AccessLog::default(),
            access_to: LogOutput::default(),
            audit: AuditLog::default(),
            audit_to: LogOutput::default(),
            format: MessageFormat::default(),
            level: "info".to_owned(),
        }
    }
}

/// Format of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// No access log.
    Off,
    /// Space-separated words, for people.
    #[default]
    Plain,
    /// A JSON object.
    Json,
    /// The format of S3's own server access logs.
    S3,
}

/// Decisions that the audit log contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditLog {
    #[default]
    Off,
    /// Refusals, and admin requests that change something.
    Denied,
    All,
}

/// Format of log messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageFormat {
    #[default]
    Plain,
    /// One JSON object per line.
    Json,
}

/// Parses a word. Writers of YAML 1.1, Helm among them, turn a bare `off` into `false`.
struct WordOrOff<T: 'static> {
    words: &'static [(&'static str, T)],
    expected: &'static str,
}

impl<T: Copy + 'static> Visitor<'_> for WordOrOff<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<T, E> {
        match self.words {
            [("off", off), ..] if !on => Ok(*off),
            _ => Err(E::invalid_value(de::Unexpected::Bool(on), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let found = self.words.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for AccessLog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WORDS: &[(&str, AccessLog)] = &[
            ("off", AccessLog::Off),
            ("plain", AccessLog::Plain),
            ("json", AccessLog::Json),
            ("s3", AccessLog::S3),
        ];
        deserializer.deserialize_any(WordOrOff { words: WORDS, expected: "off, plain, json or s3" })
    }
}

impl<'de> Deserialize<'de> for AuditLog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WORDS: &[(&str, AuditLog)] =
            &[("off", AuditLog::Off), ("denied", AuditLog::Denied), ("all", AuditLog::All)];
        deserializer.deserialize_any(WordOrOff { words: WORDS, expected: "off, denied or all" })
    }
}

/// Destination of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(into = "String")]
pub enum LogOutput {
    #[default]
    Stdout,
    /// A file, to which lines are appended.
    File(PathBuf),
    /// RFC 5424 over a Unix datagram socket.
    Syslog(PathBuf),
    /// RFC 5424 over UDP (RFC 5426).
    SyslogUdp(SocketAddr),
}

impl LogOutput {
    /// Socket of the system's own logger.
    const SYSTEM: &str = "/dev/log";
}

impl FromStr for LogOutput {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_path = |path: &str| Path::new(path).is_absolute();
        match text.strip_prefix("syslog") {
            Some("") => Ok(Self::Syslog(Self::SYSTEM.into())),
            Some(rest) => {
                let remote = rest.strip_prefix("://").and_then(|address| address.parse().ok());
                let local = rest.strip_prefix(':').filter(|path| is_path(path));
                let local = local.filter(|path| !path.starts_with("//"));
                remote
                    .map(Self::SyslogUdp)
                    .or(local.map(|path| Self::Syslog(path.into())))
                    .ok_or_else(|| {
                        format!("`{text}` is none of syslog, syslog:/path and syslog://ip:port")
                    })
            }
            None if text == "stdout" => Ok(Self::Stdout),
            None if is_path(text) => Ok(Self::File(text.into())),
            None => Err(format!("`{text}` is not stdout, an absolute path, or syslog")),
        }
    }
}

impl From<LogOutput> for String {
    fn from(output: LogOutput) -> Self {
        match output {
            LogOutput::Stdout => "stdout".to_owned(),
            LogOutput::File(path) => path.display().to_string(),
            LogOutput::Syslog(path) if path == Path::new(LogOutput::SYSTEM) => "syslog".to_owned(),
            LogOutput::Syslog(path) => format!("syslog:{}", path.display()),
            LogOutput::SyslogUdp(address) => format!("syslog://{address}"),
        }
    }
}

impl<'de> Deserialize<'de> for LogOutput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OutputVisitor;
        impl Visitor<'_> for OutputVisitor {
            type Value = LogOutput;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("stdout, an absolute path, syslog, syslog:/path or syslog://ip:port")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<LogOutput, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(OutputVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_and_written_alike() {
        for text in [
            "stdout",
            "/var/log/a.log",
            "syslog",
            "syslog:/run/x",
            "syslog://127.0.0.1:514",
            "syslog://[::1]:514",
        ] {
            let output: LogOutput = text.parse().unwrap();
            assert_eq!(String::from(output), text);
        }
        for wrong in
            ["", "a.log", "syslog:x", "syslog://host:514", "syslog:///run/x", "syslogs", "stderr"]
        {
            assert!(wrong.parse::<LogOutput>().is_err(), "{wrong}");
        }
    }
}
