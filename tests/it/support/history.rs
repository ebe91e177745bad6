//! The history of a key: all its versions, and the check of responses against them.

use rand::Rng;

use super::client::Response;
use super::fake_s3::Object;

/// The versions of one key, oldest first; `None` is an absence.
#[derive(Debug)]
pub struct History {
    versions: Vec<Option<Object>>,
    /// Oldest version that reads through the proxy may return, if they begin now.
    floor: usize,
    /// The same for reads that demand the current version.
    strict_floor: usize,
    /// Whether the last version is being written.
    open: bool,
}

impl Default for History {
    /// Makes the history of a key that does not exist yet.
    fn default() -> History {
        History { versions: vec![None], floor: 0, strict_floor: 0, open: false }
    }
}

impl History {
    /// Records the start of a write; one at a time.
    pub fn begin(&mut self, version: Option<Object>) {
        self.versions.push(version);
        self.open = true;
    }

    /// Records the end of a write. If it was not applied, the version before is current again.
    pub fn end(&mut self, applied: bool, through_the_proxy: bool) {
        if !applied {
            let before = self.versions[self.versions.len() - 2].clone();
            self.versions.push(before);
        }
        let last = self.versions.len() - 1;
        self.strict_floor = last;
        if through_the_proxy {
            self.floor = last;
        }
        self.open = false;
    }

    /// Whether a write has begun and not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Records that hotset got an event for the version at `index`, or a later one.
    pub fn told(&mut self, index: usize) {
        self.floor = self.floor.max(index);
    }

    /// Returns an existing version and its index; half of the time the latest one.
    pub fn any(&self, random: &mut impl Rng) -> (usize, Option<&Object>) {
        let index = match random.gen_bool(0.5) {
            true => self.strict_floor,
            false => random.gen_range(0..=self.strict_floor),
        };
        (index, self.versions[index].as_ref())
    }

    /// Returns the index of the oldest version that a read beginning now may return; `strict`: it demands the current
    /// one.
    #[must_use]
    pub fn floor(&self, strict: bool) -> usize {
        if strict { self.strict_floor } else { self.floor }
    }

    /// Returns the current version, or the one being written.
    ///
    /// # Panics
    /// Never: there is always one.
    #[must_use]
    pub fn last(&self) -> Option<&Object> {
        self.versions.last().expect("it begins with one").as_ref()
    }

    /// Whether a response to a GET is right: the bytes of one version not older than `floor`, either complete or
    /// visibly truncated; or the 404 or 416 of such a version.
    #[must_use]
    pub fn allows(&self, floor: usize, answer: &Response) -> bool {
        let allowed = &self.versions[floor..];
        match answer.status.as_u16() {
            200 | 206 => {
                let etag = Some(answer.header("etag"));
                let version = allowed.iter().flatten().find(|object| object.etag_value() == etag);
                version.is_some_and(|object| is_of(object, answer))
            }
            404 => allowed.iter().any(Option::is_none),
            416 => allowed.iter().flatten().any(|object| {
                answer.header("content-range") == format!("bytes */{}", object.len())
            }),
            _ => false,
        }
    }

    /// Whether a response to a HEAD is right.
    #[must_use]
    pub fn allows_head(&self, floor: usize, answer: &Response) -> bool {
        let allowed = &self.versions[floor..];
        match answer.status.as_u16() {
            200 => allowed.iter().flatten().any(|object| {
                Some(answer.header("etag")) == object.etag_value()
                    && answer.header("content-length") == object.len().to_string()
            }),
            404 => allowed.iter().any(Option::is_none),
            _ => false,
        }
    }

    /// Returns the `ETag` of each version, for messages.
    #[must_use]
    pub fn etags(&self) -> Vec<Option<&str>> {
        self.versions.iter().map(|v| v.as_ref().and_then(Object::etag_value)).collect()
    }
}

/// Whether a response has the object's bytes for its `Content-Range`, or all of them; or fewer, visibly truncated.
pub fn is_of(object: &Object, answer: &Response) -> bool {
    let got = answer.body.len() as u64;
    let (start, end) = match answer.header("content-range") {
        "" => (0, object.len()),
        text => match bounds(text, object.len()) {
            Some(bounds) => bounds,
            None => return false,
        },
    };
    start + got <= object.len()
        && object.slice(start..start + got) == answer.body
        && (!answer.complete || start + got == end)
}

/// Returns the first byte of a `Content-Range` and the one past its last, if it is for an object of `size` bytes.
fn bounds(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, rest) = text.strip_prefix("bytes ")?.split_once('-')?;
    let (last, _) = rest.split_once('/')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (text == format!("bytes {first}-{last}/{size}")).then_some((first, last + 1))
}
