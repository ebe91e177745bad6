//! Operations of a glob, and the automaton that runs them: it follows all alternatives at once, without backtracking.

/// An operation of a glob. Operations run in order, except for jumps and splits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    Char(char),
    /// `?`: one character other than `/`.
    One,
    Class(Class),
    /// `*`: any characters other than `/`.
    Segment,
    /// `**`: any characters.
    Any,
    /// Continues at each of these operations.
    Split(Box<[usize]>),
    Jump(usize),
}

/// `[a-z]`: a set of characters, or all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) negated: bool,
    pub(super) ranges: Box<[(char, char)]>,
}

impl Class {
    fn has(&self, character: char) -> bool {
        let mut ranges = self.ranges.iter();
        ranges.any(|(from, to)| (*from..=*to).contains(&character)) != self.negated
    }
}

/// The text to match, in parts that need not be joined.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    head: &'a str,
    has_slash: bool,
    tail: &'a str,
}

impl<'a> Text<'a> {
    /// Creates a text of one part.
    pub fn new(text: &'a str) -> Self {
        Self { head: "", has_slash: false, tail: text }
    }

    /// Creates the text `bucket/key`.
    pub fn path(bucket: &'a str, key: &'a str) -> Self {
        Self { head: bucket, has_slash: true, tail: key }
    }

    pub(super) fn len(&self) -> usize {
        self.head.len() + usize::from(self.has_slash) + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn chars(self) -> impl Iterator<Item = char> + use<'a> {
        self.head.chars().chain(self.has_slash.then_some('/')).chain(self.tail.chars())
    }

    /// Returns the rest after a prefix, if the text begins with it.
    pub(super) fn strip_prefix(self, prefix: &str) -> Option<Self> {
        if prefix.len() <= self.head.len() {
            return Some(Self { head: self.head.strip_prefix(prefix)?, ..self });
        }
        let mut prefix = prefix.strip_prefix(self.head)?;
        if self.has_slash {
            prefix = prefix.strip_prefix('/')?;
        }
        Some(Self::new(self.tail.strip_prefix(prefix)?))
    }

    pub(super) fn ends_with(&self, suffix: &str) -> bool {
        if suffix.len() <= self.tail.len() {
            return self.tail.ends_with(suffix);
        }
        let head = suffix.strip_suffix(self.tail);
        let head = if self.has_slash { head.and_then(|head| head.strip_suffix('/')) } else { head };
        head.is_some_and(|head| self.head.ends_with(head))
    }
}

/// Splits the literal prefix off the operations, and returns it with the literal suffix, which the remaining operations
/// keep.
pub(super) fn split_literals(ops: Vec<Op>) -> (Box<str>, Box<str>, Box<[Op]>) {
    let literal: String = ops.iter().map_while(character).collect();
    let begun = literal.chars().count();
    let mut rest: Vec<Op> = ops.into_iter().skip(begun).collect();
    let mut last_target = 0;
    for op in &mut rest {
        let targets = match op {
            Op::Split(targets) => &mut **targets,
            Op::Jump(target) => std::slice::from_mut(target),
            _ => continue,
        };
        for target in targets {
            *target -= begun;
            last_target = last_target.max(*target);
        }
    }
    let wildcards = rest.iter().rposition(|op| character(op).is_none()).map_or(0, |at| at + 1);
    let tail = rest[wildcards.max(last_target)..].iter().filter_map(character).collect::<String>();
    (literal.into(), tail.into(), rest.into())
}

fn character(op: &Op) -> Option<char> {
    match op {
        Op::Char(character) => Some(*character),
        _ => None,
    }
}

/// The result of running a glob over a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Matched,
    /// The text does not match, but a longer text with this prefix may.
    Open,
    /// No text with this prefix matches.
    Failed,
}

/// Maximum number of operations of a glob that is matched without an allocation.
const OPS_ON_STACK: usize = 255;
const WORDS_ON_STACK: usize = (OPS_ON_STACK + 1) / 64;

/// Runs the operations over a text, with at most one step for each operation and character.
pub(super) fn run(ops: &[Op], text: Text<'_>) -> End {
    let words = (ops.len() + 1).div_ceil(64);
    if words <= WORDS_ON_STACK {
        run_in(ops, text, &mut [0; WORDS_ON_STACK][..words], &mut [0; WORDS_ON_STACK][..words])
    } else {
        run_in(ops, text, &mut vec![0; words], &mut vec![0; words])
    }
}

fn run_in<'a>(ops: &[Op], text: Text<'_>, mut now: &'a mut [u64], mut next: &'a mut [u64]) -> End {
    let ends_open = ops.last() == Some(&Op::Any);
    reach(ops, now, 0);
    for character in text.chars() {
        if ends_open && is_in(now, ops.len() - 1) {
            return End::Matched;
        }
        next.fill(0);
        for (word, bits) in now.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let at = 64 * word + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                match ops.get(at) {
                    Some(Op::Char(expected)) if *expected == character => reach(ops, next, at + 1),
                    Some(Op::One) if character != '/' => reach(ops, next, at + 1),
                    Some(Op::Class(class)) if class.has(character) => reach(ops, next, at + 1),
                    Some(Op::Segment) if character != '/' => reach(ops, next, at),
                    Some(Op::Any) => reach(ops, next, at),
                    _ => {}
                }
            }
        }
        (now, next) = (next, now);
        if now.iter().all(|bits| *bits == 0) {
            return End::Failed;
        }
    }
    if is_in(now, ops.len()) { End::Matched } else { End::Open }
}

fn is_in(set: &[u64], at: usize) -> bool {
    set[at / 64] & (1 << (at % 64)) != 0
}

/// Adds an operation to a set, and those reachable from it without a character. Each is added once, so that the depth
/// is bounded by their number.
fn reach(ops: &[Op], set: &mut [u64], at: usize) {
    if is_in(set, at) {
        return;
    }
    set[at / 64] |= 1 << (at % 64);
    match ops.get(at) {
        Some(Op::Segment | Op::Any) => reach(ops, set, at + 1),
        Some(Op::Split(ways)) => ways.iter().for_each(|way| reach(ops, set, *way)),
        Some(Op::Jump(target)) => reach(ops, set, *target),
        _ => {}
    }
}
