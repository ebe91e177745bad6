//! Coalesced HEAD requests in many schedules: readers that arrive while a queue ends and another begins.

use shuttle::future::block_on;

use super::*;
use crate::cache::metadata::heads::{Confirmed, Heads, Join, Question, wait};

/// The state of the object at the origin; each version is one larger than the one before.
type OriginState = Arc<AtomicU64>;

fn question() -> Question {
    let world = World::new();
    (world.id.clone(), None, world.cache.objects.generations.current(&world.id))
}

/// Reads once, with a worker of its own if it gets the lease. Asserts that the answer is no error, and that it is older
/// than the reader's arrival only if the reader accepts that.
fn read(heads: &Heads, question: &Question, origin: &OriginState, join: Join) {
    let before = origin.load(Ordering::SeqCst);
    let (answer, lease) = heads.enter(question.clone(), join);
    let worker = lease.map(|lease| {
        let origin = origin.clone();
        thread::spawn(move || {
            block_on(lease.serve(|_| {
                let version = origin.load(Ordering::SeqCst);
                async move {
                    // The answer is on its way.
                    shuttle::future::yield_now().await;
                    Ok(Confirmed { meta: Arc::new(meta(version)), since: Moment::now() })
                }
            }));
        })
    });
    let answer = block_on(wait(answer)).expect("a reader of a served queue is answered");
    if join == Join::Next {
        let fresh = (before..=9).any(|version| answer.meta.etag == etag(version));
        assert!(fresh, "{:?} answers a reader that arrived at version {before}", answer.meta.etag);
    }
    if let Some(worker) = worker {
        worker.join().expect("no worker panics");
    }
}

fn race() {
    let question = question();
    let (heads, origin) = (Heads::default(), OriginState::new(AtomicU64::new(1)));
    let orders = [
        [Join::UnderWay, Join::Next],
        [Join::Next, Join::Next],
        [Join::UnderWay, Join::UnderWay],
        [Join::Next, Join::UnderWay],
    ];
    let readers = orders.map(|joins| {
        let (heads, origin, question) = (heads.clone(), origin.clone(), question.clone());
        thread::spawn(move || {
            for join in joins {
                origin.fetch_add(1, Ordering::SeqCst);
                read(&heads, &question, &origin, join);
            }
        })
    });
    for reader in readers {
        reader.join().expect("no reader panics");
    }
    assert!(heads.is_idle(), "a queue without readers stays");
}

#[test]
fn r7_no_reader_is_given_up_or_answered_by_a_head_sent_before_it_arrived_in_any_order() {
    check(race);
}
