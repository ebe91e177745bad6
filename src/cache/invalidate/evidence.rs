//! Evidence from responses that pass through (R34): cached metadata that they contradict becomes stale.
//!
//! Evidence only marks entries stale: the next read revalidates by HEAD. It applies only to entries whose request was
//! sent before the one that brings the evidence. Evidence that a HEAD refuted is ignored until the object changes,
//! since some servers' listings always differ from their HEADs.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::cache::disk::Ticket;
use crate::cache::metadata::clock::Sent;
use crate::cache::metadata::store::{Entry, Known};
use crate::cache::tiers::objects::ObjectTiers;
use crate::metrics;
use crate::metrics::cache::InvalidationCause;
use crate::s3::{Evidence, ObjectId, ObjectMeta};

/// Compares evidence with the cached metadata in memory.
#[derive(Clone)]
pub(in crate::cache) struct EvidenceCheck {
    pub(super) objects: Arc<ObjectTiers>,
}

impl EvidenceCheck {
    pub(in crate::cache) fn new(objects: Arc<ObjectTiers>) -> Self {
        Self { objects }
    }

    /// Marks an object's metadata stale where the answer to a request sent at `sent` contradicts it. Applied when this
    /// returns; durable when [`ObjectTiers::durable`] returns for the ticket.
    pub(in crate::cache) fn apply(
        &self,
        id: &ObjectId,
        sent: Sent,
        evidence: &Evidence,
    ) -> Option<Ticket> {
        if !self.objects.meta.get(id)?.is_contradicted(sent, evidence) {
            return None;
        }
        metrics::cache::invalidation(InvalidationCause::Origin);
        let mut ticket = None;
        self.objects.generations.raise(id, || {
            // Checked again under the lock, since the entry may have been replaced by now.
            let Some(entry) = self.objects.meta.get(id) else { return };
            if entry.is_contradicted(sent, evidence) {
                let stale = self.objects.stale_mark_of(id, &entry);
                let contradicted = evidence.fingerprint();
                self.objects.record_invalidation(id, InvalidationCause::Origin);
                let entry = Entry { stale, contradicted, ..(*entry).clone() };
                self.objects.meta.insert(id, entry);
                ticket = self.objects.void_record(id);
            }
        });
        ticket
    }

    /// Reconsiders an uncacheable object by the response head to a request sent at `sent`. Once it may be stored or is
    /// gone, the next read is handled as any other. `obeys`: whether `no-store` and `private` are obeyed.
    pub(in crate::cache) fn judge_streamed(
        &self,
        id: &ObjectId,
        sent: Sent,
        (status, headers): (StatusCode, &HeaderMap),
        obeys: impl FnOnce() -> bool,
    ) {
        let Some(entry) = self.objects.meta.get(id) else { return };
        let streams = match &entry.known {
            Known::Uncacheable => true,
            Known::Object { meta, .. } => meta.no_store,
            Known::Missing { .. } => false,
        };
        if !streams || entry.since.instant() >= sent.0.instant() {
            return;
        }
        let is_of_the_version_asked_for = |meta: &ObjectMeta| {
            let answered = meta.version_id.as_ref().map(HeaderValue::as_bytes);
            id.version().is_none_or(|asked| {
                answered == (!asked.is_null()).then(|| asked.as_str().as_bytes())
            })
        };
        let may_be_stored = match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                ObjectMeta::from_response(status, headers).is_ok_and(|meta| {
                    is_of_the_version_asked_for(&meta) && (!meta.no_store || !obeys())
                })
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => true,
            // Other statuses say nothing about storing.
            _ => return,
        };
        match may_be_stored {
            true => self.objects.meta.remove(id),
            false => {
                self.objects
                    .meta
                    .insert(id, Entry::new(Known::Uncacheable, sent.0, entry.generation));
            }
        }
    }
}

impl Entry {
    pub(super) fn is_contradicted(&self, sent: Sent, evidence: &Evidence) -> bool {
        let older = self.since.instant() < sent.0.instant();
        self.differs_from(evidence)
            && older
            && !self.is_marked_stale()
            && !self.refuted.contains(&evidence.fingerprint())
    }

    /// Whether the entry and the evidence describe different states, whichever is newer.
    pub(super) fn differs_from(&self, evidence: &Evidence) -> bool {
        match &self.known {
            Known::Object { meta, .. } => evidence.contradicts(Some(meta)),
            Known::Missing { .. } => evidence.contradicts(None),
            Known::Uncacheable => false,
        }
    }
}
