//! Permissions that a request requires, as pairs of action and resource (R21).
//!
//! A request is allowed if every pair is allowed, so a pair too many refuses and a pair too few lets through.
//! Identities and their policies are handled elsewhere.

mod form;
mod sources;
mod table;

use std::fmt;

use super::name::{BucketName, ObjectKey};
use super::spelling::{self, Alias};

/// Action of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Bytes, headers and tags of an object.
    Read,
    /// Making or changing an object: uploads in all their parts, copies, tags.
    Write,
    /// Names: of buckets, keys, versions, uploads.
    List,
    /// Deleting an object or one of its versions.
    Delete,
    /// Configuration, permissions, and unknown operations.
    Admin,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::List, Self::Delete, Self::Admin];

    /// Returns the action's name in a policy and in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Admin => "admin",
        }
    }
}

/// Resource of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// Everything, whatever the bucket.
    Everything,
    /// Existence and location of a bucket: any permission in the bucket implies this one.
    BucketName(BucketName),
    /// Every key of a bucket with this prefix; with an empty one the whole bucket.
    Prefix(BucketName, String),
    /// One key.
    Object(BucketName, ObjectKey),
}

impl Resource {
    /// Returns the whole of a bucket, including its configuration.
    #[must_use]
    pub fn bucket(bucket: &BucketName) -> Self {
        Self::Prefix(bucket.clone(), String::new())
    }

    /// Returns one key.
    #[must_use]
    pub fn object(bucket: &BucketName, key: &ObjectKey) -> Self {
        Self::Object(bucket.clone(), key.clone())
    }
}

/// Writes the resource as a policy would name it.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("**"),
            Self::BucketName(bucket) => write!(f, "{bucket}"),
            Self::Prefix(bucket, prefix) => write!(f, "{bucket}/{prefix}**"),
            Self::Object(bucket, key) => write!(f, "{bucket}/{key}"),
        }
    }
}

/// An action and its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredPermission {
    /// The action.
    pub action: Action,
    /// The resource of the action.
    pub resource: Resource,
}

/// All permissions that one request requires. Most require one, which costs no allocation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequiredPermissions {
    first: Option<RequiredPermission>,
    more: Vec<RequiredPermission>,
}

impl RequiredPermissions {
    /// Returns the empty set, for requests that anyone may make.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Returns a single permission.
    #[must_use]
    pub fn one(action: Action, resource: Resource) -> Self {
        Self { first: Some(RequiredPermission { action, resource }), more: Vec::new() }
    }

    /// Adds a permission.
    #[must_use]
    pub fn and(mut self, action: Action, resource: Resource) -> Self {
        let need = RequiredPermission { action, resource };
        match self.first {
            None => self.first = Some(need),
            Some(_) => self.more.push(need),
        }
        self
    }

    /// Returns the bucket of a `DeleteObjects`, if it does nothing else. It then requires
    /// [`RequiredPermissions::deleting`] of the keys in its body, unless all of the bucket is allowed anyway.
    #[must_use]
    pub fn listed_in_body(&self) -> Option<&BucketName> {
        match (&self.first, &*self.more) {
            (
                Some(RequiredPermission {
                    action: Action::Delete,
                    resource: Resource::Prefix(bucket, _),
                }),
                [],
            ) => Some(bucket),
            _ => None,
        }
    }

    /// Returns the permissions for `DeleteObjects` of these keys.
    #[must_use]
    pub fn deleting(bucket: &BucketName, keys: &[ObjectKey]) -> Self {
        let needs = keys.iter().fold(Self::nothing(), |needs, key| {
            needs.and(Action::Delete, Resource::object(bucket, key))
        });
        needs.in_every_spelling()
    }

    /// Adds the other readings of ambiguous keys (see [`spelling`]): all objects that a server may take one for, and
    /// every permission where one may lead out of its bucket.
    fn in_every_spelling(self) -> Self {
        let is_doubtful = |need: &RequiredPermission| match &need.resource {
            Resource::Object(_, key) => {
                spelling::is_ambiguous(key.as_str()) || spelling::has_dot_segments(key.as_str())
            }
            Resource::Prefix(_, prefix) => spelling::has_dot_segments(prefix),
            Resource::Everything | Resource::BucketName(_) => false,
        };
        if !self.iter().any(is_doubtful) {
            return self;
        }
        let doubtful: Vec<RequiredPermission> =
            self.iter().filter(|need| is_doubtful(need)).cloned().collect();
        doubtful.iter().fold(self, |needs, RequiredPermission { action, resource }| {
            let (needs, has_dot_segments) = match resource {
                Resource::Object(bucket, key) => {
                    let aliases = spelling::aliases(bucket, key);
                    let needs =
                        aliases.iter().fold(needs, |needs, alias| needs.and_alias(*action, alias));
                    (needs, spelling::has_dot_segments(key.as_str()))
                }
                _ => (needs, true),
            };
            match has_dot_segments {
                true => needs.and_everything(),
                false => needs,
            }
        })
    }

    fn and_alias(self, action: Action, alias: &Alias) -> Self {
        match (action, alias) {
            (_, Alias::Object(bucket, key)) => self.and(action, Resource::object(bucket, key)),
            (Action::Read, Alias::Bucket(bucket)) => {
                self.and(Action::List, Resource::bucket(bucket))
            }
            (_, Alias::Bucket(bucket)) => self.and(Action::Admin, Resource::bucket(bucket)),
        }
    }

    /// Returns every action on everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::nothing().and_everything()
    }

    fn and_everything(self) -> Self {
        Action::ALL.iter().fold(self, |needs, action| needs.and(*action, Resource::Everything))
    }

    /// Iterates over the permissions.
    pub fn iter(&self) -> impl Iterator<Item = &RequiredPermission> {
        self.first.iter().chain(&self.more)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r21_every_key_of_a_delete_of_many_is_a_pair() {
        let bucket = BucketName::new("bkt").unwrap();
        let keys = ["a", "b/c", "a"].map(|key| ObjectKey::new(key).unwrap());
        let needs = RequiredPermissions::deleting(&bucket, &keys);
        assert!(needs.iter().all(|need| need.action == Action::Delete));
        let named: Vec<String> = needs.iter().map(|need| need.resource.to_string()).collect();
        assert_eq!(named, ["bkt/a", "bkt/b/c", "bkt/a"]);
        assert!(RequiredPermissions::nothing().is_empty() && !needs.is_empty());
    }
}
