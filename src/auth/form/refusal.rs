//! S3 errors for refused forms.
//!
//! Source: S3 API Reference, "Error responses". Where S3 was observed to answer with another code than that list
//! (`InvalidArgument` for `UserKeyMustBeSpecified` and `IncorrectNumberOfFilesInPostRequest`, `AccessDenied` for a
//! failed condition), the observed one is used.

use std::fmt::Display;

use http::StatusCode;

use crate::s3::S3Error;

/// Maximum bytes before those of the file: "the form data and boundaries (excluding the contents of the file) cannot
/// exceed 20KB".
pub const MAX_HEAD: usize = 20 * 1024;

fn bad(code: &'static str, message: &'static str) -> S3Error {
    S3Error::new(StatusCode::BAD_REQUEST, code, message)
}

pub(super) fn malformed() -> S3Error {
    let message = "The body of your POST request is not well-formed multipart/form-data.";
    bad("MalformedPOSTRequest", message)
}

pub(super) fn head_too_long() -> S3Error {
    let message = "Your POST request fields preceding the upload file were too large.";
    bad("MaxPostPreDataLengthExceeded", message)
        .with_detail("MaxPostPreDataLengthBytes", MAX_HEAD.to_string())
}

pub(super) fn no_file() -> S3Error {
    S3Error::invalid_argument("file", "POST requires exactly one file upload per request.")
        .with_detail("ArgumentValue", "0")
}

/// Returns the error for a required field that is missing, or comes only after the file.
pub(in crate::auth) fn must_contain(name: &str) -> S3Error {
    let message = format!(
        "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the \
         fields."
    );
    S3Error::invalid_argument(name, message).with_detail("ArgumentValue", "")
}

pub(super) fn empty_key() -> S3Error {
    S3Error::invalid_argument("key", "User key must have a length greater than 0.")
        .with_detail("ArgumentValue", "")
}

pub(super) fn field_twice(name: &str, value: &str) -> S3Error {
    S3Error::invalid_argument(name, "POST requires exactly one value per field.")
        .with_detail("ArgumentValue", value)
}

/// Returns the error for `${filename}` in a field without a file name to replace it.
pub(super) fn no_filename(name: &str, value: &str) -> S3Error {
    let message = "${filename} cannot be replaced by the name of the file.";
    S3Error::invalid_argument(name, message).with_detail("ArgumentValue", value)
}

/// Returns the error for an invalid policy.
pub(super) fn invalid_policy(problem: impl Display) -> S3Error {
    let message = format!("Invalid Policy: {problem}");
    S3Error::new(StatusCode::BAD_REQUEST, "InvalidPolicyDocument", message)
}

/// Returns the error for a form that the policy does not allow.
pub(super) fn against_policy(problem: impl Display) -> S3Error {
    let message = format!("Invalid according to Policy: {problem}");
    S3Error::new(StatusCode::FORBIDDEN, "AccessDenied", message)
}

/// Returns the error for unsigned headers of a kind that S3 acts upon.
pub(super) fn unsigned_headers(names: &str) -> S3Error {
    let message = "There were headers present in the request which were not signed";
    S3Error::new(StatusCode::FORBIDDEN, "AccessDenied", message)
        .with_detail("HeadersNotSigned", names)
}

pub(super) fn too_large(max: u64) -> S3Error {
    bad("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
        .with_detail("MaxSizeAllowed", max.to_string())
}

pub(super) fn too_small(min: u64) -> S3Error {
    bad("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        .with_detail("MinSizeAllowed", min.to_string())
}
