//! Audit log: the decision on each request.

use std::fmt::Display;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

use super::Exchange;
use crate::auth::Access;
use crate::logging::audit::{AuditLogger, Decision};
use crate::proxy::context::RequestContext;

/// Error codes that deny the sender although their status is neither 401 nor 403.
const OF_THE_SENDER: [&str; 6] = [
    "ExpiredToken",
    "InvalidToken",
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "InvalidRequest",
    "MissingSecurityHeader",
];

/// Writes the decision on a finished request, if the audit log wants such decisions.
pub(in crate::proxy) fn write(
    audit: &AuditLogger,
    access: &Access,
    exchange: &Exchange<'_>,
    ctx: &RequestContext,
) {
    // A request that was refused for its form was never authorized.
    if !audit.wants_changes() || ctx.refused.is_some() {
        return;
    }
    let answered = ctx.answered.as_ref();
    let refuses = matches!(exchange.status, 401 | 403);
    let is_allowed = !match answered {
        Some(answered) => refuses || OF_THE_SENDER.contains(&&*answered.code),
        None => refuses,
    };
    if !audit.wants(is_allowed) {
        return;
    }
    let reason = match (is_allowed, answered) {
        (false, Some(answered)) => answered.message.as_deref(),
        (false, None) => Some("the origin refuses it"),
        (true, _) => Some(mode(access)),
    };
    let resource = match ctx.names() {
        (Some(bucket), Some(key)) => Some(format!("{bucket}/{key}")),
        (bucket, _) => bucket.map(str::to_owned),
    };
    audit.write(&Decision {
        api: "s3",
        is_allowed,
        identity: ctx.identity_name(),
        access_key: access_key(exchange.headers, exchange.target).as_deref(),
        client: exchange.address.map(|address| address as &dyn Display),
        action: ctx.operation.label(),
        resource: resource.as_deref().map(str::as_bytes),
        status: exchange.status,
        code: answered.filter(|_| !is_allowed).map(|answered| &*answered.code),
        reason,
        request_id: Some(&ctx.request_id.digits()),
    });
}

/// Returns the reason that a request was allowed: the value of `auth.mode`.
fn mode(access: &Access) -> &'static str {
    match access {
        Access::Trust(_) => "auth.mode: trust",
        Access::Verify { .. } => "auth.mode: verify",
        Access::Transparent(_) => "auth.mode: transparent",
    }
}

/// Returns the access key id that a request is signed with, whether or not the signature is valid.
fn access_key(headers: &HeaderMap, target: &[u8]) -> Option<String> {
    let header = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let named = [
        (header, b"Credential=".as_slice()),
        (target, b"X-Amz-Credential="),
        (target, b"AWSAccessKeyId="),
        (header.strip_prefix(b"AWS ").unwrap_or_default(), b""),
    ];
    let (text, name) = named
        .into_iter()
        .find(|(text, name)| !text.is_empty() && memmem::find(text, name).is_some())?;
    let start = memmem::find(text, name)? + name.len();
    let key =
        text[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_');
    let key: String = key.take(128).map(|byte| char::from(*byte)).collect();
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_access_key_is_found_wherever_it_stands_and_nothing_else() {
        let of = |header: &str, target: &str| {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(AUTHORIZATION, header.parse().unwrap());
            }
            access_key(&headers, target.as_bytes())
        };
        let v4 = "AWS4-HMAC-SHA256 Credential=AKIA1/20260101/us-east-1/s3/aws4_request, Signature=SECRET";
        assert_eq!(of(v4, "/b/k").as_deref(), Some("AKIA1"));
        assert_eq!(of("AWS AKIA2:SECRET", "/b/k").as_deref(), Some("AKIA2"));
        assert_eq!(
            of("", "/b/k?X-Amz-Credential=AKIA3%2F2026&X-Amz-Signature=SECRET").as_deref(),
            Some("AKIA3")
        );
        assert_eq!(of("", "/b/k?AWSAccessKeyId=AKIA4&Signature=SECRET").as_deref(), Some("AKIA4"));
        assert_eq!(of("Bearer SECRET", "/b/k"), None);
        assert_eq!(of("", "/b/k"), None);
    }
}
