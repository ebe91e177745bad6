//! Sources that a copy or a rename reads: `x-amz-copy-source` and `x-amz-rename-source` (R21).
//!
//! Servers decode these differently: once or (hoisted into a query) twice, with `+` as a space or not, the version
//! inside or behind the escapes. Invariant: every object that a server could take the text for is required, and a text
//! that cannot be decoded requires admin on everything.

use std::borrow::Cow;

use http::HeaderValue;

use super::{Action, RequiredPermissions, Resource};
use crate::s3::effect::rename_sources;
use crate::s3::name::{BucketName, ObjectKey};
use crate::s3::operation::Parsed;
use crate::s3::request_head::RequestHead;
use crate::s3::target::decode;

pub(super) const COPY: &str = "x-amz-copy-source";
pub(super) const RENAME: &str = "x-amz-rename-source";
/// Headers judged by this module.
pub(super) const NAMES: [&str; 2] = [COPY, RENAME];

const VERSION: &str = "?versionId=";

/// Adds the permissions of every source to `needs`.
pub(super) fn add_to(
    needs: RequiredPermissions,
    head: &RequestHead<'_>,
    parsed: &Parsed,
) -> RequiredPermissions {
    let needs = values(COPY, head, parsed).fold(needs, |needs, source| {
        let objects = match source {
            Source::Header(raw) => copied(raw).unwrap_or_default(),
            Source::Hoisted(raw) => hoisted(raw),
        };
        with_all(needs, &[Action::Read], &objects)
    });
    values(RENAME, head, parsed).fold(needs, |needs, source| {
        let (Source::Header(raw) | Source::Hoisted(raw)) = source;
        let keys = parsed.bucket.as_ref().and_then(|bucket| rename_sources(raw, bucket));
        let bucket = parsed.bucket.iter().cycle().cloned();
        let objects: Vec<_> = bucket.zip(keys.into_iter().flatten()).collect();
        with_all(needs, &[Action::Read, Action::Delete], &objects)
    })
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Header(&'a [u8]),
    /// A source hoisted into the query by a presigner, where it was decoded once.
    Hoisted(&'a [u8]),
}

fn values<'a>(
    name: &'static str,
    head: &RequestHead<'a>,
    parsed: &'a Parsed,
) -> impl Iterator<Item = Source<'a>> + use<'a> {
    let in_headers = head.headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let in_query = parsed
        .query
        .iter()
        .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.unwrap_or_default().as_bytes());
    in_headers.map(Source::Header).chain(in_query.map(Source::Hoisted))
}

fn with_all(
    needs: RequiredPermissions,
    actions: &[Action],
    objects: &[(BucketName, ObjectKey)],
) -> RequiredPermissions {
    if objects.is_empty() {
        return needs.and(Action::Admin, Resource::Everything);
    }
    objects.iter().fold(needs, |needs, (bucket, key)| {
        actions
            .iter()
            .fold(needs, |needs, action| needs.and(*action, Resource::object(bucket, key)))
    })
}

/// Returns the sources named by a hoisted value, which some servers decode once more.
fn hoisted(raw: &[u8]) -> Vec<(BucketName, ObjectKey)> {
    let once = std::str::from_utf8(raw).ok().and_then(|text| named(without_version(text)));
    let mut objects = copied(raw).unwrap_or_default();
    objects.extend(once.filter(|object| !objects.contains(object)));
    objects
}

/// Returns all objects that the text may name: `bucket/key` with or without a leading slash, encoded, and with or
/// without a version.
fn copied(raw: &[u8]) -> Option<Vec<(BucketName, ObjectKey)>> {
    let text = std::str::from_utf8(raw).ok()?;
    let path = without_version(text);
    if path.contains('?') || text[path.len()..].contains(['&', '#']) {
        return None;
    }
    let spaced = path.replace('+', " ");
    let decoded = [decode(path.as_bytes()).ok()?, decode(spaced.as_bytes()).ok()?];
    let readings = decoded.iter().flat_map(|text: &Cow<'_, str>| [&**text, without_version(text)]);
    let mut objects = Vec::new();
    for reading in readings {
        let object = named(reading)?;
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
    Some(objects)
}

fn without_version(text: &str) -> &str {
    text.split_once(VERSION).map_or(text, |(path, _)| path)
}

fn named(path: &str) -> Option<(BucketName, ObjectKey)> {
    let (bucket, key) = path.strip_prefix('/').unwrap_or(path).split_once('/')?;
    Some((BucketName::new(bucket).ok()?, ObjectKey::new(key).ok()?))
}
