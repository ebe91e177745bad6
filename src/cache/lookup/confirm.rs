//! Confirms metadata by one HEAD request that all readers who may share it share.

use std::sync::Arc;

use crate::cache::facade::Cache;
use crate::cache::metadata::clock::Moment;
use crate::cache::metadata::heads::{Confirmed, HeadAnswer, Join, Question, wait};
use crate::metrics::{self, GaugeGuard, attribution};
use crate::s3::{ObjectId, PartNumber};

impl Cache {
    /// Asks the origin for the metadata of an object, or of a part of it, or waits for a request that does.
    pub(in crate::cache) async fn shared_head(
        self: &Arc<Self>,
        id: &ObjectId,
        part: Option<PartNumber>,
        join: Join,
    ) -> HeadAnswer {
        let question = (id.clone(), part, self.objects.generations.current(id));
        let (answer, lease) = self.heads.enter(question, join);
        let _coalesced: Option<GaugeGuard> = match lease {
            Some(lease) => {
                let cache = self.clone();
                attribution::spawn(lease.serve(move |question| send(cache.clone(), question)));
                None
            }
            None => Some(metrics::coalesced()),
        };
        wait(answer).await
    }
}

/// Sends one HEAD and takes in what it brings.
async fn send(cache: Arc<Cache>, (id, part, generation): Question) -> HeadAnswer {
    let since = Moment::now();
    let answer = cache.origin.head(&id, part).await;
    let Some(part) = part else {
        return cache.admission.learn_head(&id, generation, since, answer);
    };
    // Of the object itself it says nothing.
    match answer {
        Ok(meta) => Ok(Confirmed { meta: Arc::new(meta), since }),
        Err(error) => {
            cache.no_parts.note(&id, part, &error);
            Err(Arc::new(error))
        }
    }
}
