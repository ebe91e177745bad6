//! `PostObject`: handles a browser's form as S3 does, its signature and policy included.
//!
//! A form with a policy must be signed by the keys of the proxy under test; a form without one is anonymous, and
//! accepted.

use super::http::xml_escape;
use super::reply::{Reply, error, xml};
use super::store::Store;
use super::{Object, Seen};
use crate::support::proxy::test_credentials;
use crate::support::sigv4::signature_of;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

/// Answers a form.
pub(super) fn post(store: &mut Store, seen: &Seen) -> Reply {
    let Some((fields, file)) = read(seen) else {
        return error(seen, 400, "MalformedPOSTRequest", &[]);
    };
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| &**value);
    if let Err(why) = judge(seen, &fields, file.len()) {
        return error(seen, 403, "AccessDenied", &[("Why", &why)]);
    }
    let Some(key) = field("key").filter(|key| !key.contains("${filename}")) else {
        return error(seen, 400, "InvalidArgument", &[("ArgumentName", "key")]);
    };
    let mut object = Object::bytes(file);
    for (name, value) in &fields {
        if name == "content-type" || name.starts_with("x-amz-meta-") {
            object = object.header(name, value);
        }
    }
    let stored = store.write(&seen.bucket, key, object);
    let etag = stored.etag_value().unwrap_or_default().to_owned();
    if let Some(redirect) = field("success_action_redirect") {
        let location = format!("{redirect}?bucket={}&key={key}", seen.bucket);
        return Reply::empty(303).with("Content-Length", "0").with("Location", &location);
    }
    match field("success_action_status") {
        Some("200") => Reply::empty(200).with("Content-Length", "0").with("ETag", &etag),
        Some("201") => {
            let key = xml_escape(key);
            xml(
                201,
                &format!(
                    "<PostResponse><Bucket>{}</Bucket><Key>{key}</Key></PostResponse>",
                    seen.bucket
                ),
            )
        }
        _ => Reply::empty(204).with("ETag", &etag),
    }
}

type Fields = Vec<(String, String)>;

/// Splits the body at the boundary by RFC 2046 into the fields before the file (names in lower case), and the file;
/// `None` if it is malformed.
fn read(seen: &Seen) -> Option<(Fields, Bytes)> {
    let (_, boundary) = seen.header("content-type").split_once("boundary=")?;
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let body = [b"\r\n", &*seen.body].concat();
    let find = |what: &[u8], from: usize| {
        body[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
    };
    let mut at = find(&delimiter, 0).filter(|at| *at == 0)? + delimiter.len();
    let mut fields = Fields::new();
    loop {
        let head = find(b"\r\n\r\n", at)?;
        let (content, end) = (head + 4, find(&delimiter, head + 4)?);
        let lines = std::str::from_utf8(&body[at..head]).ok()?;
        let (_, name) = lines.split_once("name=\"")?;
        let name = name.split('"').next()?.to_ascii_lowercase();
        at = end + delimiter.len();
        if name == "file" {
            let is_last = body[at..].starts_with(b"--");
            return is_last.then(|| (fields, Bytes::copy_from_slice(&body[content..end])));
        }
        fields.push((name, String::from_utf8(body[content..end].to_vec()).ok()?));
    }
}

/// Checks that a form with a policy is signed by the proxy, and complies with the policy.
fn judge(seen: &Seen, fields: &Fields, size: usize) -> Result<(), String> {
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| &**value);
    let Some(policy) = field("policy") else { return Ok(()) };
    let keys = test_credentials();
    let date = field("x-amz-date").unwrap_or_default();
    let scope = format!("{}/us-east-1/s3/aws4_request", date.get(..8).unwrap_or_default());
    if field("x-amz-credential") != Some(&format!("{}/{scope}", keys.access_key())) {
        return Err(format!("a strange credential: {:?}", field("x-amz-credential")));
    }
    let signature = signature_of(keys.secret_key().expose(), date, "us-east-1", policy);
    if field("x-amz-signature") != Some(&signature) {
        return Err("the signature does not match".to_owned());
    }
    let json = STANDARD.decode(policy).map_err(|error| error.to_string())?;
    let json: Value = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    let conditions = json["conditions"].as_array().ok_or("no conditions")?;
    let mut named = vec!["policy".to_owned(), "x-amz-signature".to_owned()];
    for condition in conditions {
        let (operator, name, value) = match (condition.as_object(), condition.as_array()) {
            (Some(simple), _) => {
                let (name, value) = simple.iter().next().ok_or("an empty condition")?;
                ("eq", name.to_ascii_lowercase(), value.as_str().ok_or("no text")?)
            }
            (_, Some(list)) if list[0] == "content-length-range" => {
                let size = size as u64;
                if list[1].as_u64() > Some(size) || list[2].as_u64() < Some(size) {
                    return Err("the size is out of range".to_owned());
                }
                continue;
            }
            (_, Some(list)) => {
                let text = |at: usize| list[at].as_str().ok_or("no text");
                (text(0)?, text(1)?[1..].to_ascii_lowercase(), text(2)?)
            }
            _ => return Err("no condition".to_owned()),
        };
        let actual = if name == "bucket" { Some(&*seen.bucket) } else { field(&name) };
        let holds = actual.is_some_and(|actual| match operator {
            "eq" => actual == value,
            _ => actual.starts_with(value),
        });
        if !holds {
            return Err(format!("{condition} does not hold for {actual:?}"));
        }
        named.push(name);
    }
    match fields.iter().find(|(name, _)| !named.contains(name)) {
        Some((name, _)) => Err(format!("no condition for {name}")),
        None => Ok(()),
    }
}
