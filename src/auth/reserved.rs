//! Names that S3 servers reserve for interfaces of their own, such as the administration API of MinIO under
//! `/minio/admin`.
//!
//! A request with one as its bucket would be signed with hotset's keys, and the server would take it for a request to
//! that interface. So it requires `admin`: [`ReservedNames::escalate`].

use crate::s3::{Action, BucketName, ObjectKey, RequiredPermissions, Resource, spelling};

/// Default reserved names: those of MinIO, Ceph, Moto and others. AWS reserves none.
pub const DEFAULT: [&str; 8] =
    ["admin", "auth", "minio", "moto-api", "rustfs", "swift", "_*", ".*"];
/// Those that servers recognise in the first segment of a path on any host.
const ON_EVERY_HOST: [&str; 2] = ["minio", "rustfs"];

/// The key `auth.reserved`, for one origin.
#[derive(Debug)]
pub struct ReservedNames {
    /// Names, or prefixes with `*` at the end.
    patterns: Vec<String>,
    /// Whether the origin finds the bucket in the host name.
    virtual_hosted: bool,
}

impl ReservedNames {
    /// Creates the set. `patterns`: as configured, `None` for the [default](DEFAULT), which is empty if `is_aws`.
    #[must_use]
    pub fn new(patterns: Option<&[String]>, is_aws: bool, virtual_hosted: bool) -> Self {
        let default = || match is_aws {
            true => Vec::new(),
            false => DEFAULT.map(str::to_owned).to_vec(),
        };
        Self { patterns: patterns.map_or_else(default, <[String]>::to_vec), virtual_hosted }
    }

    /// Whether the origin is known to have no interface of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether the origin may take the bucket for an interface of its own.
    #[must_use]
    pub fn has_bucket(&self, bucket: &BucketName) -> bool {
        self.matches(bucket.as_str())
    }

    /// Whether the origin may take the first segment of the key for an interface.
    #[must_use]
    pub fn has_key(&self, key: &ObjectKey) -> bool {
        let first = key.as_str().trim_start_matches('/').split('/').next().unwrap_or_default();
        self.virtual_hosted
            && ON_EVERY_HOST.iter().any(|name| name.eq_ignore_ascii_case(first))
            && self.matches(first)
    }

    /// Whether the key may lead out of its bucket to a reserved name, in any encoding.
    #[must_use]
    pub fn may_be_reached(&self, key: &ObjectKey) -> bool {
        spelling::has_dot_segments(key.as_str())
            && spelling::any_segment(key.as_str(), |name| self.matches(name))
    }

    /// Requires `admin` on each reserved bucket, or bucket with a reserved key.
    #[must_use]
    pub fn escalate(&self, needs: RequiredPermissions) -> RequiredPermissions {
        let reserved = needs.iter().filter_map(|need| match &need.resource {
            Resource::Everything => None,
            Resource::BucketName(bucket) | Resource::Prefix(bucket, _) => {
                self.has_bucket(bucket).then(|| bucket.clone())
            }
            Resource::Object(bucket, key) => {
                (self.has_bucket(bucket) || self.has_key(key)).then(|| bucket.clone())
            }
        });
        let reserved: Vec<BucketName> = reserved.collect();
        reserved
            .iter()
            .fold(needs, |needs, bucket| needs.and(Action::Admin, Resource::bucket(bucket)))
    }

    fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => {
                name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
            }
            None => pattern.eq_ignore_ascii_case(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patterns: Option<&[&str]>, is_aws: bool, virtual_hosted: bool) -> ReservedNames {
        let patterns = patterns.map(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>());
        ReservedNames::new(patterns.as_deref(), is_aws, virtual_hosted)
    }

    fn has(reserved: &ReservedNames, bucket: &str, key: &str) -> (bool, bool) {
        let (bucket, key) = (BucketName::new(bucket).unwrap(), ObjectKey::new(key).unwrap());
        (reserved.has_bucket(&bucket), reserved.has_key(&key))
    }

    #[test]
    fn r21_names_of_servers_are_reserved_in_any_case() {
        let reserved = names(None, false, false);
        for bucket in ["minio", "MinIO", "admin", "_cluster", ".minio.sys", "moto-api", "swift"] {
            assert_eq!(has(&reserved, bucket, "minio/k"), (true, false), "{bucket}");
        }
        for bucket in ["minio2", "my-admin", "data", "a_b", "a.b", "authors"] {
            assert!(!has(&reserved, bucket, "k").0, "{bucket}");
        }
    }

    #[test]
    fn r21_with_buckets_in_the_host_the_key_may_name_what_is_reserved() {
        let reserved = names(None, false, true);
        for key in ["minio/admin/v3/info", "MINIO", "rustfs/admin", "/minio/admin"] {
            assert_eq!(has(&reserved, "data", key), (false, true), "{key}");
        }
        for key in ["admin/k", "_k", ".k", "a/minio", "minio.txt"] {
            assert_eq!(has(&reserved, "data", key), (false, false), "{key}");
        }
    }

    #[test]
    fn aws_reserves_none_and_a_list_replaces_the_default() {
        assert!(!has(&names(None, true, false), "minio", "k").0);
        let listed = names(Some(&["internal-*"]), false, false);
        assert!(has(&listed, "Internal-1", "k").0 && !has(&listed, "minio", "k").0);
        assert!(!has(&names(Some(&[]), false, false), "minio", "k").0);
    }
}
