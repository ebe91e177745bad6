//! Acceptance of connections within a limit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// Pause after a failed accept, which fails again at once while file descriptors are exhausted.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits for one of `slots`, then for a connection, which holds it. Beyond the limit new connections wait in the
/// backlog.
///
/// `server` is the name of the listener in the log. The future may be dropped at any time: a connection that was not
/// returned is still in the backlog.
///
/// # Panics
/// When `slots` is closed.
pub(crate) async fn accept<T, F: Future<Output = io::Result<T>>>(
    server: &str,
    slots: &Arc<Semaphore>,
    next: impl Fn() -> F,
) -> (T, OwnedSemaphorePermit) {
    let slot = slots.clone().acquire_owned().await.expect("it is never closed");
    loop {
        match next().await {
            Ok(connection) => return (connection, slot),
            Err(error) => {
                log::warn!("{server}: cannot accept a connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_followed_by_a_pause_and_another_try() {
        let (slots, tries) = (Arc::new(Semaphore::new(1)), AtomicU32::new(0));
        let next = || async {
            match tries.fetch_add(1, Ordering::Relaxed) {
                0..3 => Err(io::ErrorKind::OutOfMemory.into()),
                n => Ok(n),
            }
        };
        let began = tokio::time::Instant::now();
        let (connection, _slot) = accept("test", &slots, next).await;
        assert_eq!((connection, began.elapsed()), (3, 3 * PAUSE));
    }

    #[tokio::test]
    async fn nothing_is_accepted_beyond_the_limit() {
        let (slots, tries) = (Arc::new(Semaphore::new(1)), AtomicU32::new(0));
        let next = || async { io::Result::Ok(tries.fetch_add(1, Ordering::Relaxed)) };
        let (_, first) = accept("test", &slots, next).await;
        let mut second = std::pin::pin!(accept("test", &slots, next));
        assert!(poll!(second.as_mut()).is_pending());
        assert_eq!(tries.load(Ordering::Relaxed), 1);
        drop(first);
        assert_eq!(second.await.0, 1);
    }
}
