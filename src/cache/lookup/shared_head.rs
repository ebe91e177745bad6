//! Requests for metadata by HEAD, shared among readers.

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

/// Requests metadata from the origin, with one HEAD for all readers that may share it.
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

    /// Returns the number of requests in flight.
    pub(in crate::cache) fn in_flight(&self) -> usize {
        self.heads.len()
    }

    /// Returns the time since the request in flight for an object was sent, if there is one.
    pub(in crate::cache) fn waited_for(&self, id: &ObjectId) -> Option<Duration> {
        self.heads.waited_for(id, self.objects.generations.current(id))
    }

    /// Requests the metadata of an object, or of a part of it, or joins a request in flight.
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

/// Sends one HEAD and admits its result.
async fn send(asker: Arc<SharedHead>, (id, part, generation): Question) -> HeadAnswer {
    let since = Moment::now();
    let answer = asker.origin.head(&id, part).await;
    let Some(part) = part else {
        return asker.admission.admit_head(&id, generation, since, answer);
    };
    // A response for a part is not admitted as metadata of the object.
    match answer {
        Ok(meta) => Ok(Confirmed { meta: Arc::new(meta), since }),
        Err(error) => {
            asker.partless.note(&id, part, &error);
            Err(Arc::new(error))
        }
    }
}
