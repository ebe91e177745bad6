//! Parser of filters, from words to tests.

use super::field::{Field, Holds};
use super::words::{Placed, Word, words};
use super::{Comparison, Test};
use crate::glob::Glob;

/// Maximum length of a filter, in bytes.
const BYTES_MAX: usize = 2000;
/// Maximum nesting depth of parentheses and negations.
const DEPTH_MAX: usize = 32;

/// The reason for which a text is not a valid filter, and its position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter: at character {at}: {why}")]
pub struct FilterError {
    /// Position in characters, from 1.
    pub at: usize,
    pub why: String,
}

impl FilterError {
    /// Creates an error at a byte offset of `text`.
    pub(super) fn at(text: &str, byte: usize, why: impl Into<String>) -> Self {
        Self { at: text[..byte].chars().count() + 1, why: why.into() }
    }
}

pub(super) fn parse(text: &str) -> Result<Test, FilterError> {
    if text.len() > BYTES_MAX {
        let why = format!("it is longer than {BYTES_MAX} bytes");
        return Err(FilterError { at: BYTES_MAX, why });
    }
    let mut parser = Parser { text, words: words(text)?.into_iter().peekable(), depth: 0 };
    if parser.words.peek().is_none() {
        return Ok(Test::All(Vec::new()));
    }
    let filter = parser.any()?;
    match parser.words.next() {
        None => Ok(filter),
        Some(word) => Err(parser.expected("and, or, or the end", Some(word))),
    }
}

struct Parser<'a> {
    text: &'a str,
    words: std::iter::Peekable<std::vec::IntoIter<Placed<'a>>>,
    depth: usize,
}

impl<'a> Parser<'a> {
    #[allow(clippy::needless_pass_by_value, reason = "a word that was taken ends here")]
    fn expected(&self, what: &str, found: Option<Placed<'a>>) -> FilterError {
        let at = found.as_ref().map_or(self.text.len(), |(at, _)| *at);
        let end = self.text[at..].char_indices().nth(20).map_or(self.text.len(), |(n, _)| at + n);
        let found = match found {
            Some(_) => format!("`{}`", &self.text[at..end]),
            None => "the end".to_owned(),
        };
        FilterError::at(self.text, at, format!("expected {what}, found {found}"))
    }

    fn take(&mut self, wanted: &Word<'_>) -> bool {
        self.words.next_if(|(_, word)| word == wanted).is_some()
    }

    fn any(&mut self) -> Result<Test, FilterError> {
        let mut tests = vec![self.all()?];
        while self.take(&Word::Or) {
            tests.push(self.all()?);
        }
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::Any(tests) })
    }

    fn all(&mut self) -> Result<Test, FilterError> {
        let mut tests = vec![self.not()?];
        while self.take(&Word::And) {
            tests.push(self.not()?);
        }
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::All(tests) })
    }

    fn not(&mut self) -> Result<Test, FilterError> {
        let at = self.words.peek().map_or(self.text.len(), |(at, _)| *at);
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(FilterError::at(self.text, at, "it is nested too deep"));
        }
        let test = if self.take(&Word::Not) {
            Test::Not(Box::new(self.not()?))
        } else if self.take(&Word::Open) {
            let test = self.any()?;
            match self.words.next() {
                Some((_, Word::Close)) => test,
                other => return Err(self.expected("and, or, or `)`", other)),
            }
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(test)
    }

    fn comparison(&mut self) -> Result<Test, FilterError> {
        let (at, name) = match self.words.next() {
            Some((at, Word::Text(name))) => (at, name),
            other => return Err(self.expected("a field, not or `(`", other)),
        };
        let Some((_, field, holds)) = Field::ALL.into_iter().find(|(known, ..)| *known == name)
        else {
            let all = Field::ALL.map(|(name, ..)| name).join(", ");
            return Err(FilterError::at(self.text, at, format!("`{name}` is none of {all}")));
        };
        let (at_mark, comparison) = match self.words.next() {
            Some((at, Word::Compare(comparison))) => (at, comparison),
            other => return Err(self.expected("=, !=, <, <=, > or >=", other)),
        };
        let (at_value, value) = match self.words.next() {
            Some((at, Word::Text(value))) => (at, value),
            other => {
                return Err(self.expected(&format!("a value such as {}", holds.example()), other));
            }
        };
        if holds != Holds::Text {
            let number = holds.number(&value).ok_or_else(|| {
                let why = format!("`{value}` is no number for {name}, such as {}", holds.example());
                FilterError::at(self.text, at_value, why)
            })?;
            return Ok(Test::Number(field, comparison, number));
        }
        let test = match Glob::has_wildcard(&value) {
            false => Test::Is(field, value.into()),
            true => Test::Like(
                field,
                Glob::new(&value).map_err(|wrong| {
                    FilterError::at(self.text, at_value, format!("`{value}` {wrong}"))
                })?,
            ),
        };
        match comparison {
            Comparison::Equal => Ok(test),
            Comparison::NotEqual => Ok(Test::Not(Box::new(test))),
            _ => {
                let why = format!("{name} is a text, and compared with = and != only");
                Err(FilterError::at(self.text, at_mark, why))
            }
        }
    }
}
