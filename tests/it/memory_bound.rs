//! Resident memory of the real process: it stays within its limits, whatever its clients do.
//!
//! Measured in a debug build on Linux: 25 MiB after start, 176 to 188 MiB at most with 300 slow readers. A
//! connection's own buffers and futures take about 110 KiB there.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::support::{FakeS3, Fault, Gate, Matcher, Object, Process, Scratch, Times, within};

const MIB: u64 = 1 << 20;
const MEMORY: u64 = 64 * MIB;
const IN_FLIGHT: u64 = 64 * MIB;
/// Memory of a process without a cache, beside its code, which depends on the build: stacks, connections, tables.
const BASE: u64 = 24 * MIB;
/// Memory of a connection's buffers and futures, beyond what [`BASE`] includes; futures are large in a debug build.
const CONNECTION: u64 = 64 << 10;
const READERS: u64 = 300;
/// Bytes of one reader's range: more than its socket's buffers take.
const RANGE: u64 = 2 * MIB;

async fn start(scratch: &Scratch, s3: &FakeS3) -> Process {
    let cache = format!("{{ memory: {MEMORY}, in_flight: {IN_FLIGHT}, read_ahead: 32MiB }}");
    start_with(scratch, s3, &cache).await
}

async fn start_with(scratch: &Scratch, s3: &FakeS3, cache: &str) -> Process {
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0 }}, {{ address: 'unix:{}' }}]\n\
         admin: {{ address: 127.0.0.1:0 }}\norigin: {{ endpoint: '{}' }}\n\
         cache: {cache}\n",
        scratch.path("s3.sock"),
        s3.endpoint()
    );
    Process::serve(&scratch.file("hotset.yaml", &config)).await
}

/// Requests a range over a unix socket, which buffers little; also returns the beginning of the response.
async fn begin(socket: String, range: &Range<u64>) -> (UnixStream, Vec<u8>) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let (first, last) = (range.start, range.end - 1);
    let request = format!(
        "GET /data/large HTTP/1.1\r\nHost: localhost\r\nRange: bytes={first}-{last}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    while all.len() < 1000 {
        assert!(stream.read_buf(&mut all).await.unwrap() > 0, "an answer");
    }
    assert!(all.starts_with(b"HTTP/1.1 206 "), "{}", String::from_utf8_lossy(&all[..300]));
    (stream, all)
}

fn body(answer: Vec<u8>) -> Bytes {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("the head's end");
    Bytes::from(answer).slice(head + 4..)
}

/// Reads a range; waits at `all_begun` with most of it unread.
async fn read_late(socket: String, range: Range<u64>, all_begun: Arc<Barrier>) -> Bytes {
    let (mut stream, mut all) = begin(socket, &range).await;
    all_begun.wait().await;
    stream.read_to_end(&mut all).await.unwrap();
    body(all)
}

/// Reads a range at 100 kB a second.
async fn read_slowly(socket: String, range: Range<u64>) -> Bytes {
    let (mut stream, mut all) = begin(socket, &range).await;
    let mut ticks = interval(Duration::from_millis(80));
    let mut sip = [0; 8192];
    loop {
        ticks.tick().await;
        match stream.read(&mut sip).await.unwrap() {
            0 => return body(all),
            count => all.extend_from_slice(&sip[..count]),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_slow_readers_stay_within_what_the_process_was_given() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let object = Object::random(READERS * RANGE + 12_345, 1);
    s3.put("data", "large", object.clone());
    let process = start(&scratch, &s3).await;
    let idle = process.memory("VmRSS") - process.memory("RssFile");
    let all_begun = Arc::new(Barrier::new(usize::try_from(READERS).unwrap()));
    let mut readers = JoinSet::new();
    for n in 0..READERS {
        // Ranges that do not begin at the edges of blocks.
        let range = n * RANGE + 4321..(n + 1) * RANGE + 4321;
        let (socket, all_begun) = (scratch.path("s3.sock"), Arc::clone(&all_begun));
        let object = object.clone();
        readers.spawn(async move {
            let got = read_late(socket, range.clone(), all_begun).await;
            assert!(got == object.slice(range), "reader {n}: {} bytes", got.len());
        });
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    let code = process.memory("RssFile");
    let limit = (MEMORY + IN_FLIGHT) * 115 / 100 + BASE + code + READERS * CONNECTION;
    let most = process.memory("VmHWM");
    let (idle, most, limit) = (idle / MIB, most / MIB, limit / MIB);
    println!("{idle} MiB idle, {most} MiB at most, {limit} MiB allowed");
    assert!(idle * MIB < BASE, "{idle} MiB before the first request");
    assert!(most < limit, "{most} MiB, allowed {limit} MiB, idle {idle} MiB");
}

/// Ten times as many readers as there is memory for blocks; each reads its block for longer than a fetch waits for
/// memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_slow_readers_than_blocks_in_flight_are_all_served_by_parts_of_blocks() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let (count, block) = (30, MIB);
    let object = Object::random(count * block, 3);
    s3.put("data", "large", object.clone());
    let cache = "{ memory: 1MiB, fetch: 1MiB, in_flight: 4MiB }";
    let _process = start_with(&scratch, &s3, cache).await;
    let mut readers = JoinSet::new();
    for n in 0..count {
        // No two readers in one block.
        let range = n * block + 4321..(n + 1) * block;
        let (socket, object) = (scratch.path("s3.sock"), object.clone());
        readers.spawn(async move {
            let got = read_slowly(socket, range.clone()).await;
            assert!(got == object.slice(range), "reader {n}: {} bytes", got.len());
        });
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    let ranges: Vec<_> = s3.requests().into_iter().filter_map(|request| request.range).collect();
    // Fetches that are not of parts go to the end of their block.
    assert!(ranges.iter().any(|range| range.end % block != 0), "{ranges:?}");
    let fetched: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    println!("{fetched} bytes fetched by {} requests", ranges.len());
    assert!(fetched < 4 * count * block, "{fetched} bytes fetched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_is_never_held() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = start(&scratch, &s3).await;
    let client = process.client();
    assert_eq!(client.put("/data/small").body("x").send().await.status, 200);
    let before = process.memory("VmHWM");
    let gate = Gate::new();
    s3.fault(Matcher::put("large"), Times(1), Fault::HoldRequestAfter(MIB, gate.clone()));
    let data = Object::random(96 * MIB, 2).all();
    let mut upload = client.put("/data/large").start(data.len() as u64).await;
    let sending = tokio::spawn(async move {
        for piece in data.chunks(1 << 20) {
            upload.write(piece).await.unwrap();
        }
        (upload.finish().await.status, data)
    });
    // The client continues to send while the origin does not read.
    gate.wait_reached().await;
    gate.open();
    let (status, data) = within("the upload's end", sending).await.unwrap();
    assert_eq!(status, 200);
    assert!(s3.object_bytes("data", "large") == data);
    let grown = (process.memory("VmHWM") - before) / MIB;
    assert!(grown < 16, "{grown} MiB more for an upload of 96 MiB");
}
