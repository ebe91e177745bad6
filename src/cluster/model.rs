//! Two replicas in steps of a few milliseconds and in random orders: messages that are late or lost, processes that are
//! frozen, killed and started anew, a network that is cut.
//!
//! The property: when a write has gone on at the one, the other has applied it, or has no lease that holds, unless the
//! network between them was cut, or one was not known to the other, for longer than a peer is waited for.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::lease::{Effect, Failure, Lease, WRITE_WAIT};
use super::outbox::Outbox;

const RUNS: u64 = 300;
const STEPS: usize = 4000;
const ASK_EVERY: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_millis(300);

/// The replica that writes.
struct Writer {
    outbox: Outbox,
    /// It believes that the reader is gone: at any time, since nobody says when it would be right.
    gone: bool,
    /// A message and when it was queued.
    waiting: Option<(u64, Duration)>,
    session: u64,
}

/// The replica that reads.
struct Reader {
    lease: Lease,
    stream: u64,
    applied: u64,
    /// The last version that it was told of, or that it confirmed.
    known: u64,
    /// When it asked last, and whether that was answered.
    asked: Option<Duration>,
    next_ask: Duration,
}

/// On its way, and since when.
enum Wire {
    Ask { sent: Duration },
    Answer { sent: Duration, granted: Option<(u64, bool)> },
    Push { stream: u64, base: u64, first: u64, versions: Vec<u64> },
    Confirm { stream: u64, applied: u64 },
}

struct World {
    random: StdRng,
    now: Duration,
    writer: Writer,
    reader: Reader,
    wire: VecDeque<Wire>,
    /// What the origin has, and the last version whose write has gone on.
    written: u64,
    settled: u64,
    frozen_until: [Duration; 2],
    next_stream: u64,
    reads: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut outbox = Outbox::new(1, true);
        let _ = outbox.met(2, 0);
        let writer = Writer { outbox, gone: false, waiting: None, session: 2 };
        let reader = Reader {
            lease: Lease::new(),
            stream: 0,
            applied: 0,
            known: 0,
            asked: None,
            next_ask: Duration::ZERO,
        };
        Self {
            random: StdRng::seed_from_u64(seed),
            now: Duration::from_secs(1),
            writer,
            reader,
            wire: VecDeque::new(),
            written: 0,
            settled: 0,
            frozen_until: [Duration::ZERO; 2],
            next_stream: 10,
            reads: 0,
        }
    }

    fn is_awake(&self, replica: usize) -> bool {
        self.frozen_until[replica] <= self.now
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(self.random.gen_range(1..8));
        match self.random.gen_range(0..1000) {
            0 => self.freeze(0),
            1 => self.freeze(1),
            2 => self.restart_reader(),
            3..6 => self.writer.gone ^= true,
            _ => {}
        }
        if self.is_awake(0) {
            self.write();
            self.push();
        }
        if self.is_awake(1) {
            self.ask();
            self.read();
        }
        self.deliver();
    }

    fn freeze(&mut self, replica: usize) {
        let time = Duration::from_millis(self.random.gen_range(50..3000));
        self.frozen_until[replica] = self.now + time;
    }

    /// Another process at the same address: it knows nothing.
    fn restart_reader(&mut self) {
        self.reader.lease = Lease::new();
        (self.reader.stream, self.reader.applied) = (0, 0);
        self.reader.asked = None;
        self.writer.session += 1;
        self.next_stream += 1;
        // The writer learns of it by its own question; what was on its way is lost with the connections.
        self.wire.clear();
        let (session, stream) = (self.writer.session, self.next_stream);
        let _ = self.writer.outbox.met(session, stream);
    }

    fn write(&mut self) {
        let now = self.now;
        if let Some((number, since)) = self.writer.waiting {
            let gone = self.writer.gone && now >= self.writer.outbox.lease_end();
            let confirmed = self.writer.outbox.is_confirmed(number);
            if confirmed || gone || now >= since + WRITE_WAIT {
                self.writer.outbox.owe(number);
                self.writer.waiting = None;
                self.settled = self.written;
            }
        } else if self.random.gen_ratio(1, 10) {
            self.written += 1;
            let number = self.writer.outbox.push(self.written.to_string().into(), now);
            self.writer.waiting = Some((number, now));
        }
    }

    fn push(&mut self) {
        let is_on_its_way = self.wire.iter().any(|wire| matches!(wire, Wire::Push { .. }));
        if let Some(batch) = self.writer.outbox.batch()
            && !is_on_its_way
        {
            let versions = batch.texts.iter().map(|text| text.parse().unwrap()).collect();
            let (stream, base, first) = (batch.stream, batch.base, batch.first);
            self.wire.push_back(Wire::Push { stream, base, first, versions });
        }
    }

    fn ask(&mut self) {
        if let Some(sent) = self.reader.asked
            && self.now >= sent + ANSWER
        {
            self.reader.asked = None;
            let effect = self.reader.lease.failed(Failure::Silent);
            self.follow(effect);
        }
        if self.reader.asked.is_none() && self.now >= self.reader.next_ask {
            self.reader.asked = Some(self.now);
            self.reader.next_ask = self.now + ASK_EVERY;
            self.wire.push_back(Wire::Ask { sent: self.now });
        }
    }

    fn follow(&mut self, effect: Effect) {
        if effect == Effect::Confirm {
            self.reader.known = self.written;
        }
    }

    /// What is served without asking the origin is not older than what has gone on.
    fn read(&mut self) {
        let lease = self.reader.lease.certain_until();
        if lease.is_some_and(|until| self.now < until) {
            self.reads += 1;
            assert!(
                self.reader.known >= self.settled,
                "version {} at {:?}, after {}",
                self.reader.known,
                self.now,
                self.settled
            );
        } else {
            // It asks the origin, and keeps what that says.
            self.reader.known = self.reader.known.max(self.written);
        }
    }

    /// One of what is on its way arrives, out of order, or is lost.
    fn deliver(&mut self) {
        if self.wire.is_empty() {
            return;
        }
        let at = self.random.gen_range(0..self.wire.len());
        let to = usize::from(matches!(self.wire[at], Wire::Answer { .. } | Wire::Push { .. }));
        if !self.is_awake(to) {
            return;
        }
        let Some(wire) = self.wire.remove(at) else { return };
        if self.random.gen_ratio(1, 50) {
            return;
        }
        match wire {
            Wire::Ask { sent } => {
                let session = self.writer.session;
                let granted = self.writer.outbox.grant(session, self.now);
                let granted = granted.then(|| self.writer.outbox.stream());
                self.wire.push_back(Wire::Answer { sent, granted });
            }
            Wire::Answer { sent, granted } if self.reader.asked == Some(sent) => {
                self.reader.asked = None;
                match granted {
                    Some((stream, complete)) => {
                        let effect = self.reader.lease.granted(sent, stream, complete);
                        self.follow(effect);
                    }
                    None => self.reader.lease.withheld(),
                }
            }
            // It was not waited for any more.
            Wire::Answer { .. } => {}
            Wire::Push { stream, base, first, versions } => {
                self.take(stream, base, first, &versions);
                let applied = self.reader.applied;
                self.wire.push_back(Wire::Confirm { stream, applied });
            }
            Wire::Confirm { stream, applied } => self.writer.outbox.confirm(stream, applied),
        }
    }

    fn take(&mut self, stream: u64, base: u64, first: u64, versions: &[u64]) {
        if self.reader.stream != stream {
            (self.reader.stream, self.reader.applied) = (stream, base - 1);
        }
        assert!(first <= self.reader.applied + 1, "nothing is given up here");
        for (number, version) in (first..).zip(versions) {
            self.reader.applied = self.reader.applied.max(number);
            self.reader.known = self.reader.known.max(*version);
        }
    }
}

#[test]
fn r11_a_read_under_a_lease_knows_every_write_that_has_gone_on() {
    let mut reads = 0;
    for seed in 0..RUNS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        reads += world.reads;
        assert!(world.settled > 10, "writes go on: {}", world.settled);
    }
    assert!(reads > RUNS * STEPS as u64 / 4, "leases hold most of the time: {reads}");
}
