//! Request bodies: bounded, each one JSON value of a known type.

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::answer::Refusal;
use crate::s3::{BucketName, ObjectKey, S3Url};

/// Maximum bytes of a body.
const MOST_BYTES: usize = 4 << 20;
/// Maximum keys in a body.
const MOST_KEYS: usize = 10_000;

/// Reads and parses a body.
pub(super) async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|error| {
        match error.downcast_ref::<LengthLimitError>() {
            Some(_) => {
                let why = format!("the body is larger than {MOST_BYTES} bytes");
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, why)
            }
            None => Refusal::bad("the request body is incomplete"),
        }
    })?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| Refusal::bad(error.to_string()))
}

/// Parses `s3://bucket/key` addresses.
pub(super) fn objects(keys: &[String]) -> Result<Vec<(BucketName, ObjectKey)>, Refusal> {
    if keys.is_empty() {
        return Err(Refusal::bad("keys: the list is empty"));
    }
    if keys.len() > MOST_KEYS {
        let why = format!("keys: {} are more than {MOST_KEYS}: send them in parts", keys.len());
        return Err(Refusal::bad(why));
    }
    let object = |(index, text): (usize, &String)| {
        S3Url::parse_object(text).map_err(|wrong| Refusal::bad(format!("keys[{index}]: {wrong}")))
    };
    keys.iter().enumerate().map(object).collect()
}

/// Parses `s3://bucket/prefix`.
pub(super) fn prefix(text: &str) -> Result<S3Url, Refusal> {
    S3Url::parse(text).map_err(|wrong| Refusal::bad(format!("prefix: {wrong}")))
}
