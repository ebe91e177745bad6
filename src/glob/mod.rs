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
//! Identities use [`Glob::for_access`], where `**/` has no special meaning: `a/**/b` does not match `a/b`. So a grant
//! never covers more than its characters say.
//!
//! A match takes time proportional to the length of the text, whatever the glob (`matcher`). The first of many globs
//! that matches is found without trying those with another literal prefix ([`FirstMatch`]).

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
    /// Literal prefix of every match.
    literal: Box<str>,
    /// Literal suffix of every match, behind `literal`.
    tail: Box<str>,
    /// Operations behind `literal`.
    rest: Box<[Op]>,
    has_inner_stars: bool,
}

/// The reason for which a text is not a valid glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGlob {
    /// The text is longer than [`Glob::BYTES_MAX`].
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
    /// Braces are nested more than [`Glob::DEPTH_MAX`] deep.
    #[error("has braces nested more than {} deep", Glob::DEPTH_MAX)]
    TooDeep,
    /// A `\` at the end.
    #[error("ends with a `\\` that escapes nothing")]
    DanglingEscape,
}

impl Glob {
    /// Maximum length of a glob, in bytes.
    pub const BYTES_MAX: usize = 4096;
    /// Maximum nesting depth of braces.
    pub const DEPTH_MAX: usize = 8;

    /// Compiles a glob.
    ///
    /// # Errors
    /// [`InvalidGlob`].
    pub fn new(text: &str) -> Result<Self, InvalidGlob> {
        Self::compile(text, true)
    }

    /// Compiles a glob that grants access, in which `**/` matches at least its slash.
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

    /// Whether a text has a wildcard, and so is meant as a glob. A text with only an escape is a key.
    pub fn has_wildcard(text: &str) -> bool {
        text.contains(['*', '?', '[', '{'])
    }

    /// Returns the text of the glob.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the literal prefix of every match.
    pub fn literal(&self) -> &str {
        &self.literal
    }

    /// Whether the glob matches every text.
    pub fn is_everything(&self) -> bool {
        self.literal.is_empty() && *self.rest == [Op::Any]
    }

    /// Whether every text that begins with a match matches, too.
    pub fn is_open(&self) -> bool {
        self.rest.last() == Some(&Op::Any)
    }

    /// Whether a `**` is next to other characters of its segment: before version 0.2 it did not match `/` in rules.
    pub fn has_inner_stars(&self) -> bool {
        self.has_inner_stars
    }

    /// Whether the whole text matches.
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

    /// Whether the text, or a longer text that begins with it, matches.
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

/// Globs are equal if their texts are.
impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Glob {}

#[cfg(test)]
mod tests;
