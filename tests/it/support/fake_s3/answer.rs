//! Responses of S3: a request and the store in, a reply out; no I/O, and no faults but those that make it ignore a
//! range, a part or an `If-Match`.
//!
//! Reads are as close to S3 as the crate under test needs: versions, delete markers, parts (numbers may be left out)
//! and the checksums of each; conditions on dates are ignored. Writes store their objects. Everything else (tags,
//! ACLs, ..) is answered 200 with an empty document and changes nothing.

use super::http::{Asked, asked_range, percent_decode, xml_escape, xml_values};
use super::regions::elsewhere;
use super::reply::{Reply, error, xml};
use super::store::{Deleted, Found, Store, Upload};
use super::{DEFAULT_LAST_MODIFIED, Object, Seen, aws_chunked, form};
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// Parts of a request that the origin wrongly ignores.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blind {
    pub range: bool,
    pub part: bool,
    pub if_match: bool,
}

const OVERRIDES: [(&str, &str); 6] = [
    ("response-content-type", "Content-Type"),
    ("response-content-language", "Content-Language"),
    ("response-content-disposition", "Content-Disposition"),
    ("response-content-encoding", "Content-Encoding"),
    ("response-cache-control", "Cache-Control"),
    ("response-expires", "Expires"),
];

/// Headers of a PUT that are stored with the object.
const STORED: [&str; 5] =
    ["content-type", "content-language", "content-disposition", "cache-control", "expires"];

/// Account that owns every bucket.
pub const OWNER: &str = "111122223333";

/// Executes the request, and returns the response.
pub(super) fn answer(store: &mut Store, seen: &Seen, blind: Blind) -> Reply {
    if let Some(reply) = elsewhere(store, seen) {
        return reply;
    }
    let sent = |name| seen.headers.get(name).map(http::HeaderValue::as_bytes);
    let pays = sent("x-amz-request-payer") == Some(b"requester");
    let charged = store.requester_pays.contains(&seen.bucket);
    let expected = sent("x-amz-expected-bucket-owner");
    if charged && !pays || expected.is_some_and(|owner| owner != OWNER.as_bytes()) {
        return error(seen, 403, "AccessDenied", &[]);
    }
    if seen.method == Method::OPTIONS {
        return preflight(store, seen);
    }
    let reply = act(store, seen, blind);
    let reply = if allows_page(store, seen) { with_cors(reply, seen) } else { reply };
    if charged { reply.with("x-amz-request-charged", "requester") } else { reply }
}

/// Answers an unsigned preflight by the bucket's CORS rules.
fn preflight(store: &Store, seen: &Seen) -> Reply {
    let asked = seen.header("access-control-request-method");
    if seen.header("origin").is_empty() || asked.is_empty() {
        return error(seen, 400, "BadRequest", &[]);
    }
    if !allows_page(store, seen) {
        return error(seen, 403, "AccessForbidden", &[]);
    }
    with_cors(Reply::empty(200).with("Content-Length", "0"), seen)
        .with("Access-Control-Allow-Methods", asked)
}

fn allows_page(store: &Store, seen: &Seen) -> bool {
    store.cors.contains(&(seen.bucket.clone(), seen.header("origin").to_owned()))
}

fn with_cors(reply: Reply, seen: &Seen) -> Reply {
    reply
        .with("Access-Control-Allow-Origin", seen.header("origin"))
        .with("Access-Control-Allow-Credentials", "true")
        .with("Access-Control-Expose-Headers", "ETag")
        .with("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
}

fn act(store: &mut Store, seen: &Seen, blind: Blind) -> Reply {
    if seen.bucket.is_empty() && seen.has_param("session") {
        return create_session(store);
    }
    if seen.key.is_empty() {
        return bucket(store, seen);
    }
    let subresource = seen.params().any(|(name, _)| !is_object_param(&name));
    match seen.method {
        Method::POST if seen.has_param("uploads") => begin_upload(store, seen),
        Method::POST if seen.has_param("uploadId") => complete_upload(store, seen),
        Method::DELETE if seen.has_param("uploadId") => abort_upload(store, seen),
        _ if subresource => xml(200, "<Subresource/>"),
        Method::GET | Method::HEAD => read(store, seen, blind),
        Method::PUT if seen.has_param("uploadId") => put_part(store, seen),
        Method::PUT if seen.headers.contains_key("x-amz-copy-source") => copy(store, seen),
        Method::PUT => put(store, seen),
        Method::DELETE => delete(store, seen),
        _ => error(seen, 405, "MethodNotAllowed", &[]),
    }
}

/// Returns credentials for five minutes that contain the number of the session.
fn create_session(store: &mut Store) -> Reply {
    store.sessions += 1;
    let number = store.sessions;
    let ends = std::time::SystemTime::now() + std::time::Duration::from_mins(5);
    let ends = chrono::DateTime::<chrono::Utc>::from(ends).to_rfc3339();
    xml(
        200,
        &format!(
            "<CreateSessionResult><Credentials><SessionToken>token{number}</SessionToken>\
             <SecretAccessKey>secret{number}</SecretAccessKey><AccessKeyId>SESSION{number}</AccessKeyId>\
             <Expiration>{ends}</Expiration></Credentials></CreateSessionResult>"
        ),
    )
}

/// Whether a request with this query parameter is still one for the object itself.
fn is_object_param(name: &str) -> bool {
    matches!(name, "versionId" | "partNumber" | "uploadId" | "x-id")
        || name.starts_with("response-")
        || name.to_ascii_lowercase().starts_with("x-amz-")
}

fn read(store: &Store, seen: &Seen, blind: Blind) -> Reply {
    let version = seen.param("versionId");
    if version.as_deref() == Some("") {
        let argument = [("ArgumentName", "versionId"), ("ArgumentValue", "")];
        return error(seen, 400, "InvalidArgument", &argument);
    }
    let object = match store.find(&seen.bucket, &seen.key, version.as_deref()) {
        Found::Object(object) => object,
        Found::NoSuchKey { marker } => {
            let reply = error(seen, 404, "NoSuchKey", &[("Key", &seen.key)]);
            return match marker {
                Some(id) => reply.with("x-amz-delete-marker", "true").with("x-amz-version-id", id),
                None => reply,
            };
        }
        Found::NoSuchVersion => {
            let version = version.unwrap_or_default();
            let details = [("Key", &*seen.key), ("VersionId", &*version)];
            return error(seen, 404, "NoSuchVersion", &details);
        }
        Found::Marker => {
            let details = [("Method", seen.method.as_str()), ("ResourceType", "DeleteMarker")];
            let reply = error(seen, 405, "MethodNotAllowed", &details);
            let reply = reply.with("x-amz-version-id", &version.unwrap_or_default());
            let reply = reply.with("x-amz-delete-marker", "true").with("Allow", "DELETE");
            return reply.with("Last-Modified", DEFAULT_LAST_MODIFIED);
        }
    };
    let null = object.version_id.is_none() && store.is_versioned(&seen.bucket, &seen.key);
    let reply = read_object(object, seen, blind);
    if null && reply.status < 300 { reply.with("x-amz-version-id", "null") } else { reply }
}

fn read_object(object: &Object, seen: &Seen, blind: Blind) -> Reply {
    let has = |name: &str, value: &str| {
        object.headers.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && v.contains(value))
    };
    let restored = has("x-amz-restore", "ongoing-request=\"false\"");
    if seen.method == Method::GET && has("x-amz-storage-class", "GLACIER") && !restored {
        return error(seen, 403, "InvalidObjectState", &[("StorageClass", "GLACIER")]);
    }
    if let Some(reply) = precondition(seen, Some(object), blind) {
        return reply;
    }
    let size = object.len();
    let mode = seen.param("x-amz-checksum-mode");
    let mode = mode.as_deref().unwrap_or(seen.header("x-amz-checksum-mode"));
    let enabled = mode.eq_ignore_ascii_case("ENABLED");
    if let Some(number) = seen.param("partNumber").filter(|_| !blind.part) {
        return part(seen, object, &number, enabled);
    }
    match asked_range(&seen.headers, size) {
        Asked::Part(range) if !blind.range => {
            let checksums = object.checksums_of(&range).iter().filter(|_| enabled);
            let reply = with_object_headers(Reply::part(object, range), seen);
            checksums.fold(reply, |reply, (name, value)| reply.with(name, value))
        }
        Asked::Unsatisfiable if !blind.range => invalid_range(seen, size),
        _ => {
            let reply = with_object_headers(Reply::whole(object), seen);
            let checksums = object.checksums.iter().filter(|_| enabled);
            checksums.fold(reply, |reply, (name, value)| reply.with(name, value))
        }
    }
    .for_method(&seen.method)
}

/// Returns the 412 or 304 of a failed condition, if any. `*` and lists are supported.
fn precondition(seen: &Seen, object: Option<&Object>, blind: Blind) -> Option<Reply> {
    let etag = object.and_then(Object::etag_value).unwrap_or_default();
    let names = |header: &str| {
        let mut members = seen.header(header).split(',').map(str::trim);
        // `If-Match` compares strongly (RFC 9110, 13.1.1): a weak ETag never matches.
        let comparable = header != "if-match" || !etag.starts_with("W/");
        let same = |m: &str| comparable && m.trim_matches('"') == etag.trim_matches('"');
        members.any(|m| object.is_some() && (m == "*" || same(m)))
    };
    if seen.headers.contains_key("if-match") && !names("if-match") && !blind.if_match {
        return Some(error(seen, 412, "PreconditionFailed", &[("Condition", "If-Match")]));
    }
    if !seen.headers.contains_key("if-none-match") || !names("if-none-match") {
        return None;
    }
    if seen.method == Method::GET || seen.method == Method::HEAD {
        return Some(Reply::empty(304).with("ETag", etag));
    }
    Some(error(seen, 412, "PreconditionFailed", &[("Condition", "If-None-Match")]))
}

fn invalid_range(seen: &Seen, size: u64) -> Reply {
    let asked = seen.header("range");
    let details = [("RangeRequested", asked), ("ActualObjectSize", &size.to_string())];
    error(seen, 416, "InvalidRange", &details).with("Content-Range", &format!("bytes */{size}"))
}

/// Returns a part, or S3's error for a number without one: ceph#66780 (with a range), LocalStack (past the end).
fn part(seen: &Seen, object: &Object, number: &str, checksums: bool) -> Reply {
    if seen.headers.contains_key("range") {
        return error(seen, 400, "InvalidRequest", &[]);
    }
    let Some(number) = number.parse().ok().filter(|number| (1..=10_000).contains(number)) else {
        let argument = [("ArgumentName", "partNumber"), ("ArgumentValue", number)];
        return error(seen, 400, "InvalidArgument", &argument);
    };
    let Some(part) = object.part(number) else {
        let details = [("ActualPartCount", &*object.parts.len().max(1).to_string())];
        return error(seen, 416, "InvalidPartNumber", &details);
    };
    let mut reply = match part.range.is_empty() {
        true => Reply::whole(object),
        false => Reply::part(object, part.range),
    };
    if !object.parts.is_empty() {
        reply = reply.with("x-amz-mp-parts-count", &object.parts.len().to_string());
    }
    for (name, value) in part.checksums.iter().filter(|_| checksums) {
        reply = reply.with(name, value);
    }
    with_object_headers(reply, seen).for_method(&seen.method)
}

fn with_object_headers(reply: Reply, seen: &Seen) -> Reply {
    let object = reply.object().clone();
    let mut reply = reply.with("Accept-Ranges", "bytes");
    let named = [
        ("ETag", &object.etag),
        ("Last-Modified", &object.last_modified),
        ("x-amz-version-id", &object.version_id),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            reply = reply.with(name, value);
        }
    }
    for (name, value) in &object.headers {
        reply = reply.with(name, value);
    }
    for (param, name) in OVERRIDES {
        if let Some(value) = seen.param(param) {
            reply = reply.with(name, &value);
        }
    }
    reply
}

fn put(store: &mut Store, seen: &Seen) -> Reply {
    let current = store.current(&seen.bucket, &seen.key);
    if let Some(reply) = precondition(seen, current, Blind::default()) {
        return reply;
    }
    let object = own_headers(Object::bytes(seen.body.clone()), seen);
    let stored = store.write(&seen.bucket, &seen.key, object);
    written(Reply::empty(200).with("Content-Length", "0"), &stored)
}

/// Gives the object the headers and checksums of the request.
fn own_headers(mut object: Object, seen: &Seen) -> Object {
    for (name, value) in &seen.headers {
        let (name, value) = (name.as_str(), value.to_str().unwrap_or_default());
        if STORED.contains(&name) || name.starts_with("x-amz-meta-") {
            object = object.header(name, value);
        } else if is_checksum(name) {
            object = object.checksum(name, value);
        }
    }
    for (name, value) in seen.trailers.iter().filter(|(name, _)| is_checksum(name)) {
        object = object.checksum(name, value);
    }
    let encodings: Vec<_> =
        aws_chunked::encodings(seen).filter(|name| *name != "aws-chunked").collect();
    if encodings.is_empty() {
        object
    } else {
        object.header("content-encoding", &encodings.join(","))
    }
}

fn is_checksum(name: &str) -> bool {
    let algorithm = name.strip_prefix("x-amz-checksum-");
    algorithm.is_some_and(|name| name.starts_with("crc") || name.starts_with("sha"))
}

fn written(reply: Reply, stored: &Object) -> Reply {
    let reply = reply.with("ETag", stored.etag_value().unwrap_or_default());
    match &stored.version_id {
        Some(id) => reply.with("x-amz-version-id", id),
        None => reply,
    }
}

fn copy(store: &mut Store, seen: &Seen) -> Reply {
    let source = percent_decode(seen.header("x-amz-copy-source"));
    let (source, version) = match source.split_once("?versionId=") {
        Some((source, version)) => (source, Some(version)),
        None => (&*source, None),
    };
    let (bucket, key) = source.trim_start_matches('/').split_once('/').unwrap_or_default();
    let Found::Object(object) = store.find(bucket, key, version) else {
        return error(seen, 404, "NoSuchKey", &[("Key", key)]);
    };
    let mut object = object.clone();
    if seen.header("x-amz-metadata-directive") == "REPLACE" {
        object.headers.clear();
        object = own_headers(object.header("Content-Type", "binary/octet-stream"), seen);
    }
    let stored = store.write(&seen.bucket, &seen.key, object);
    let etag = xml_escape(stored.etag_value().unwrap_or_default());
    let reply = xml(200, &format!("<CopyObjectResult><ETag>{etag}</ETag></CopyObjectResult>"));
    written(reply, &stored)
}

fn delete(store: &mut Store, seen: &Seen) -> Reply {
    let reply = Reply::empty(204);
    let version = seen.param("versionId");
    match store.delete(&seen.bucket, &seen.key, version.as_deref()) {
        Deleted::Object => reply,
        Deleted::MarkerLeft(id) => {
            reply.with("x-amz-delete-marker", "true").with("x-amz-version-id", &id)
        }
        Deleted::Version { marker } => {
            let reply = reply.with("x-amz-version-id", &version.unwrap_or_default());
            if marker { reply.with("x-amz-delete-marker", "true") } else { reply }
        }
    }
}

fn begin_upload(store: &mut Store, seen: &Seen) -> Reply {
    let (bucket, key, id) = (&seen.bucket, xml_escape(&seen.key), store.begin_upload());
    let name = "InitiateMultipartUploadResult";
    let inner = format!("<Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>");
    xml(200, &format!("<{name}>{inner}</{name}>"))
}

fn put_part(store: &mut Store, seen: &Seen) -> Reply {
    let number = seen.param("partNumber").and_then(|number| number.parse().ok());
    let upload = store.upload(&seen.param("uploadId").unwrap_or_default());
    let (Some(number), Some(upload)) = (number, upload) else {
        return error(seen, 404, "NoSuchUpload", &[]);
    };
    upload.insert(number, seen.body.clone());
    let part = Object::bytes(seen.body.clone());
    written(Reply::empty(200).with("Content-Length", "0"), &part)
}

/// Joins the parts that the body names, or all of them if it names none.
fn complete_upload(store: &mut Store, seen: &Seen) -> Reply {
    let named: Vec<u32> =
        xml_values(&seen.body, "PartNumber").iter().flat_map(|n| n.parse()).collect();
    let Some(mut parts) = store.end_upload(&seen.param("uploadId").unwrap_or_default()) else {
        return error(seen, 404, "NoSuchUpload", &[]);
    };
    if !named.iter().all(|number| parts.contains_key(number)) {
        return error(seen, 400, "InvalidPart", &[]);
    }
    parts.retain(|number, _| named.is_empty() || named.contains(number));
    let stored = store.write(&seen.bucket, &seen.key, joined(&parts));
    let (bucket, key) = (&seen.bucket, xml_escape(&seen.key));
    let etag = stored.etag_value().unwrap_or_default();
    let inner = format!("<Bucket>{bucket}</Bucket><Key>{key}</Key><ETag>{etag}</ETag>");
    let name = "CompleteMultipartUploadResult";
    xml(200, &format!("<{name}>{inner}</{name}>"))
}

fn joined(parts: &Upload) -> Object {
    let lengths: Vec<u64> = parts.values().map(|part| part.len() as u64).collect();
    let parts: Vec<&[u8]> = parts.values().map(|part| &**part).collect();
    Object::bytes(parts.concat()).parts(&lengths)
}

fn abort_upload(store: &mut Store, seen: &Seen) -> Reply {
    match store.end_upload(&seen.param("uploadId").unwrap_or_default()) {
        Some(_) => Reply::empty(204),
        None => error(seen, 404, "NoSuchUpload", &[]),
    }
}

fn bucket(store: &mut Store, seen: &Seen) -> Reply {
    match seen.method {
        Method::POST if seen.has_param("delete") => delete_objects(store, seen),
        Method::POST if seen.header("content-type").starts_with("multipart/form-data") => {
            form::post(store, seen)
        }
        Method::GET if seen.has_param("location") => xml(200, "<LocationConstraint/>"),
        Method::GET if seen.bucket.is_empty() => xml(200, "<ListAllMyBucketsResult/>"),
        Method::GET => list(store, seen),
        Method::DELETE => Reply::empty(204),
        _ => Reply::empty(200).with("Content-Length", "0"),
    }
}

fn delete_objects(store: &mut Store, seen: &Seen) -> Reply {
    let deleted = xml_values(&seen.body, "Key").into_iter().map(|key| {
        store.delete(&seen.bucket, &key, None);
        format!("<Deleted><Key>{}</Key></Deleted>", xml_escape(&key))
    });
    let deleted: String = deleted.collect();
    xml(200, &format!("<DeleteResult>{deleted}</DeleteResult>"))
}

/// Characters that S3 does not encode in the keys of a list, besides letters and digits.
const LISTED_KEY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b'/');

/// Encodes a key as S3 does with `encoding-type=url`.
fn form_encode(key: &str) -> String {
    let encoded = percent_encoding::utf8_percent_encode(key, LISTED_KEY).to_string();
    encoded.replace("%20", "+")
}

/// `ListObjectsV2` as far as tests need it: a prefix, a delimiter (without common prefixes), and pages of `max-keys`,
/// whose token is the last key.
fn list(store: &Store, seen: &Seen) -> Reply {
    let prefix = seen.param("prefix").unwrap_or_default();
    let after = seen.param("continuation-token").unwrap_or_default();
    let most = seen.param("max-keys").and_then(|most| most.parse().ok()).unwrap_or(1000);
    let delimiter = seen.param("delimiter").unwrap_or_default();
    let rolled_up = |key: &str| !delimiter.is_empty() && key[prefix.len()..].contains(&*delimiter);
    let listed = store.list(&seen.bucket, &prefix).filter(|(key, _)| !rolled_up(key));
    let all: Vec<_> = listed.filter(|(key, _)| **key > *after).collect();
    let page = &all[..all.len().min(most)];
    let is_truncated = page.len() < all.len();
    let next = page.last().filter(|_| is_truncated).map_or(String::new(), |(key, _)| {
        format!("<NextContinuationToken>{}</NextContinuationToken>", xml_escape(key))
    });
    let entry = if seen.has_param("versions") { "Version" } else { "Contents" };
    let encodes = seen.param("encoding-type").as_deref() == Some("url");
    let encoding = if encodes { "<EncodingType>url</EncodingType>" } else { "" };
    let contents = page.iter().map(|(key, object)| {
        let key = if encodes { form_encode(key) } else { xml_escape(key) };
        let size = object.len();
        let etag = xml_escape(object.etag_value().unwrap_or_default());
        let fields = format!("<Key>{key}</Key><ETag>{etag}</ETag><Size>{size}</Size>");
        format!("<{entry}>{fields}<IsLatest>true</IsLatest></{entry}>")
    });
    let contents: String = contents.collect();
    let (name, prefix) = (xml_escape(&seen.bucket), xml_escape(&prefix));
    xml(
        200,
        &format!(
            "<ListBucketResult><Name>{name}</Name><Prefix>{prefix}</Prefix>\
             {encoding}<IsTruncated>{is_truncated}</IsTruncated>{next}{contents}</ListBucketResult>"
        ),
    )
}
