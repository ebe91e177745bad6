//! Filters of requests: `status>=500 and bucket=photos and not (key=tmp/** or seconds<100ms)`.
//!
//! ```text
//!  filter  = and { "or" and }        or as ||
//!  and     = not { "and" not }       or as &&
//!  not     = "not" not | test        or as !
//!  test    = "(" filter ")" | field comparison value
//! ```
//! Texts are compared with `=` and `!=`, and a value with a wildcard is a glob, as in rules; a missing text is empty.
//! Numbers are compared with all six operators, and take units (`1MiB`, `500ms`).

mod field;
mod parse;
mod words;

use crate::glob::{Glob, Text};

use super::request::Seen;
use field::Field;

pub use parse::FilterError;

/// A compiled filter.
#[derive(Debug, Clone)]
pub struct Filter(Test);

#[derive(Debug, Clone)]
enum Test {
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
    Number(Field, Comparison, f64),
    Is(Field, Box<str>),
    Like(Field, Glob),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Filter {
    /// Compiles a filter; an empty one lets everything pass.
    ///
    /// # Errors
    /// [`FilterError`], with the problem and its position.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(Self)
    }

    /// Whether a request passes.
    pub(super) fn passes(&self, seen: &Seen<'_>) -> bool {
        self.0.passes(seen)
    }
}

impl Test {
    fn passes(&self, seen: &Seen<'_>) -> bool {
        match self {
            Self::Any(tests) => tests.iter().any(|test| test.passes(seen)),
            Self::All(tests) => tests.iter().all(|test| test.passes(seen)),
            Self::Not(test) => !test.passes(seen),
            Self::Number(field, comparison, value) => comparison.holds(field.number(seen), *value),
            Self::Is(field, value) => *field.text(seen) == **value,
            Self::Like(field, glob) => glob.matches(Text::new(&field.text(seen))),
        }
    }
}

impl Comparison {
    #[allow(clippy::float_cmp, reason = "both are what was written, or counted")]
    fn holds(self, number: f64, value: f64) -> bool {
        match self {
            Self::Equal => number == value,
            Self::NotEqual => number != value,
            Self::Less => number < value,
            Self::AtMost => number <= value,
            Self::More => number > value,
            Self::AtLeast => number >= value,
        }
    }
}

#[cfg(test)]
mod tests;
