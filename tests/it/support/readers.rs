//! Clients that read objects without pause while something happens to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{Client, within};

/// Readers of `/data/N/o`, each with a client of its own; a read that fails or has wrong bytes ends the test.
pub struct Readers {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<u64>>,
}

impl Readers {
    /// Starts the readers; `objects` are the bytes of each N from 0.
    pub fn start(clients: impl IntoIterator<Item = Client>, objects: &Arc<[Bytes]>) -> Self {
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = clients.into_iter().enumerate().map(|(first, client)| {
            let (objects, stop, reads) = (Arc::clone(objects), stop.clone(), reads.clone());
            tokio::spawn(async move {
                for n in (0..objects.len()).cycle().skip(first) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let read = client.get(&format!("/data/{n}/o")).send().await;
                    assert_eq!(
                        (read.status.as_u16(), read.complete),
                        (200, true),
                        "{}",
                        read.text()
                    );
                    assert_eq!(read.body, objects[n], "{n}/o");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                client.connections()
            })
        });
        let tasks = tasks.collect();
        Self { stop, reads, tasks }
    }

    /// Returns the number of reads that were answered.
    pub fn count(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Waits for one more response.
    pub async fn one_more(&self) {
        let before = self.count();
        within("a read", async {
            while self.count() <= before {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Stops the readers, and returns the number of connections that they made.
    pub async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut connections = 0;
        for task in self.tasks {
            connections += task.await.expect("no read failed");
        }
        connections
    }
}
