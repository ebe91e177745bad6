//! Model of two replicas in steps of a few milliseconds, in random orders: messages that are late or lost, processes
//! that are frozen, killed and restarted.
//!
//! The property: a replica serves no version without revalidation that is older than a write that has proceeded at the
//! other. Each considers the other gone by its own observations. A network that is cut both ways for long is not
//! modelled, since nothing can hold then.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::lease::{ANSWER, EVERY, Effect, Failure, Lease, PAUSE_MAX, UNPROMISED_WAIT, WRITE_WAIT};
use super::members::HEAR_OTHERS;
use super::outbox::{Outbox, Session};

const RUNS: u64 = 200;
const STEPS: usize = 6000;

struct Replica {
    session: Session,
    /// Messages to the other replica, and the lease that it grants.
    outbox: Outbox,
    lease: Lease,
    /// The other's stream, and its last applied message.
    stream: u64,
    applied: u64,
    /// The last version that it learned from the other or from the origin.
    known: u64,
    asked: Option<Duration>,
    next_ask: Duration,
    /// A version to write, the number of its message, and the time since which it waits.
    waiting: Option<(u64, u64, Duration)>,
    awake: Duration,
    certain_from: Duration,
    frozen_until: Duration,
    down_until: Duration,
}

/// A message on its way to a replica.
enum Wire {
    Ask { from: Session, sent: Duration },
    Answer { from: Session, sent: Duration, granted: Option<(u64, bool)>, promised: bool },
    Push { stream: u64, base: u64, first: u64, versions: Vec<u64> },
    Confirm { stream: u64, applied: u64 },
}

struct World {
    random: StdRng,
    now: Duration,
    replicas: [Replica; 2],
    wire: VecDeque<(usize, Wire)>,
    /// The last version whose write began, and the last one at the origin.
    begun: u64,
    written: u64,
    next_name: u64,
    /// Numbers of reads without the origin: while the other grants a lease, and while it is gone.
    leased: u64,
    alone: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Duration::from_secs(1);
        Self {
            random: StdRng::seed_from_u64(seed),
            now,
            replicas: [1, 2].map(|name| Replica::new(name, now, 0)),
            wire: VecDeque::new(),
            begun: 0,
            written: 0,
            next_name: 10,
            leased: 0,
            alone: 0,
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(self.random.gen_range(1..8));
        let which = self.random.gen_range(0..2);
        match self.random.gen_range(0..1000) {
            0 => {
                let time = Duration::from_millis(self.random.gen_range(50..4000));
                self.replicas[which].frozen_until = self.now + time;
            }
            1 => self.restart(which),
            _ => {}
        }
        for which in 0..2 {
            let replica = &self.replicas[which];
            if replica.frozen_until.max(replica.down_until) <= self.now {
                // In any order, as a process may resume.
                let mut work = [Self::tick, Self::write, Self::push, Self::ask, Self::read];
                work.rotate_left(self.random.gen_range(0..5));
                for work in work {
                    work(self, which);
                }
            }
        }
        self.deliver();
    }

    /// Kills a replica, and starts another process at the same address after a while, which knows nothing.
    fn restart(&mut self, which: usize) {
        self.next_name += 2;
        let up = self.now + Duration::from_millis(self.random.gen_range(0..2500));
        self.replicas[which] = Replica::new(self.next_name, up, self.written);
        self.replicas[which].down_until = up;
        // Messages on their way are lost with the connections.
        self.wire.clear();
    }

    fn tick(&mut self, which: usize) {
        let (now, written) = (self.now, self.written);
        let replica = &mut self.replicas[which];
        let paused = now.saturating_sub(replica.awake);
        if paused > PAUSE_MAX {
            replica.certain_from = now + HEAR_OTHERS;
            replica.known = replica.known.max(written);
        }
        if paused >= EVERY {
            replica.awake = now;
        }
    }

    fn write(&mut self, which: usize) {
        let now = self.now;
        let replica = &mut self.replicas[which];
        if let Some((version, number, since)) = replica.waiting {
            let confirmed = replica.outbox.is_confirmed(number);
            let gone = replica.lease.is_surely_gone(now) && now >= replica.outbox.lease_end();
            let late = now >= since + WRITE_WAIT
                && (replica.lease.counts_us(now) || now >= since + WRITE_WAIT + UNPROMISED_WAIT);
            if confirmed || gone || late {
                replica.outbox.owe(number);
                replica.waiting = None;
                self.written = self.written.max(version);
                replica.known = replica.known.max(version);
            }
        } else if self.random.gen_ratio(1, 20) {
            self.begun += 1;
            let number = replica.outbox.push(self.begun.to_string().into(), now);
            replica.waiting = Some((self.begun, number, now));
        }
    }

    fn push(&mut self, which: usize) {
        let to = 1 - which;
        let is_push = |(at, wire): &(usize, Wire)| *at == to && matches!(wire, Wire::Push { .. });
        if let Some(batch) = self.replicas[which].outbox.batch()
            && !self.wire.iter().any(is_push)
        {
            let versions = batch.texts.iter().map(|text| text.parse().unwrap()).collect();
            let (stream, base, first) = (batch.stream, batch.base, batch.first);
            self.wire.push_back((to, Wire::Push { stream, base, first, versions }));
        }
    }

    fn ask(&mut self, which: usize) {
        let now = self.now;
        let replica = &mut self.replicas[which];
        if replica.asked.is_some_and(|sent| now >= sent + ANSWER) {
            self.fail(which, Failure::Silent);
        }
        let replica = &mut self.replicas[which];
        if replica.asked.is_none() && now >= replica.next_ask {
            replica.asked = Some(now);
            replica.next_ask = now + EVERY;
            self.wire.push_back((1 - which, Wire::Ask { from: replica.session, sent: now }));
        }
    }

    fn fail(&mut self, which: usize, why: Failure) {
        let replica = &mut self.replicas[which];
        let Some(sent) = replica.asked.take() else { return };
        let effect = replica.lease.failed(why, sent, self.now);
        self.follow(which, effect);
    }

    fn follow(&mut self, which: usize, effect: Effect) {
        if effect == Effect::Confirm {
            let known = &mut self.replicas[which].known;
            *known = self.written.max(*known);
        }
    }

    fn read(&mut self, which: usize) {
        let (now, written) = (self.now, self.written);
        let replica = &mut self.replicas[which];
        let until = replica.lease.certain_until();
        let own = now >= replica.certain_from && now < replica.awake + PAUSE_MAX;
        if !own || now >= until {
            // It revalidates, and caches the version of the origin.
            replica.known = replica.known.max(written);
            return;
        }
        match replica.lease.is_gone() {
            false => self.leased += 1,
            true => self.alone += 1,
        }
        assert!(
            replica.known >= written,
            "version {} at {now:?}, after {written}, by {:?}",
            replica.known,
            replica.lease
        );
    }

    /// Delivers a random message on its way, or loses it.
    fn deliver(&mut self) {
        if self.wire.is_empty() {
            return;
        }
        let at = self.random.gen_range(0..self.wire.len());
        let to = self.wire[at].0;
        if self.replicas[to].frozen_until > self.now {
            return;
        }
        let Some((_, wire)) = self.wire.remove(at) else { return };
        if self.replicas[to].down_until > self.now {
            if let Wire::Ask { sent, .. } = wire
                && self.replicas[1 - to].asked == Some(sent)
            {
                self.fail(1 - to, Failure::Refused);
            }
            return;
        }
        if self.random.gen_ratio(1, 50) {
            return;
        }
        match wire {
            Wire::Ask { from, sent } => self.asked(to, from, sent),
            Wire::Answer { from, sent, granted, promised } => {
                // Otherwise the request has timed out.
                if self.replicas[to].asked == Some(sent) {
                    self.answered(to, from, sent, granted, promised);
                }
            }
            Wire::Push { stream, base, first, versions } => {
                let applied = self.replicas[to].take(stream, base, first, &versions, self.written);
                self.wire.push_back((1 - to, Wire::Confirm { stream, applied }));
            }
            Wire::Confirm { stream, applied } => self.replicas[to].outbox.confirm(stream, applied),
        }
    }

    fn asked(&mut self, which: usize, from: Session, sent: Duration) {
        let replica = &mut self.replicas[which];
        let (mut granted, mut promised) = (None, false);
        if replica.outbox.session() == Some(from) {
            promised = replica.lease.promise(self.now);
            let grants = replica.outbox.grant(from, self.now);
            granted = grants.then(|| replica.outbox.stream());
        }
        if !promised {
            replica.next_ask = self.now;
        }
        let answer = Wire::Answer { from: replica.session, sent, granted, promised };
        self.wire.push_back((1 - which, answer));
    }

    fn answered(
        &mut self,
        which: usize,
        from: Session,
        sent: Duration,
        granted: Option<(u64, bool)>,
        promised: bool,
    ) {
        self.next_name += 2;
        let replica = &mut self.replicas[which];
        replica.asked = None;
        if replica.outbox.met(from, self.next_name)
            && let Some((version, number, _)) = &mut replica.waiting
        {
            *number = replica.outbox.push(version.to_string().into(), self.now);
            replica.outbox.owe(*number);
        }
        replica.lease.promised(sent, promised);
        match granted {
            Some((stream, complete)) => {
                let effect = replica.lease.granted(sent, stream, complete);
                self.follow(which, effect);
            }
            None => replica.lease.withheld(),
        }
    }
}

impl Replica {
    fn new(session: Session, now: Duration, known: u64) -> Self {
        Self {
            session,
            outbox: Outbox::new(session + 1000, true),
            lease: Lease::new(now),
            stream: 0,
            applied: 0,
            known,
            asked: None,
            next_ask: now,
            waiting: None,
            awake: now,
            certain_from: Duration::ZERO,
            frozen_until: Duration::ZERO,
            down_until: Duration::ZERO,
        }
    }

    fn take(&mut self, stream: u64, base: u64, first: u64, versions: &[u64], written: u64) -> u64 {
        if self.stream != stream {
            (self.stream, self.applied) = (stream, base - 1);
        }
        if first > self.applied + 1 {
            // Messages to an earlier process were missed: everything is revalidated.
            self.known = self.known.max(written);
        }
        for (number, version) in (first..).zip(versions) {
            self.applied = self.applied.max(number);
            self.known = self.known.max(*version);
        }
        self.applied
    }
}

#[test]
fn r11_what_is_read_without_the_origin_has_every_write_that_has_gone_on() {
    let (mut leased, mut alone) = (0, 0);
    for seed in 0..RUNS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        leased += world.leased;
        alone += world.alone;
        assert!(world.written > 10, "writes go on: {}", world.written);
    }
    let steps = RUNS * STEPS as u64;
    assert!(leased > steps / 4, "leases hold most of the time: {leased} of {steps}");
    assert!(alone > steps / 100, "and sometimes the other is gone: {alone} of {steps}");
}
