//! Objects of a warm job: those of a list, or the keys under a prefix, page by page.

use super::job::Job;
use super::order::{Order, Target};
use super::warmer::Warmer;
use crate::origin::OriginError;
use crate::s3::{BucketName, ObjectId, ObjectKey};

/// Number of keys of a list in a page.
const KEYS: usize = 1000;

/// An object to warm, with its size if a listing had it: then its bytes are counted already.
pub(super) struct Work {
    pub(super) id: ObjectId,
    pub(super) size: Option<u64>,
}

/// Finds the objects of a job, a page at a time.
pub(super) struct Lister<'a> {
    warmer: &'a Warmer,
    job: &'a Job,
    at: At,
}

enum At {
    Key(usize),
    Page(Option<String>),
    End,
}

impl<'a> Lister<'a> {
    pub(super) fn new(warmer: &'a Warmer, job: &'a Job) -> Self {
        let at = match job.order().target {
            Target::Objects(_) => At::Key(0),
            Target::Prefix(..) => At::Page(None),
        };
        Self { warmer, job, at }
    }

    /// Returns the next objects, perhaps none; `None`: there are no more, or a limit was reached.
    ///
    /// # Errors
    /// The listing failed.
    pub(super) async fn page(&mut self) -> Result<Option<Vec<Work>>, OriginError> {
        let job = self.job;
        let works = match (&job.order().target, &self.at) {
            (_, At::End) => {
                job.tally.complete();
                return Ok(None);
            }
            (Target::Objects(objects), At::Key(from)) => {
                let upto = objects.len().min(from + KEYS);
                let found = objects[*from..upto].iter();
                let found = found.map(|(bucket, key)| (bucket.clone(), key.clone(), None));
                let (works, goes_on) = self.take(found);
                self.at = if goes_on && upto < objects.len() { At::Key(upto) } else { At::End };
                works
            }
            (Target::Prefix(bucket, prefix), At::Page(token)) => {
                let page = self.warmer.origin.list(bucket, prefix, token.as_deref()).await?;
                // Otherwise a listing that repeats a token would never end.
                if page.next.is_some() && page.next == *token {
                    return Err(OriginError::Broken(
                        "the listing repeats a continuation token".to_owned(),
                    ));
                }
                let found = page.objects.into_iter();
                let found = found.map(|(key, size)| (bucket.clone(), key, Some(size)));
                let (works, goes_on) = self.take(found);
                self.at = match page.next {
                    Some(next) if goes_on => At::Page(Some(next)),
                    _ => At::End,
                };
                works
            }
            (Target::Objects(_), At::Page(_)) | (Target::Prefix(..), At::Key(_)) => Vec::new(),
        };
        Ok(Some(works))
    }

    /// Returns the objects to warm, up to the limits of the job, and whether the listing goes on.
    fn take(
        &self,
        found: impl Iterator<Item = (BucketName, ObjectKey, Option<u64>)>,
    ) -> (Vec<Work>, bool) {
        let Order { patterns, span, max_objects, .. } = self.job.order();
        let tally = &self.job.tally;
        let mut works = Vec::new();
        for (bucket, key, size) in found {
            if !patterns.admit(&bucket, &key) {
                continue;
            }
            let realm = self.warmer.origin.realm_of(Some(&bucket));
            let id = ObjectId::new(&realm, bucket.clone(), key);
            if !tally.find_object(*max_objects) {
                return (works, false);
            }
            if self.warmer.rules.policy(&id, false).is_none() {
                tally.skipped();
                continue;
            }
            let bytes =
                size.map_or(0, |size| span.bytes(size, self.warmer.cache.granularity(span.head)));
            if !tally.find_bytes(bytes, self.warmer.most(self.job)) {
                tally.lose_object();
                return (works, false);
            }
            works.push(Work { id, size });
        }
        (works, true)
    }
}
