//! Where lines are collected, and the thread that writes them.
//!
//! Workers append to one buffer; the writer takes all of it at once, by time or size. A worker therefore wakes the
//! writer at most once a batch, and a slow reader of the log never stops a worker: beyond the limit lines are dropped.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Bytes that wait at most; lines beyond are dropped.
const LIMIT: usize = 8 << 20;
/// Bytes from which on they are written at once.
const BATCH: usize = 64 << 10;
/// How long the first line of a batch waits for others.
const GATHER: Duration = Duration::from_millis(50);
/// How long the end of the process waits for the reader of the log.
const LAST: Duration = Duration::from_secs(1);

pub(super) struct Sink {
    pending: Mutex<Pending>,
    /// The writer waits here for lines.
    lines: Condvar,
    /// Who flushes waits here for the writer.
    written: Condvar,
}

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// The writer has taken a batch that is not out yet.
    writing: bool,
    /// Somebody waits for all of it to be written.
    flushing: bool,
    /// Nobody reads the output any more.
    broken: bool,
}

impl Sink {
    /// Starts the thread that writes to `out`.
    pub(super) fn start(out: impl Write + Send + 'static) -> std::io::Result<Arc<Self>> {
        let sink = Arc::new(Self {
            pending: Mutex::default(),
            lines: Condvar::new(),
            written: Condvar::new(),
        });
        let writer = sink.clone();
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        thread.spawn(move || writer.write_batches(out))?;
        Ok(sink)
    }

    /// Takes one line, with its end; `false` when it is dropped.
    #[must_use]
    pub(super) fn append(&self, line: &[u8]) -> bool {
        let mut pending = self.pending.lock();
        let before = pending.bytes.len();
        if pending.broken || before + line.len() > LIMIT {
            return false;
        }
        pending.bytes.extend_from_slice(line);
        let after = pending.bytes.len();
        drop(pending);
        if before == 0 || (before < BATCH && after >= BATCH) {
            self.lines.notify_one();
        }
        true
    }

    /// Waits until what was appended is written, for a second at most.
    pub(super) fn flush(&self) {
        let deadline = Instant::now() + LAST;
        let mut pending = self.pending.lock();
        while !pending.broken && (pending.writing || !pending.bytes.is_empty()) {
            pending.flushing = true;
            self.lines.notify_one();
            if self.written.wait_until(&mut pending, deadline).timed_out() {
                return;
            }
        }
    }

    fn write_batches(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            self.next_batch(&mut batch);
            let written = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            batch.shrink_to(2 * BATCH);
            let mut pending = self.pending.lock();
            pending.writing = false;
            pending.broken = written.is_err();
            self.written.notify_all();
            if pending.broken {
                pending.bytes = Vec::new();
                return;
            }
        }
    }

    fn next_batch(&self, batch: &mut Vec<u8>) {
        let mut pending = self.pending.lock();
        while pending.bytes.is_empty() {
            self.lines.wait(&mut pending);
        }
        let deadline = Instant::now() + GATHER;
        while pending.bytes.len() < BATCH && !pending.flushing {
            if self.lines.wait_until(&mut pending, deadline).timed_out() {
                break;
            }
        }
        pending.flushing = false;
        pending.writing = true;
        std::mem::swap(&mut pending.bytes, batch);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Gives what it is written away, and waits before each write until it may.
    struct Gated {
        batches: Sender<Vec<u8>>,
        may: Receiver<()>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let sent = self.may.recv().is_ok() && self.batches.send(bytes.to_vec()).is_ok();
            if sent { Ok(bytes.len()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Arc<Sink>, Receiver<Vec<u8>>, Sender<()>) {
        let (batches, received) = channel();
        let (allow, may) = channel();
        (Sink::start(Gated { batches, may }).unwrap(), received, allow)
    }

    #[test]
    fn lines_are_written_together_and_in_order() {
        let (sink, received, allow) = gated();
        let lines: Vec<String> = (0..100).map(|n| format!("{n}\n")).collect();
        assert!(lines.iter().all(|line| sink.append(line.as_bytes())));
        allow.send(()).unwrap();
        sink.flush();
        let batch = received.recv().unwrap();
        assert_eq!(String::from_utf8(batch).unwrap(), lines.concat());
        assert!(received.try_recv().is_err(), "one write");
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_stops_nobody() {
        let (sink, received, allow) = gated();
        let line = [b'x'; 1024];
        let taken = (0..20_000).filter(|_| sink.append(&line)).count();
        // What the writer holds, and what waits.
        assert!(taken >= LIMIT / line.len() && taken <= 2 * LIMIT / line.len() + 1, "{taken}");
        for _ in 0..2 {
            allow.send(()).unwrap();
        }
        sink.flush();
        let written: usize = received.try_iter().map(|batch| batch.len()).sum();
        assert_eq!(written, taken * line.len());
        assert!(sink.append(&line), "there is room again");
    }

    #[test]
    fn after_the_reader_is_gone_lines_are_dropped() {
        let (sink, received, allow) = gated();
        drop((received, allow));
        assert!(sink.append(b"1\n"));
        sink.flush();
        assert!(!sink.append(b"2\n"));
        sink.flush();
    }
}
