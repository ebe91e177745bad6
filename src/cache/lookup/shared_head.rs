//! Confirms metadata by one HEAD request that all readers who may share it share.

use std::sync::Arc;
use std::time::Duration;

use super::partless::PartlessObjects;
use crate::cache::metadata::admission::MetadataAdmission;
use crate::cache::metadata::clock::Moment;
use crate::cache::metadata::heads::{Confirmed, HeadAnswer, Heads, Join, Question, wait};
use crate::cache::tiers::objects::ObjectTiers;
use crate::metrics::{self, GaugeGuard, attribution};
use crate::origin::Origins;
use crate::s3::{ObjectId, PartNumber};

/// Asks the origin for metadata, with one request for all readers that may share it.
pub(in crate::cache) struct SharedHead {
    origin: Origins,
    objects: Arc<ObjectTiers>,
    heads: Heads,
    admission: Arc<MetadataAdmission>,
    partless: Arc<PartlessObjects>,
}

impl SharedHead {
    pub(in crate::cache) fn new(
        origin: Origins,
        objects: Arc<ObjectTiers>,
        admission: Arc<MetadataAdmission>,
        partless: Arc<PartlessObjects>,
    ) -> Self {
        Self { origin, objects, heads: Heads::default(), admission, partless }
    }

    /// Requests that are in flight.
    pub(in crate::cache) fn in_flight(&self) -> usize {
        self.heads.len()
    }

    /// Returns for how long a request for an object is in flight, if one is.
    pub(in crate::cache) fn waited_for(&self, id: &ObjectId) -> Option<Duration> {
        self.heads.waited_for(id, self.objects.generations.current(id))
    }

    /// Asks the origin for the metadata of an object, or of a part of it, or waits for a request that does.
    pub(in crate::cache) async fn ask(
        self: &Arc<Self>,
        id: &ObjectId,
        part: Option<PartNumber>,
        join: Join,
    ) -> HeadAnswer {
        let question = (id.clone(), part, self.objects.generations.current(id));
        let (answer, lease) = self.heads.enter(question, join);
        let _coalesced: Option<GaugeGuard> = match lease {
            Some(lease) => {
                let asker = self.clone();
                attribution::spawn(lease.serve(move |question| send(asker.clone(), question)));
                None
            }
            None => Some(metrics::coalesced()),
        };
        wait(answer).await
    }
}

/// Sends one HEAD and takes in what it brings.
async fn send(asker: Arc<SharedHead>, (id, part, generation): Question) -> HeadAnswer {
    let since = Moment::now();
    let answer = asker.origin.head(&id, part).await;
    let Some(part) = part else {
        return asker.admission.admit_head(&id, generation, since, answer);
    };
    // Of the object itself it says nothing.
    match answer {
        Ok(meta) => Ok(Confirmed { meta: Arc::new(meta), since }),
        Err(error) => {
            asker.partless.note(&id, part, &error);
            Err(Arc::new(error))
        }
    }
}
