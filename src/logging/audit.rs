//! The audit log: one JSON line for each authorisation decision, and for each request to the admin API.
//!
//! It names the client, the request and the reason of a refusal, and contains no secrets: of keys the access key id
//! only.

use std::fmt::Display;
use std::sync::Arc;
use std::time::SystemTime;

use super::config::{AuditLog, LogOutput};
use super::output;
use super::sink::Sink;
use super::syslog::Facility;
use super::text::{json_string, number, timestamp};
use crate::metrics::logs::Log;

/// Writes the audit log; cheap to clone.
#[derive(Clone, Default)]
pub struct AuditLogger {
    which: AuditLog,
    /// Destination of lines; `None`: none are written.
    sink: Option<Arc<Sink>>,
}

/// An authorisation decision, with its request.
#[derive(Default)]
pub struct Decision<'a> {
    /// `s3` or `admin`.
    pub api: &'static str,
    pub is_allowed: bool,
    pub identity: Option<&'a str>,
    pub access_key: Option<&'a str>,
    /// Address of the client; `None` for a Unix socket.
    pub client: Option<&'a dyn Display>,
    /// Name of an S3 operation, or method and path of the admin API.
    pub action: &'a str,
    /// `bucket/key`, or the subject of an admin request.
    pub resource: Option<&'a [u8]>,
    pub status: u16,
    /// S3's error code.
    pub code: Option<&'a str>,
    /// Basis of the decision: `auth.mode`, or the reason of a refusal.
    pub reason: Option<&'a str>,
    pub request_id: Option<&'a [u8]>,
}

impl AuditLogger {
    /// Starts the writer thread, unless the log is `off`.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread not be started.
    pub fn start(which: AuditLog, to: &LogOutput) -> std::io::Result<Self> {
        let sink = match which {
            AuditLog::Off => None,
            AuditLog::Denied | AuditLog::All => {
                Some(Sink::start(Log::Audit, output::open(to, "audit", Facility::AuthPriv)?)?)
            }
        };
        Ok(Self { which, sink })
    }

    /// Whether a decision is logged.
    pub fn wants(&self, is_allowed: bool) -> bool {
        match self.which {
            AuditLog::Off => false,
            AuditLog::Denied => !is_allowed,
            AuditLog::All => true,
        }
    }

    /// Whether changes by the admin API are logged.
    pub fn wants_changes(&self) -> bool {
        self.which != AuditLog::Off
    }

    /// Writes a line, whatever the decision.
    pub fn write(&self, decision: &Decision<'_>) {
        let Some(sink) = &self.sink else { return };
        let (mut line, dropped) = (Vec::with_capacity(512), sink.take_dropped());
        decision.json(SystemTime::now(), dropped, &mut line);
        sink.append(&line, dropped);
    }

    /// Reopens a file, after it was renamed.
    pub fn reopen(&self) {
        if let Some(sink) = &self.sink {
            sink.reopen();
        }
    }

    /// Waits until all lines are written, for at most a second. Blocks its thread.
    pub fn flush(&self) {
        if let Some(sink) = &self.sink {
            sink.flush();
        }
    }
}

impl Decision<'_> {
    fn json(&self, now: SystemTime, dropped: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        timestamp(out, now);
        out.extend_from_slice(b"\",\"log\":\"audit\",\"api\":\"");
        out.extend_from_slice(self.api.as_bytes());
        out.extend_from_slice(b"\",\"decision\":");
        out.extend_from_slice(if self.is_allowed { b"\"allow\"" } else { b"\"deny\"" });
        let client = self.client.map(ToString::to_string);
        let words = [
            (",\"identity\":", self.identity.map(str::as_bytes)),
            (",\"access_key_id\":", self.access_key.map(str::as_bytes)),
            (",\"client\":", client.as_deref().map(str::as_bytes)),
            (",\"action\":", Some(self.action.as_bytes())),
            (",\"resource\":", self.resource),
            (",\"code\":", self.code.map(str::as_bytes)),
            (",\"reason\":", self.reason.map(str::as_bytes)),
            (",\"request_id\":", self.request_id),
        ];
        for (name, value) in words {
            out.extend_from_slice(name.as_bytes());
            match value {
                Some(value) => json_string(out, value),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b",\"status\":");
        number(out, self.status.into());
        out.extend_from_slice(b",\"dropped\":");
        number(out, dropped);
        out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_whatever_is_in_it() {
        let decision = Decision {
            api: "s3",
            identity: Some("a\"b\n"),
            client: Some(&"192.0.2.1:1"),
            action: "GetObject",
            resource: Some(b"data/\x1b[2J\xff\r\n"),
            status: 403,
            code: Some("AccessDenied"),
            reason: Some("\u{9b}"),
            ..Decision::default()
        };
        let mut line = Vec::new();
        decision.json(SystemTime::UNIX_EPOCH, 3, &mut line);
        let line = String::from_utf8(line).unwrap();
        let object = line.strip_suffix('\n').unwrap();
        assert!(!object.contains(char::is_control), "{line}");
        let read: serde_json::Value = serde_json::from_str(object).unwrap();
        assert_eq!((&read["decision"], &read["identity"]), (&"deny".into(), &"a\"b\n".into()));
        assert_eq!(read["resource"], "data/\u{1b}[2J\u{fffd}\r\n");
        assert_eq!((&read["status"], &read["dropped"]), (&403.into(), &3.into()));
        assert!(read["access_key_id"].is_null());
    }

    #[test]
    fn only_what_is_asked_for_has_lines() {
        let with = |which| AuditLogger { which, sink: None };
        assert!(!with(AuditLog::Off).wants(false) && !with(AuditLog::Off).wants_changes());
        assert!(with(AuditLog::Denied).wants(false) && !with(AuditLog::Denied).wants(true));
        assert!(with(AuditLog::All).wants(true) && with(AuditLog::All).wants_changes());
    }
}
