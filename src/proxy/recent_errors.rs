//! The last failed requests, for the operators' page: one bounded ring for server errors and one for client errors,
//! so that neither pushes the other out.
//!
//! Responses that are part of ordinary use (404, 412, 416) and client disconnects are not kept. Recording never
//! waits: while another thread holds the ring, an entry is dropped.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;

use super::access_log::{CLIENT_CLOSED_REQUEST, Exchange};
use super::context::RequestContext;

/// Capacity of each ring, in entries.
const KEPT: usize = 50;
/// Maximum bytes of a path or a reason; longer ones are cut.
const TEXT_MAX: usize = 300;

/// A request that was answered with an error, or not at all.
#[derive(Debug, Clone, Serialize)]
pub struct RecentError {
    /// Unix time, in seconds.
    pub time: f64,
    /// 0: no answer.
    pub status: u16,
    /// S3's error code; `None`: the answer came from the origin, or there was none.
    pub code: Option<String>,
    pub method: String,
    /// Without the query, which may hold a signature.
    pub path: String,
    pub operation: &'static str,
    pub client: Option<String>,
    pub identity: Option<String>,
    pub reason: String,
    pub request_id: String,
}

/// The rings of recent errors; one pair for all listeners.
#[derive(Debug, Default)]
pub struct RecentErrors {
    of_server: Mutex<VecDeque<RecentError>>,
    of_clients: Mutex<VecDeque<RecentError>>,
}

impl RecentErrors {
    /// Keeps a finished request if it failed.
    pub(super) fn record(&self, exchange: &Exchange<'_>, ctx: &RequestContext) {
        let ring = match exchange.status {
            0 if exchange.error.is_some() => &self.of_server,
            404 | 412 | 416 | CLIENT_CLOSED_REQUEST => return,
            400..=499 => &self.of_clients,
            500.. => &self.of_server,
            _ => return,
        };
        if let Some(mut ring) = ring.try_lock() {
            push(&mut ring, entry(exchange, ctx));
        }
    }

    /// Returns all entries, newest first.
    pub fn newest_first(&self) -> Vec<RecentError> {
        let mut all: Vec<_> = self.of_server.lock().iter().cloned().collect();
        all.extend(self.of_clients.lock().iter().cloned());
        all.sort_by(|a, b| b.time.total_cmp(&a.time));
        all
    }
}

fn push(ring: &mut VecDeque<RecentError>, entry: RecentError) {
    if ring.len() == KEPT {
        ring.pop_front();
    }
    ring.push_back(entry);
}

fn entry(exchange: &Exchange<'_>, ctx: &RequestContext) -> RecentError {
    let answered = ctx.answered.as_ref();
    // The placeholder request of a refused one was not sent by the client.
    let refused = ctx.refused.filter(|_| ctx.forward.is_none());
    let path = exchange.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let identity = ctx.identity_name().map(str::to_owned);
    let reason = match (ctx.refused, exchange.error) {
        (Some(why), _) => format!("the request has {}", why.why()),
        (None, Some(error)) => error.to_string(),
        (None, None) => match answered {
            Some(answered) => answered.message.as_deref().unwrap_or_default().to_owned(),
            None => "answered by the origin".to_owned(),
        },
    };
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RecentError {
        time: since_epoch.as_secs_f64(),
        status: exchange.status,
        code: answered.map(|answered| answered.code.to_string()),
        method: refused.map_or(exchange.method.as_str(), |_| "-").to_owned(),
        path: refused.map_or_else(|| cut(&String::from_utf8_lossy(path)), |_| "-".to_owned()),
        operation: ctx.operation.label(),
        client: exchange.address.map(ToString::to_string),
        identity,
        reason: cut(&reason),
        request_id: String::from_utf8_lossy(&ctx.request_id.digits()).into_owned(),
    }
}

fn cut(text: &str) -> String {
    match text.len() > TEXT_MAX {
        true => format!("{}…", &text[..text.floor_char_boundary(TEXT_MAX)]),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    fn record(errors: &RecentErrors, status: u16, target: &[u8]) {
        let headers = HeaderMap::new();
        let exchange = Exchange {
            address: None,
            client: None,
            method: &Method::GET,
            target,
            headers: &headers,
            version: http::Version::HTTP_11,
            status,
            bytes: 0,
            error: None,
        };
        errors.record(&exchange, &RequestContext::begin());
    }

    #[test]
    fn keeps_the_last_errors_of_each_kind_and_no_ordinary_answers() {
        let errors = RecentErrors::default();
        record(&errors, 503, b"/data/first");
        for status in [200, 206, 304, 404, 412, 416, 499].into_iter().chain([403; KEPT * 3]) {
            record(&errors, status, b"/data/denied");
        }
        let kept = errors.newest_first();
        assert_eq!(kept.len(), KEPT + 1, "403s do not push out the 503");
        assert_eq!(kept.last().unwrap().path, "/data/first");
        assert!(kept[..KEPT].iter().all(|error| error.status == 403));
    }

    #[test]
    fn a_path_is_bounded_and_has_no_query() {
        let errors = RecentErrors::default();
        record(&errors, 500, b"/data/k?X-Amz-Signature=0123");
        let long = [b"/data/".as_slice(), "ü".repeat(TEXT_MAX).as_bytes()].concat();
        record(&errors, 500, &long);
        let kept = errors.newest_first();
        assert!(kept.iter().any(|error| error.path == "/data/k"));
        assert!(kept.iter().all(|error| error.path.len() <= TEXT_MAX + '…'.len_utf8()));
    }
}
