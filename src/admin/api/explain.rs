//! `GET /api/v1/explain`: the state of one object, or the predicted outcome of one request.
//!
//! Query: `object=s3://bucket/key`, or `request=GET /bucket/key?query` with any number of `header=Name: value`.

use hyper::{HeaderMap, Method, Response, StatusCode};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::answer::{Answer, Refusal, json};
use super::state::Api;
use crate::auth::AuthMode;
use crate::cache::Explanation;
use crate::s3::{
    HostNames, ObjectId, ObjectMeta, Operation, Parsed, Query, Read, RequestHead, S3Url, Verdict,
    obstacle, operation,
};

/// Maximum headers of an explained request.
const HEADERS: usize = 100;

/// The response.
#[derive(Serialize)]
struct Explained {
    /// The object's state; `null`: no object that the cache may hold.
    #[serde(flatten)]
    explanation: Option<Explanation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestVerdict>,
}

/// The predicted outcome of a request, without its authorisation.
#[derive(Serialize)]
struct RequestVerdict {
    request: String,
    answered_from_cache: bool,
    /// The first reason for which the cache does not answer, or the kind of response.
    because: String,
}

/// A request as written by an operator.
struct Asked {
    text: String,
    method: Method,
    target: String,
    headers: HeaderMap,
}

pub(super) async fn explain(api: &Api, query: Option<&str>) -> Answer {
    let query = Query::parse(query.unwrap_or_default())
        .map_err(|error| Refusal::bad(error.message.into_owned()))?;
    match (query.get("object"), query.get("request")) {
        (Some(object), None) => {
            let (bucket, key) =
                S3Url::parse_object(object).map_err(|wrong| Refusal::bad(wrong.to_string()))?;
            let id = ObjectId::new(&api.cache.own_realm(&bucket), bucket.clone(), key);
            let explanation = look(api, id, false, |meta| 0..meta.size).await?;
            Ok(answer(&Explained { explanation: Some(explanation), request: None }))
        }
        (None, Some(request)) => {
            let headers = query.iter().filter(|(name, _)| *name == "header");
            let asked = Asked::parse(request, headers.filter_map(|(_, value)| value))?;
            explain_request(api, asked).await
        }
        _ => Err(Refusal::bad("give either object=s3://bucket/key or request=GET /bucket/key")),
    }
}

fn answer(explained: &Explained) -> Response<String> {
    json(StatusCode::OK, explained)
}

async fn look(
    api: &Api,
    id: ObjectId,
    no_cache: bool,
    range: impl Fn(&ObjectMeta) -> std::ops::Range<u64> + Send + 'static,
) -> Result<Explanation, Refusal> {
    let (cache, rules) = (api.cache.clone(), api.rules.clone());
    let look = spawn_blocking(move || cache.explain(&id, &rules, no_cache, range));
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the look-up failed");
    look.await.map_err(failed)
}

impl Asked {
    /// Parses `GET /bucket/key?query` and `Name: value` lines.
    fn parse<'a>(text: &str, lines: impl Iterator<Item = &'a str>) -> Result<Self, Refusal> {
        let (method, target) = text
            .split_once(' ')
            .ok_or_else(|| Refusal::bad("request: it is not `GET /bucket/key`"))?;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| Refusal::bad(format!("request: `{method}` is no method")))?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let wrong = || Refusal::bad(format!("header: `{line}` is not `Name: value`"));
            let (name, value) = line.split_once(':').ok_or_else(wrong)?;
            let name: hyper::header::HeaderName = name.trim().parse().map_err(|_| wrong())?;
            headers.append(name, value.trim().parse().map_err(|_| wrong())?);
            if headers.len() > HEADERS {
                return Err(Refusal::bad(format!("header: there are more than {HEADERS}")));
            }
        }
        let (text, target) = (text.to_owned(), target.trim().to_owned());
        Ok(Self { text, method, target, headers })
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            raw_target: self.target.as_bytes(),
            host: Some("localhost"),
            headers: &self.headers,
            has_body: false,
        }
    }

    fn verdict(self, answered_from_cache: bool, because: String) -> RequestVerdict {
        RequestVerdict { request: self.text, answered_from_cache, because }
    }
}

async fn explain_request(api: &Api, asked: Asked) -> Answer {
    let parsed = match operation::parse(&asked.head(), &HostNames::default()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let because = format!("it is refused: {}: {}", error.code, error.message);
            let request = Some(asked.verdict(false, because));
            return Ok(answer(&Explained { explanation: None, request }));
        }
    };
    let Some((read, bucket, key)) = readable(&parsed) else {
        let has_key = parsed.key.is_some();
        let why = obstacle(&asked.head(), &parsed.query, has_key)
            .unwrap_or_else(|| "a value in it is none that the cache understands".to_owned());
        let request = Some(asked.verdict(false, format!("it streams through: {why}")));
        return Ok(answer(&Explained { explanation: None, request }));
    };
    let id = read.id(&api.cache.own_realm(bucket), bucket, key);
    let wanted = read.clone();
    let explanation = look(api, id, read.no_cache, move |meta| range_of(&wanted, meta)).await?;
    let (is_hit, because) = match excluded(api, &parsed, read) {
        Some(why) => (false, why),
        None => judge(read, &explanation),
    };
    let request = Some(asked.verdict(is_hit, because));
    Ok(answer(&Explained { explanation: Some(explanation), request }))
}

fn readable(parsed: &Parsed) -> Option<(&Read, &crate::s3::BucketName, &crate::s3::ObjectKey)> {
    match (&parsed.operation, parsed.object()) {
        (Operation::Read(read), Some((bucket, key))) => Some((read, bucket, key)),
        _ => None,
    }
}

/// Returns the reason for which a read never uses the cache; `None` if it may.
fn excluded(api: &Api, parsed: &Parsed, read: &Read) -> Option<String> {
    if parsed.bucket.as_ref().is_some_and(|bucket| bucket.without_tenant().is_some()) {
        return Some("it streams through: the bucket is named with its tenant".to_owned());
    }
    if api.mode == AuthMode::Transparent {
        if read.pays {
            return Some("it streams through: the requester pays".to_owned());
        }
        return Some(
            "with auth.mode `transparent` S3 is asked first whether its sender may read".to_owned(),
        );
    }
    None
}

/// Returns whether a read is answered from the cache, and the first reason.
fn judge(read: &Read, explanation: &Explanation) -> (bool, String) {
    if read.expected_owner.is_some() {
        let why = "it expects an owner of the bucket, whom the origin may have to confirm first";
        return (false, why.to_owned());
    }
    let is_hit = explanation.miss.is_none() && matches!(explanation.state, "fresh" | "absent");
    if is_hit && read.checksum_mode && read.range.is_none() {
        return (
            true,
            format!("{}; checksums that are not known yet cost one HEAD", explanation.next_read),
        );
    }
    (is_hit, explanation.next_read.clone())
}

/// Returns the bytes that a read needs: none for a HEAD, or when a condition is answered with a head alone.
fn range_of(read: &Read, meta: &ObjectMeta) -> std::ops::Range<u64> {
    let passes = read.preconditions.evaluate(&meta.etag, meta.last_modified) == Verdict::Pass;
    if read.method == crate::s3::ReadMethod::Head || !passes {
        return 0..0;
    }
    if let Some(part) = read.part {
        return meta.parts.get(part).map_or(0..meta.size, |part| part.range.clone());
    }
    let range = read.range.and_then(|range| range.resolve(meta.size).ok());
    range.unwrap_or(0..meta.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_method_a_target_and_headers() {
        let asked = Asked::parse("GET /data/k?versionId=1", ["Range: bytes=0-9"].into_iter());
        let asked = asked.ok().unwrap();
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/data/k?versionId=1"));
        assert_eq!(asked.headers["range"], "bytes=0-9");
        for (request, header) in
            [("GET", "a: b"), ("G<T /", "a: b"), ("GET /", "none"), ("GET /", "a b: c")]
        {
            let refused = Asked::parse(request, [header].into_iter()).err().unwrap();
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{request} {header}");
        }
    }
}
