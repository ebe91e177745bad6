//! Responses of the API: JSON, or one line with the reason of a refusal.

use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

pub(super) type Answer = Result<Response<String>, Refusal>;

/// A refused request, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: String,
    /// Identity of the sender, for the audit log.
    pub(super) identity: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), identity: None }
    }

    pub(super) fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    pub(super) fn answer(self) -> Response<String> {
        let Self { status, why, .. } = self;
        let mut response = json(status, &ErrorBody { error: &why });
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("10"));
        }
        response
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

/// Returns 405 with the allowed methods.
pub(super) fn other_method(allowed: &'static str) -> Response<String> {
    let error = format!("only {allowed}");
    let mut response = json(StatusCode::METHOD_NOT_ALLOWED, &ErrorBody { error: &error });
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<String> {
    let mut body = serde_json::to_string(value).expect("it has no maps with other keys than text");
    body.push('\n');
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
