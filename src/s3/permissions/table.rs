//! Permissions by operation: the authoritative list of methods and subresources (R21).
//!
//! Source: AWS Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3": its
//! access levels Read, Write and Tagging, List and Permissions management are our read, write, list and admin;
//! `DeleteObject` alone is delete. By allow-list: a request that fits no row, because of its method, a
//! subresource, one more query name or a name given twice, needs admin on all of its bucket.
//!
//! Departures: the parts of an upload under way belong to its writer (write, not read); a list's `prefix` decides which
//! keys it lists; `HeadBucket` and `GetBucketLocation` reveal only that a bucket exists, which anyone who may list in
//! it knows. A POST form names its requirements in its body: see [`RequiredPermissions::of_form`]. A CORS preflight
//! reads the bucket's policy, and S3 allows it to everybody.

use http::{HeaderMap, Method};

use super::{Action, RequiredPermissions, Resource, sources};
use crate::s3::effect::head_spreads;
use crate::s3::operation::{Operation, Parsed};
use crate::s3::overrides::is_override;
use crate::s3::read::VENDOR_PREFIXES;
use crate::s3::request_head::RequestHead;
use crate::s3::spelling;
use crate::s3::target::Query;

/// Level of a request target: service, bucket or object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Service,
    Bucket,
    Object,
}

/// Resource on which a row's permission is required.
#[derive(Clone, Copy)]
enum Of {
    /// The key.
    Key(Action),
    /// The keys that begin with `prefix`.
    ListedKeys,
    /// The bucket's name.
    BucketName,
    /// Deletion of the keys in the body: of the whole bucket, as long as they are not known.
    DeletedKeys,
    /// Everything.
    Buckets,
}

struct Row {
    method: Method,
    on: On,
    /// The query parameter that selects the operation; empty: none.
    subresource: &'static str,
    /// Further allowed query parameters, except `x-id` and those of a signature.
    names: &'static [&'static str],
    of: Of,
}

const READ: Of = Of::Key(Action::Read);
const WRITE: Of = Of::Key(Action::Write);
const DELETE: Of = Of::Key(Action::Delete);
const ADMIN: Of = Of::Key(Action::Admin);
const VERSION: &[&str] = &["versionId"];
const KEYS: &[&str] = &[
    "list-type",
    "prefix",
    "delimiter",
    "max-keys",
    "marker",
    "continuation-token",
    "start-after",
    "fetch-owner",
    "encoding-type",
];
const VERSIONS: &[&str] =
    &["prefix", "delimiter", "key-marker", "version-id-marker", "max-keys", "encoding-type"];
const UPLOADS: &[&str] =
    &["prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"];
const BUCKETS: &[&str] = &["prefix", "max-buckets", "continuation-token", "bucket-region"];

#[rustfmt::skip] // A table: one line an operation.
static ROWS: [Row; 30] = [
    row(Method::GET, On::Service, "", BUCKETS, Of::Buckets),
    row(Method::GET, On::Bucket, "", KEYS, Of::ListedKeys),
    row(Method::GET, On::Bucket, "versions", VERSIONS, Of::ListedKeys),
    row(Method::GET, On::Bucket, "uploads", UPLOADS, Of::ListedKeys),
    row(Method::GET, On::Bucket, "location", &[], Of::BucketName),
    row(Method::HEAD, On::Bucket, "", &[], Of::BucketName),
    row(Method::POST, On::Bucket, "delete", &[], Of::DeletedKeys),
    row(Method::GET, On::Object, "", &["versionId", "partNumber"], READ),
    row(Method::HEAD, On::Object, "", &["versionId", "partNumber"], READ),
    row(Method::GET, On::Object, "attributes", VERSION, READ),
    row(Method::GET, On::Object, "tagging", VERSION, READ),
    row(Method::GET, On::Object, "acl", VERSION, READ),
    row(Method::GET, On::Object, "retention", VERSION, READ),
    row(Method::GET, On::Object, "legal-hold", VERSION, READ),
    row(Method::GET, On::Object, "torrent", &[], READ),
    row(Method::GET, On::Object, "uploadId", &["max-parts", "part-number-marker", "encoding-type"], WRITE),
    row(Method::PUT, On::Object, "", &[], WRITE),
    row(Method::PUT, On::Object, "uploadId", &["partNumber"], WRITE),
    row(Method::PUT, On::Object, "tagging", VERSION, WRITE),
    row(Method::PUT, On::Object, "retention", VERSION, WRITE),
    row(Method::PUT, On::Object, "legal-hold", VERSION, WRITE),
    row(Method::PUT, On::Object, "acl", VERSION, ADMIN),
    row(Method::PUT, On::Object, "renameObject", &[], WRITE),
    row(Method::POST, On::Object, "uploads", &[], WRITE),
    row(Method::POST, On::Object, "uploadId", &[], WRITE),
    row(Method::POST, On::Object, "restore", VERSION, WRITE),
    row(Method::POST, On::Object, "select", &["select-type"], READ),
    row(Method::DELETE, On::Object, "", VERSION, DELETE),
    row(Method::DELETE, On::Object, "uploadId", &[], WRITE),
    row(Method::DELETE, On::Object, "tagging", VERSION, WRITE),
];

const fn row(
    method: Method,
    on: On,
    subresource: &'static str,
    names: &'static [&'static str],
    of: Of,
) -> Row {
    Row { method, on, subresource, names, of }
}

/// `x-amz-*` names, of headers or query parameters, that require no further permission.
const PLAIN: [&str; 38] = [
    "x-amz-copy-source-range",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
    "x-amz-te",
    "x-amz-user-agent",
    "x-amz-api-version",
    "x-amz-cf-id",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-expected-bucket-owner",
    "x-amz-source-expected-bucket-owner",
    "x-amz-request-payer",
    "x-amz-optional-object-attributes",
    "x-amz-object-attributes",
    "x-amz-max-parts",
    "x-amz-part-number-marker",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-tagging-directive",
    "x-amz-metadata-directive",
    "x-amz-website-redirect-location",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
    "x-amz-mp-object-size",
    "x-amz-write-offset-bytes",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
    "x-amz-if-match-initiated-time",
    "x-amz-client-token",
    "x-amz-mfa",
];
const PLAIN_PREFIXES: [&str; 6] = [
    "x-amz-meta-",
    "x-amz-checksum-",
    "x-amz-server-side-encryption",
    "x-amz-copy-source-if-",
    "x-amz-copy-source-server-side-encryption-customer-",
    "x-amz-rename-source-if-",
];
/// Canned ACLs that grant nothing beyond the bucket's owner.
const PRIVATE_ACLS: [&str; 3] = ["private", "bucket-owner-read", "bucket-owner-full-control"];

impl RequiredPermissions {
    /// Returns all permissions of a request except for those in its body: see [`RequiredPermissions::listed_in_body`].
    #[must_use]
    pub fn of(head: &RequestHead<'_>, parsed: &Parsed) -> Self {
        if let (Operation::Read(_), Some((bucket, key))) = (&parsed.operation, parsed.object()) {
            // Every name in it is known to leave it a read (R16).
            return Self::one(Action::Read, Resource::object(bucket, key)).in_every_spelling();
        }
        if head.is_unsigned_options() {
            return Self::nothing();
        }
        let row = ROWS.iter().find(|row| row.fits(head.method, parsed));
        let needs = match row.filter(|_| !parsed.query.has_repeated_name()) {
            Some(row) => row.needs(parsed),
            None => unknown(parsed),
        };
        let needs = sources::add_to(needs, head, parsed);
        let needs = match &parsed.bucket {
            Some(bucket) if head_spreads(head, &parsed.query) => {
                needs.and(Action::Write, Resource::bucket(bucket))
            }
            _ => needs,
        };
        let needs = match widens(head.headers, &parsed.query) {
            None => needs,
            Some(Wider::Object) => needs.and(Action::Admin, named(parsed)),
            Some(Wider::Unknown) => needs.and(Action::Admin, all_of(parsed)),
        };
        needs.in_every_spelling()
    }
}

impl Row {
    fn needs(&self, parsed: &Parsed) -> RequiredPermissions {
        match (self.of, &parsed.bucket, &parsed.key) {
            (Of::Key(action), Some(bucket), Some(key)) => {
                RequiredPermissions::one(action, Resource::object(bucket, key))
            }
            (Of::ListedKeys, Some(bucket), _) => {
                let prefix = parsed.query.get("prefix").unwrap_or_default().to_owned();
                RequiredPermissions::one(Action::List, Resource::Prefix(bucket.clone(), prefix))
            }
            (Of::BucketName, Some(bucket), _) => {
                RequiredPermissions::one(Action::List, Resource::BucketName(bucket.clone()))
            }
            (Of::DeletedKeys, Some(bucket), _) => {
                RequiredPermissions::one(Action::Delete, Resource::bucket(bucket))
            }
            (Of::Buckets, None, _) => RequiredPermissions::one(Action::List, Resource::Everything),
            _ => unknown(parsed),
        }
    }

    fn fits(&self, method: &Method, parsed: &Parsed) -> bool {
        let on = match (&parsed.bucket, &parsed.key) {
            (Some(_), Some(_)) => On::Object,
            (Some(_), None) => On::Bucket,
            (None, _) => On::Service,
        };
        self.method == *method
            && self.on == on
            && (self.subresource.is_empty() || parsed.query.contains(self.subresource))
            && parsed.query.iter().all(|(name, _)| self.knows(name))
    }

    fn knows(&self, name: &str) -> bool {
        name == self.subresource && !name.is_empty()
            || self.names.contains(&name)
            || name == "x-id"
            || is_amz(name)
            || (is_override(name) && self.method == Method::GET && self.on == On::Object)
    }
}

/// Whether a query parameter is a hoisted `x-amz-*` header, to be judged by [`widens`].
fn is_amz(name: &str) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

/// Returns admin on all of the bucket. Its key or prefixes are included where they may lead to further objects, as in
/// any request.
fn unknown(parsed: &Parsed) -> RequiredPermissions {
    let needs = RequiredPermissions::one(Action::Admin, all_of(parsed));
    let Some(bucket) = &parsed.bucket else { return needs };
    let needs = match &parsed.key {
        Some(key)
            if spelling::is_ambiguous(key.as_str()) || spelling::has_dot_segments(key.as_str()) =>
        {
            needs.and(Action::Admin, Resource::object(bucket, key))
        }
        _ => needs,
    };
    let named = parsed.query.iter().filter(|(name, _)| name.eq_ignore_ascii_case("prefix"));
    let prefixes =
        named.filter_map(|(_, value)| value).filter(|prefix| spelling::has_dot_segments(prefix));
    prefixes.take(1).fold(needs, |needs, prefix| {
        needs.and(Action::Admin, Resource::Prefix(bucket.clone(), prefix.to_owned()))
    })
}

/// Returns all of the bucket, or everything if no bucket is named.
fn all_of(parsed: &Parsed) -> Resource {
    parsed.bucket.as_ref().map_or(Resource::Everything, Resource::bucket)
}

fn named(parsed: &Parsed) -> Resource {
    match parsed.object() {
        Some((bucket, key)) => Resource::object(bucket, key),
        None => all_of(parsed),
    }
}

/// Additional permission that a header requires.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wider {
    /// The header grants others access to the object, or removes a protection of it.
    Object,
    /// The header is unknown.
    Unknown,
}

/// Returns the widest requirement of all headers, including those that a presigner hoisted into the query.
fn widens(headers: &HeaderMap, query: &Query) -> Option<Wider> {
    let in_headers = headers.iter().map(|(name, value)| wider(name.as_str(), value.as_bytes()));
    let hoisted = query.iter().filter(|(name, _)| is_amz(name)).map(|(name, value)| {
        wider(&name.to_ascii_lowercase(), value.unwrap_or_default().as_bytes())
    });
    in_headers.chain(hoisted).max().flatten()
}

/// Returns the additional permission that a header requires; `name` is in lower case.
pub(super) fn wider(name: &str, value: &[u8]) -> Option<Wider> {
    if VENDOR_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Some(Wider::Unknown);
    }
    if !name.starts_with("x-amz-")
        || PLAIN.contains(&name)
        || PLAIN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || sources::NAMES.contains(&name)
    {
        return None;
    }
    match name {
        "x-amz-acl" if PRIVATE_ACLS.iter().any(|acl| acl.as_bytes() == value) => None,
        "x-amz-acl" | "x-amz-bypass-governance-retention" => Some(Wider::Object),
        _ if name.starts_with("x-amz-grant-") => Some(Wider::Object),
        _ => Some(Wider::Unknown),
    }
}

#[cfg(test)]
mod tests;
