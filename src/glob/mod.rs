//! Globs over `bucket/key`: the one dialect of rules, purges, warming and identities.
//!
//! | in a glob | matches |
//! |---|---|
//! | `?` | one character but `/` |
//! | `*` | any characters but `/`, none as well |
//! | `**` | any characters, `/` and none as well |
//! | `**/` after a `/` or at the start | any whole segments, none as well: `a/**/b` matches `a/b` |
//! | `[a-z]`, `[!a-z]` | one character in the set, or not in it |
//! | `{a,b}` | one of the alternatives, which may be empty and nested |
//! | `\` | the next character itself |
//!
//! Identities read [`Glob::for_access`], where `**/` has no meaning of its own: `a/**/b` does not match `a/b`. What is
//! granted is then never more than each character says.
//!
//! A match takes time proportional to the length of the text, whatever the glob (`matcher`); the first of many globs
//! that matches is found without trying those that begin otherwise ([`FirstMatch`]).

mod first_match;
mod matcher;
mod parse;

use matcher::Op;

pub use first_match::FirstMatch;
pub use matcher::Text;

/// A compiled glob.
#[derive(Debug, Clone)]
pub struct Glob {
    text: Box<str>,
    /// What every match begins with.
    literal: Box<str>,
    /// What every match ends with, after `literal`.
    tail: Box<str>,
    /// What follows `literal`.
    rest: Box<[Op]>,
    has_inner_stars: bool,
}

/// Why a text is no glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGlob {
    /// More than [`Glob::BYTES_MAX`].
    #[error("is longer than {} bytes", Glob::BYTES_MAX)]
    TooLong,
    /// A `[` without its `]`.
    #[error("has a `[` that is not closed")]
    UnclosedClass,
    /// A range of characters whose end is before its start.
    #[error("has the range `{0}-{1}`, which ends before it starts")]
    InvalidRange(char, char),
    /// A `{` without its `}`.
    #[error("has a `{{` that is not closed")]
    UnclosedBrace,
    /// A `}` without its `{`.
    #[error("has a `}}` that closes nothing")]
    UnopenedBrace,
    /// More than [`Glob::DEPTH_MAX`] braces in each other.
    #[error("has braces nested more than {} deep", Glob::DEPTH_MAX)]
    TooDeep,
    /// A `\` at the end.
    #[error("ends with a `\\` that escapes nothing")]
    DanglingEscape,
}

impl Glob {
    /// Bytes of the longest glob.
    pub const BYTES_MAX: usize = 4096;
    /// The deepest nesting of braces.
    pub const DEPTH_MAX: usize = 8;

    /// Compiles a glob.
    ///
    /// # Errors
    /// [`InvalidGlob`].
    pub fn new(text: &str) -> Result<Self, InvalidGlob> {
        Self::compile(text, true)
    }

    /// Compiles a glob that grants access: `**/` matches no less than the slash that it has.
    ///
    /// # Errors
    /// [`InvalidGlob`].
    pub fn for_access(text: &str) -> Result<Self, InvalidGlob> {
        Self::compile(text, false)
    }

    fn compile(text: &str, whole_segments: bool) -> Result<Self, InvalidGlob> {
        let parsed = parse::parse(text, whole_segments)?;
        let (literal, tail, rest) = matcher::split_literals(parsed.ops);
        let has_inner_stars = parsed.has_inner_stars;
        Ok(Self { text: text.into(), literal, tail, rest, has_inner_stars })
    }

    /// Whether a text has a wildcard, and is meant as a glob. One with nothing but an escape is a key.
    pub fn has_wildcard(text: &str) -> bool {
        text.contains(['*', '?', '[', '{'])
    }

    /// The glob as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What every match begins with.
    pub fn literal(&self) -> &str {
        &self.literal
    }

    /// Whether it matches everything.
    pub fn is_everything(&self) -> bool {
        self.literal.is_empty() && *self.rest == [Op::Any]
    }

    /// Whether whatever follows a match matches too.
    pub fn is_open(&self) -> bool {
        self.rest.last() == Some(&Op::Any)
    }

    /// Whether a `**` stands beside other characters of its segment: before version 0.2 it did not match `/` in rules.
    pub fn has_inner_stars(&self) -> bool {
        self.has_inner_stars
    }

    /// Whether all of the text matches.
    pub fn matches(&self, text: Text<'_>) -> bool {
        let Some(text) = text.strip_prefix(&self.literal) else { return false };
        match &*self.rest {
            [] => text.is_empty(),
            [Op::Any] => true,
            rest => {
                text.len() >= self.tail.len()
                    && text.ends_with(&self.tail)
                    && matcher::run(rest, text) == matcher::End::Matched
            }
        }
    }

    /// Whether the text, or something that begins with it, matches.
    pub fn may_begin_with(&self, text: Text<'_>) -> bool {
        match text.strip_prefix(&self.literal) {
            Some(rest) => matcher::run(&self.rest, rest) != matcher::End::Failed,
            None => {
                let mut literal = self.literal.chars();
                text.chars().all(|c| literal.next() == Some(c))
            }
        }
    }
}

/// Two globs are equal when they are written alike.
impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Glob {}

#[cfg(test)]
mod tests;
