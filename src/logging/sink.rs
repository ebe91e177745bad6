//! Buffer of log lines, and the thread that writes them.
//!
//! Workers append to one buffer; the writer takes all of it at once, by time or size. A worker therefore wakes the
//! writer at most once per batch, and a slow reader of the log never blocks a worker: beyond the limit lines are
//! dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::output::Output;
use crate::metrics::logs::{self, Log};

/// Maximum bytes in the buffer; lines beyond are dropped.
const LIMIT: usize = 8 << 20;
/// Bytes from which on a batch is written at once.
const BATCH: usize = 64 << 10;
/// Time for which the first line of a batch waits for others.
const GATHER: Duration = Duration::from_millis(50);
/// Maximum time for which the end of the process waits for the reader of the log.
const LAST: Duration = Duration::from_secs(1);

pub(crate) struct Sink {
    log: Log,
    /// Dropped lines that no later line has reported.
    dropped: AtomicU64,
    pending: Mutex<Pending>,
    /// Wakes the writer for new lines.
    lines: Condvar,
    /// Wakes threads that flush.
    written: Condvar,
}

#[allow(clippy::struct_excessive_bools, reason = "each is true or false whatever the others are")]
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// Whether the writer has taken a batch that is not written yet.
    writing: bool,
    /// Whether a thread waits until everything is written.
    flushing: bool,
    /// Whether the file is to be reopened.
    reopening: bool,
    /// Whether the output failed for good.
    broken: bool,
}

impl Sink {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(log: Log, out: Box<dyn Output>) -> std::io::Result<Arc<Self>> {
        logs::dropped(log, 0);
        let sink = Arc::new(Self {
            log,
            dropped: AtomicU64::new(0),
            pending: Mutex::default(),
            lines: Condvar::new(),
            written: Condvar::new(),
        });
        let writer = sink.clone();
        let thread = std::thread::Builder::new().name(format!("{}-log", log.label()));
        thread.spawn(move || writer.write_batches(out))?;
        Ok(sink)
    }

    /// Returns and clears the number of dropped lines, which the caller reports in the next line.
    pub(crate) fn take_dropped(&self) -> u64 {
        match self.dropped.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.dropped.swap(0, Ordering::Relaxed),
        }
    }

    /// Counts dropped lines, plus `told`: dropped lines that the current ones would have reported.
    fn lose(&self, lines: u64, told: u64) {
        self.dropped.fetch_add(lines + told, Ordering::Relaxed);
        logs::dropped(self.log, lines);
    }

    /// Appends one line, including its end, which reports `told` dropped ones; drops it if there is no room.
    pub(crate) fn append(&self, line: &[u8], told: u64) {
        let mut pending = self.pending.lock();
        let before = pending.bytes.len();
        if pending.broken || before + line.len() > LIMIT {
            drop(pending);
            self.lose(1, told);
            return;
        }
        pending.bytes.extend_from_slice(line);
        let after = pending.bytes.len();
        drop(pending);
        if before == 0 || (before < BATCH && after >= BATCH) {
            self.lines.notify_one();
        }
    }

    /// Requests to reopen the file before anything else is written.
    pub(crate) fn reopen(&self) {
        self.pending.lock().reopening = true;
        self.lines.notify_one();
    }

    /// Waits until the appended lines are written, for at most a second.
    pub(crate) fn flush(&self) {
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

    fn write_batches(&self, mut out: Box<dyn Output>) {
        let mut batch = Vec::new();
        loop {
            if self.next_batch(&mut batch) {
                out.reopen();
            }
            let written = out.write_lines(&batch);
            if let Ok(lost @ 1..) = written {
                self.lose(lost, 0);
            }
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

    /// Waits for lines, or for a request to reopen the file: `true`.
    fn next_batch(&self, batch: &mut Vec<u8>) -> bool {
        let mut pending = self.pending.lock();
        while pending.bytes.is_empty() && !pending.reopening {
            self.lines.wait(&mut pending);
        }
        let deadline = Instant::now() + GATHER;
        while pending.bytes.len() < BATCH && !pending.flushing && !pending.reopening {
            if self.lines.wait_until(&mut pending, deadline).timed_out() {
                break;
            }
        }
        pending.flushing = false;
        pending.writing = true;
        std::mem::swap(&mut pending.bytes, batch);
        std::mem::take(&mut pending.reopening)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// An output that passes batches on, and waits before each write for permission.
    struct Gated {
        batches: Sender<Vec<u8>>,
        may: Receiver<()>,
    }

    impl Output for Gated {
        fn write_lines(&mut self, lines: &[u8]) -> std::io::Result<u64> {
            let sent = self.may.recv().is_ok() && self.batches.send(lines.to_vec()).is_ok();
            if sent { Ok(0) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
        }
    }

    fn gated() -> (Arc<Sink>, Receiver<Vec<u8>>, Sender<()>) {
        let (batches, received) = channel();
        let (allow, may) = channel();
        (Sink::start(Log::Access, Box::new(Gated { batches, may })).unwrap(), received, allow)
    }

    #[test]
    fn lines_are_written_together_and_in_order() {
        let (sink, received, allow) = gated();
        let lines: Vec<String> = (0..100).map(|n| format!("{n}\n")).collect();
        for line in &lines {
            sink.append(line.as_bytes(), 0);
        }
        assert_eq!(sink.take_dropped(), 0);
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
        for _ in 0..20_000 {
            sink.append(&line, 0);
        }
        let taken = 20_000 - usize::try_from(sink.take_dropped()).unwrap();
        // One batch held by the writer, and one in the buffer.
        assert!(taken >= LIMIT / line.len() && taken <= 2 * LIMIT / line.len() + 1, "{taken}");
        for _ in 0..2 {
            allow.send(()).unwrap();
        }
        sink.flush();
        let written: usize = received.try_iter().map(|batch| batch.len()).sum();
        assert_eq!(written, taken * line.len());
        sink.append(&line, 0);
        assert_eq!(sink.take_dropped(), 0, "there is room again");
    }

    #[test]
    fn after_the_reader_is_gone_lines_are_dropped() {
        let (sink, received, allow) = gated();
        drop((received, allow));
        sink.append(b"1\n", 0);
        sink.flush();
        assert_eq!(sink.take_dropped(), 0);
        // A line that reports three others.
        sink.append(b"2\n", 3);
        assert_eq!((sink.take_dropped(), sink.take_dropped()), (4, 0));
        sink.flush();
    }
}
