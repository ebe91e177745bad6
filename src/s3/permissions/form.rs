//! Permissions that a browser form upload requires: writing its key, and those added by its fields (R21).
//!
//! Its fields correspond to the headers of a `PutObject`, and are judged like those.

use super::table::{Wider, wider};
use super::{Action, RequiredPermissions, Resource, sources};
use crate::s3::effect::spreads;
use crate::s3::name::{BucketName, ObjectKey};

impl RequiredPermissions {
    /// Returns all permissions of a form for `key`; `fields` are names in lower case and values.
    #[must_use]
    pub fn of_form<'a>(
        bucket: &BucketName,
        key: &ObjectKey,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut needs = Self::one(Action::Write, Resource::object(bucket, key));
        let mut has_spread = false;
        let widest = fields.into_iter().inspect(|(name, _)| has_spread |= spreads(name));
        let widest = widest.map(|(name, value)| match name {
            "acl" => wider("x-amz-acl", value.as_bytes()),
            // No form copies or renames.
            name if sources::NAMES.contains(&name) => Some(Wider::Unknown),
            name => wider(name, value.as_bytes()),
        });
        let widest = widest.max().flatten();
        if has_spread {
            needs = needs.and(Action::Write, Resource::bucket(bucket));
        }
        let needs = match widest {
            None => needs,
            Some(Wider::Object) => needs.and(Action::Admin, Resource::object(bucket, key)),
            Some(Wider::Unknown) => needs.and(Action::Admin, Resource::bucket(bucket)),
        };
        needs.in_every_spelling()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(fields: &[(&str, &str)]) -> String {
        let (bucket, key) = (BucketName::new("bkt").unwrap(), ObjectKey::new("a/k").unwrap());
        let needs = RequiredPermissions::of_form(&bucket, &key, fields.iter().copied());
        let pairs = needs.iter().map(|need| format!("{} {}", need.action.as_str(), need.resource));
        pairs.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn r21_a_form_needs_a_write_of_its_key() {
        let plain = [
            ("key", "a/k"),
            ("acl", "private"),
            ("content-type", "text/plain"),
            ("success_action_redirect", "https://a/"),
            ("tagging", "<Tagging/>"),
            ("policy", "x"),
            ("x-amz-algorithm", "x"),
            ("x-amz-signature", "x"),
            ("x-amz-meta-a", "b"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-checksum-sha256", "x"),
            ("other", "x"),
        ];
        assert_eq!(needs(&plain), "write bkt/a/k");
        assert_eq!(needs(&[]), "write bkt/a/k");
    }

    #[test]
    fn r21_a_field_that_opens_the_object_or_is_not_known_needs_admin_too() {
        for (name, value) in [
            ("acl", "public-read"),
            ("acl", "PRIVATE"),
            ("x-amz-acl", "public-read"),
            ("x-amz-grant-read", "id=1"),
        ] {
            assert_eq!(needs(&[(name, value)]), "write bkt/a/k, admin bkt/a/k", "{name}: {value}");
        }
        let unpacked = needs(&[("x-minio-fanout-list", "x")]);
        assert_eq!(unpacked, "write bkt/a/k, write bkt/**, admin bkt/**");
        for name in ["x-amz-new", "x-goog-acl", "x-amz-copy-source", "x-amz-rename-source"] {
            assert_eq!(needs(&[(name, "s/k")]), "write bkt/a/k, admin bkt/**", "{name}");
        }
    }
}
