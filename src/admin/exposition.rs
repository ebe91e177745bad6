//! `/metrics`: in the text format of Prometheus or OpenMetrics, compressed where that is accepted (RFC 9110 section 12).

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AsHeaderName, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE,
    HeaderMap, HeaderValue, VARY,
};
use hyper::{Response, StatusCode};
use tokio::task::spawn_blocking;

use crate::metrics::openmetrics;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns all metrics of `render` in the format that the client accepts.
pub(super) async fn answer(
    headers: &HeaderMap,
    render: impl FnOnce() -> String + Send + 'static,
) -> Response<Full<Bytes>> {
    let is_open = prefers_openmetrics(headers);
    let is_compressed = quality(headers, ACCEPT_ENCODING, "gzip").is_some_and(|q| q > 0.0);
    // Formatting and compressing thousands of lines takes too long for a thread that may serve clients.
    let page = spawn_blocking(move || {
        let text = render();
        let text = if is_open { openmetrics::from_prometheus(&text) } else { text };
        match is_compressed {
            true => gzip(text.as_bytes()),
            false => Ok(text.into_bytes()),
        }
    });
    let (status, body) = match page.await.map_err(std::io::Error::other).and_then(|page| page) {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => {
            log::error!("admin: cannot render the metrics: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, Vec::new())
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = if is_open { openmetrics::CONTENT_TYPE } else { PROMETHEUS };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if is_compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn gzip(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}

/// Whether a client accepts OpenMetrics explicitly, and with at least the weight of Prometheus's own format.
fn prefers_openmetrics(headers: &HeaderMap) -> bool {
    let of = |kind| quality(headers, ACCEPT, kind).unwrap_or(0.0);
    let open = of("application/openmetrics-text");
    open > 0.0 && open >= of("text/plain")
}

/// Returns the weight of `wanted` in a header; `None`: it is not listed.
fn quality(headers: &HeaderMap, name: impl AsHeaderName, wanted: &str) -> Option<f32> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let mut named = values.flat_map(|value| value.split(',')).filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        parts.next()?.eq_ignore_ascii_case(wanted).then(|| {
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse().ok());
            weight.unwrap_or(1.0)
        })
    });
    named.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, value.parse().unwrap())])
    }

    #[test]
    fn openmetrics_is_for_clients_that_prefer_it() {
        for accepted in [
            "application/openmetrics-text",
            // Prometheus 2 and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.3,*/*;q=0.2",
        ] {
            assert!(prefers_openmetrics(&accepts(accepted)), "{accepted}");
        }
        for other in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;q=0",
            "text/plain, application/openmetrics-text;q=0.9",
        ] {
            assert!(!prefers_openmetrics(&accepts(other)), "{other}");
        }
        assert!(!prefers_openmetrics(&HeaderMap::new()));
    }
}
