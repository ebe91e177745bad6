//! Parser of globs, from text to the operations of the matcher.

use super::matcher::{Class, Op};
use super::{Glob, InvalidGlob};

pub(super) struct Parsed {
    pub(super) ops: Vec<Op>,
    /// Whether a `**` is next to other characters of its segment.
    pub(super) has_inner_stars: bool,
}

struct Parser<'a> {
    rest: std::str::Chars<'a>,
    /// The character before `rest`.
    previous: Option<char>,
    ops: Vec<Op>,
    whole_segments: bool,
    has_inner_stars: bool,
}

/// Parses a glob; with `whole_segments`, a `**/` may match the empty text.
pub(super) fn parse(text: &str, whole_segments: bool) -> Result<Parsed, InvalidGlob> {
    if text.len() > Glob::BYTES_MAX {
        return Err(InvalidGlob::TooLong);
    }
    let mut parser = Parser {
        rest: text.chars(),
        previous: None,
        ops: Vec::with_capacity(text.len()),
        whole_segments,
        has_inner_stars: false,
    };
    parser.sequence(0)?;
    match parser.peek() {
        None => Ok(Parsed { ops: parser.ops, has_inner_stars: parser.has_inner_stars }),
        Some(_) => Err(InvalidGlob::UnopenedBrace),
    }
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        self.previous = Some(next);
        Some(next)
    }

    /// Parses up to the end of the text or of an alternative.
    fn sequence(&mut self, depth: usize) -> Result<(), InvalidGlob> {
        while let Some(character) = self.peek() {
            if character == '}' || depth > 0 && character == ',' {
                return Ok(());
            }
            let previous = self.previous;
            self.next();
            match character {
                '*' => self.stars(previous),
                '?' => self.ops.push(Op::One),
                '[' => self.class()?,
                '{' => self.braces(depth + 1)?,
                '\\' => {
                    let escaped = self.next().ok_or(InvalidGlob::DanglingEscape)?;
                    self.ops.push(Op::Char(escaped));
                }
                literal => self.ops.push(Op::Char(literal)),
            }
        }
        Ok(())
    }

    /// Parses a run of stars, after the first.
    fn stars(&mut self, previous: Option<char>) {
        let mut count = 1;
        while self.peek() == Some('*') {
            self.next();
            count += 1;
        }
        if count == 1 {
            self.ops.push(Op::Segment);
            return;
        }
        let starts_segment = matches!(previous, None | Some('/'));
        let ends_segment = matches!(self.peek(), None | Some('/'));
        self.has_inner_stars |= !(starts_segment && ends_segment);
        if self.whole_segments && starts_segment && self.peek() == Some('/') {
            self.next();
            let at = self.ops.len();
            self.ops.extend([Op::Split([at + 1, at + 3].into()), Op::Any, Op::Char('/')]);
        } else {
            self.ops.push(Op::Any);
        }
    }

    /// Parses a class, after its `[`.
    fn class(&mut self) -> Result<(), InvalidGlob> {
        let negated = matches!(self.peek(), Some('!' | '^'));
        if negated {
            self.next();
        }
        let mut ranges: Vec<(char, char)> = Vec::new();
        loop {
            let from = self.next().ok_or(InvalidGlob::UnclosedClass)?;
            if from == ']' && !ranges.is_empty() {
                self.ops.push(Op::Class(Class { negated, ranges: ranges.into() }));
                return Ok(());
            }
            let mut ahead = self.rest.clone();
            let to = match (ahead.next(), ahead.next()) {
                (Some('-'), Some(to)) if to != ']' => {
                    self.next();
                    self.next();
                    to
                }
                _ => from,
            };
            if to < from {
                return Err(InvalidGlob::InvalidRange(from, to));
            }
            ranges.push((from, to));
        }
    }

    /// Parses braces, after the `{`, into a split to each alternative, and a jump from the end of each to the end of
    /// all.
    fn braces(&mut self, depth: usize) -> Result<(), InvalidGlob> {
        if depth > Glob::DEPTH_MAX {
            return Err(InvalidGlob::TooDeep);
        }
        let split = self.ops.len();
        self.ops.push(Op::Split([].into()));
        let (mut ways, mut jumps) = (Vec::new(), Vec::new());
        loop {
            ways.push(self.ops.len());
            self.sequence(depth)?;
            jumps.push(self.ops.len());
            self.ops.push(Op::Jump(0));
            match self.next() {
                Some(',') => {}
                Some(_) => break,
                None => return Err(InvalidGlob::UnclosedBrace),
            }
        }
        let end = self.ops.len();
        self.ops[split] = Op::Split(ways.into());
        for jump in jumps {
            self.ops[jump] = Op::Jump(end);
        }
        Ok(())
    }
}
