//! Lexer of filters: words with their positions.

use std::borrow::Cow;

use super::Comparison;
use super::parse::FilterError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word<'a> {
    Open,
    Close,
    And,
    Or,
    Not,
    Compare(Comparison),
    Text(Cow<'a, str>),
}

/// A word and the byte offset at which it begins.
pub(super) type Placed<'a> = (usize, Word<'a>);

/// Operators and parentheses, each before those that are prefixes of it.
const MARKS: [(&str, Word<'static>); 12] = [
    ("&&", Word::And),
    ("||", Word::Or),
    ("<=", Word::Compare(Comparison::AtMost)),
    (">=", Word::Compare(Comparison::AtLeast)),
    ("!=", Word::Compare(Comparison::NotEqual)),
    ("==", Word::Compare(Comparison::Equal)),
    ("=", Word::Compare(Comparison::Equal)),
    ("<", Word::Compare(Comparison::Less)),
    (">", Word::Compare(Comparison::More)),
    ("(", Word::Open),
    (")", Word::Close),
    ("!", Word::Not),
];

/// Splits a filter into its words.
pub(super) fn words(text: &str) -> Result<Vec<Placed<'_>>, FilterError> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if let Some((mark, word)) = MARKS.iter().find(|(mark, _)| rest.starts_with(mark)) {
            words.push((at, word.clone()));
            at += mark.len();
        } else if first == '"' || first == '\'' {
            let (value, length) = quoted(rest, first)
                .ok_or_else(|| FilterError::at(text, at, format!("the {first} is not closed")))?;
            words.push((at, Word::Text(Cow::Owned(value))));
            at += length;
        } else {
            let bare = bare(rest);
            let word = match bare.to_ascii_lowercase().as_str() {
                "and" => Word::And,
                "or" => Word::Or,
                "not" => Word::Not,
                _ => Word::Text(Cow::Borrowed(bare)),
            };
            words.push((at, word));
            at += bare.len();
        }
    }
    Ok(words)
}

/// Returns a quoted value, in which `\` escapes the next character, and its length with the quotes.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            end if end == quote => return Some((value, at + 1)),
            other => value.push(other),
        }
    }
    None
}

/// Returns a word up to white space, a quote, a parenthesis, a comparison, `&&` or `||`. A `!` is part of it, except in
/// `!=`.
fn bare(text: &str) -> &str {
    let ends = |(at, character): &(usize, char)| {
        character.is_whitespace()
            || matches!(character, '(' | ')' | '=' | '<' | '>' | '"' | '\'')
            || ["!=", "&&", "||"].iter().any(|mark| text[*at..].starts_with(mark))
    };
    let end = text.char_indices().find(ends).map_or(text.len(), |(at, _)| at);
    &text[..end]
}
