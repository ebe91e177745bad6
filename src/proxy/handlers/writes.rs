//! What a write invalidates, and when.
//!
//! What it changed is invalidated before it is forwarded and again with every part of its answer before that is passed
//! on: S3 may send 200 long before it commits (R8). When its outcome is not known, its keys are revalidated on every read
//! for a while.

use http::StatusCode;

use super::touched::Touched;
use crate::cache::{InFlight, Writing};
use crate::cluster::PeerWrite;
use crate::metrics::cache::InvalidationCause;
use crate::proxy::context::Forward;
use crate::proxy::gateway::Gateway;

impl Gateway {
    /// Before any of the write goes to the origin: what it may change is forgotten, and stays so if we do not live
    /// to answer. Where S3 decides, only once S3 has not refused it; until then reads ask first (R40). Whatever we do
    /// not live to see there, S3 compares with what it has before any of it is shown (R22).
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

    /// Has other replicas confirm on every read what a write may change, until it has ended.
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

    /// A part of the answer has come, `end` with its last byte. One that refuses the write counts only when it is
    /// complete, and then nothing was changed (R40).
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

    /// The write's outcome is not known.
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

    /// Waits until what was invalidated stays so, whatever happens to the machine; a moment at most (R38).
    pub(in crate::proxy) async fn settle(&self, forward: &mut Forward) {
        self.cache.durable_or_off(forward.unsettled.take()).await;
    }
}

/// Whether a write that was answered with this status may still happen. What the origin does not implement it does not
/// do.
pub(in crate::proxy) fn leaves_doubt(status: u16) -> bool {
    status >= 500 && status != StatusCode::NOT_IMPLEMENTED
}
