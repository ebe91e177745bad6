//! The table with the bytes on disk and not in memory: one process left them, and another one finds them.

use super::*;

/// Location of the row's object in the process that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Everything in memory.
    Memory,
    /// Metadata in memory, bytes on disk.
    Disk,
    /// Nothing in memory: the process has just been started.
    Restarted,
}

/// A disk with an object for every row.
struct Disk {
    scratch: Scratch,
    s3: Arc<FakeS3>,
    before: Before,
}

fn key(number: usize, method: &Method) -> String {
    format!("{number}-{method}")
}

impl Disk {
    async fn start(&self, freshness: &str) -> Process {
        let text = format!(
            "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\nlog: {{ access: off }}\n\
             origin: {{ endpoint: '{}', attempts: 1, hedging: false }}\n\
             cache: {{ memory: 16MiB, block: 64KiB, fetch: 512KiB, in_flight: 8MiB, read_ahead: 2MiB, \
             admission: first-touch, disk: [{{ path: '{}', capacity: 512MiB }}] }}\n\
             rules: [{{ match: '**', freshness: {freshness} }}]\n",
            self.s3.endpoint(),
            self.scratch.path("cache"),
        );
        Process::serve(&self.scratch.file("hotset.yaml", &text)).await
    }

    /// Fills a disk: reads each row's object as `before` says, and ends the process.
    async fn prepare(before: Before) -> Disk {
        let disk = Disk { scratch: Scratch::new(), s3: Arc::new(FakeS3::start().await), before };
        let process = disk.start("immutable").await;
        let table = disk.table(&process, Freshness::Immutable, Place::Memory);
        for (number, row) in table::all().enumerate() {
            for method in [Method::GET, Method::HEAD] {
                let key = key(number, &method);
                row.kind.put(&table.s3, &key);
                table.prepare(&key, row).await;
                // Blocks evicted from memory while the write queue is full are not kept.
                while process.metric("hotset_disk_queued_bytes").await > 0.0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        disk.end(process).await;
        disk
    }

    async fn end(&self, mut process: Process) {
        process.terminate();
        assert!(process.ended().await.success(), "{}", process.output());
    }

    fn table(&self, process: &Process, freshness: Freshness, place: Place) -> Table {
        let (s3, client, before) = (self.s3.clone(), process.client(), self.before);
        let (request_ids, put) = (HashSet::new(), HashSet::new());
        Table { s3, client, freshness, before, place, request_ids, put }
    }

    /// Runs every row on a process that has just been started.
    async fn ask(&self, freshness: Freshness, place: Place) {
        let text = match freshness {
            Freshness::Immutable => "immutable",
            Freshness::Revalidate => "revalidate",
            _ => "{ ttl: 60s }",
        };
        let process = self.start(text).await;
        let mut table = self.table(&process, freshness, place);
        for (number, row) in table::all().enumerate() {
            for method in [Method::GET, Method::HEAD] {
                if place == Place::Disk {
                    table.client.head(&row.path_of_whole(&key(number, &method))).send().await;
                }
                table.ask(number, row, &method).await;
            }
        }
        assert!(table.s3.complaints().is_empty(), "{:?}", table.s3.complaints());
        self.end(process).await;
    }
}

/// Asserts that bytes of a row whose object was read as a whole came from the disk.
pub(super) fn check_source(
    answer: &Response,
    row: &Row,
    freshness: Freshness,
    place: Place,
    what: &str,
) {
    if place == Place::Memory || (place, row.kind) == (Place::Restarted, Kind::Null) {
        return;
    }
    let expected = match row.revalidates(freshness, place) {
        true => "hotset; fwd=stale; detail=revalidated",
        false => "hotset; hit; detail=disk",
    };
    assert_eq!(answer.header("cache-status"), expected, "{what}");
}

#[tokio::test]
async fn reads_from_disk_and_after_a_restart_answer_as_s3() {
    let disk = Disk::prepare(Before::Whole).await;
    for freshness in [TTL, Freshness::Immutable, Freshness::Revalidate] {
        disk.ask(freshness, Place::Disk).await;
        disk.ask(freshness, Place::Restarted).await;
    }
}

#[tokio::test]
async fn reads_of_what_is_partly_on_disk_answer_as_s3() {
    let disk = Disk::prepare(Before::Middle).await;
    disk.ask(TTL, Place::Restarted).await;
}
