//! Invalidation by writes.
//!
//! The keys of a write are invalidated before it is forwarded, and again with every part of its response before that
//! is passed on: S3 may send 200 long before it commits (R8). If the outcome of the write is unknown, its keys are
//! revalidated on every read for a while.

use http::StatusCode;

use super::touched::Touched;
use crate::cache::{InFlight, Writing};
use crate::cluster::PeerWrite;
use crate::metrics::cache::InvalidationCause;
use crate::proxy::context::Forward;
use crate::proxy::gateway::Gateway;

impl Gateway {
    /// Begins a write, before any of it goes to the origin: the keys that it may change are invalidated, durably in
    /// case we do not live to answer. Where S3 authorizes, they are invalidated only once S3 has not refused the
    /// write; until then reads are revalidated (R40). If we crash before that, S3 compares versions before anything
    /// is served (R22).
    pub(in crate::proxy) async fn begin_write(&self, forward: &mut Forward) {
        let kind = match self.access.transparent() {
            Some(_) => InFlight::Tentative,
            None => InFlight::Invalidated,
        };
        let Touched { objects, buckets } = &forward.touched;
        let in_bucket = |bucket| {
            let begin = |realm| self.cache.bucket_write_begins(realm, bucket, kind);
            self.origins.realms_of(bucket).iter().map(begin).collect::<Vec<_>>()
        };
        forward.writing = buckets.iter().flat_map(in_bucket).collect();
        if !objects.is_empty() {
            forward.writing.push(self.cache.write_begins(objects.clone(), kind));
        }
        if kind == InFlight::Invalidated {
            self.invalidate(forward);
        }
        let (told, ()) = tokio::join!(
            self.tell_peers(&forward.touched),
            self.cache.durable_or_off(forward.unsettled.take())
        );
        forward.peer_write = told;
    }

    /// Makes other replicas revalidate on every read the keys that a write may change, until it has ended.
    async fn tell_peers(&self, touched: &Touched) -> Option<PeerWrite> {
        let Touched { objects, buckets } = touched;
        let cluster = self.cluster.as_ref().filter(|_| !objects.is_empty() || !buckets.is_empty());
        Some(cluster?.write_begins(objects, buckets).await)
    }

    pub(in crate::proxy) fn invalidate(&self, forward: &mut Forward) {
        forward.writing.iter_mut().for_each(Writing::conclude);
        for id in &forward.touched.objects {
            forward.unsettled =
                forward.unsettled.max(self.cache.invalidate(id, InvalidationCause::Write));
        }
        for bucket in &forward.touched.buckets {
            self.owners.forget(bucket);
            for realm in &*self.origins.realms_of(bucket) {
                let ticket = self.cache.invalidate_bucket(realm, bucket, InvalidationCause::Write);
                forward.unsettled = forward.unsettled.max(ticket);
            }
        }
    }

    /// Invalidates with each part of the response; `end` with its last byte. A response that refuses the write counts
    /// only when it is complete, and then nothing was changed (R40).
    pub(in crate::proxy) fn answer_part(&self, forward: &mut Forward, end: bool) {
        match (forward.refused, end) {
            (false, _) => self.invalidate(forward),
            (true, true) => {
                forward.writing.iter_mut().for_each(Writing::conclude);
                forward.writing.clear();
                forward.touched = Touched::default();
            }
            (true, false) => {}
        }
    }

    /// Handles a write whose outcome is unknown.
    pub(in crate::proxy) fn outcome_unknown(&self, forward: &mut Forward) {
        forward.writing.iter_mut().for_each(Writing::conclude);
        for id in &forward.touched.objects {
            forward.unsettled = forward.unsettled.max(self.cache.outcome_unknown(id));
        }
        for bucket in &forward.touched.buckets {
            self.owners.forget(bucket);
            for realm in &*self.origins.realms_of(bucket) {
                let ticket = self.cache.bucket_outcome_unknown(realm, bucket);
                forward.unsettled = forward.unsettled.max(ticket);
            }
        }
    }

    /// Waits until the invalidations survive a crash of the machine; a short time at most (R38).
    pub(in crate::proxy) async fn settle(&self, forward: &mut Forward) {
        self.cache.durable_or_off(forward.unsettled.take()).await;
    }
}

/// Whether a write that was answered with this status may still take effect. The origin does not do what it does not
/// implement.
pub(in crate::proxy) fn leaves_doubt(status: u16) -> bool {
    status >= 500 && status != StatusCode::NOT_IMPLEMENTED
}
