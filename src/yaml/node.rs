//! The tree of a YAML document, and what a scalar means.

/// A place in a file. Both numbers begin with 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// A node and where it begins; `at` is `None` for one that no file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub at: Option<Place>,
    /// Its value.
    pub value: Value,
}

/// The value of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text as it was written, after escapes. A plain one is written without quotes, and may be a number, a boolean
    /// or null.
    Scalar {
        /// The text.
        text: String,
        /// Whether it is written without quotes.
        is_plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order of the file, each key once.
    Map(Vec<(Key, Node)>),
}

/// A key of a map, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where it begins.
    pub at: Option<Place>,
    /// The key.
    pub name: String,
}

/// The meaning of a plain scalar in YAML's core schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Plain<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

impl Node {
    /// A node of no file.
    pub fn new(value: Value) -> Self {
        Self { at: None, value }
    }

    /// A text of no file.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Value::Scalar { text: text.into(), is_plain: false })
    }

    /// Null.
    pub fn null() -> Self {
        Self::new(Value::Scalar { text: String::new(), is_plain: true })
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, is_plain } => *is_plain && Plain::of(text) == Plain::Null,
            Value::List(_) | Value::Map(_) => false,
        }
    }

    /// Whether nothing at all is written: what a key has whose values are all commented out.
    pub(super) fn is_blank(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, is_plain: true } if text.is_empty())
    }

    /// The value of a key; `None` if there is none, or this is no map.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
            }
            Value::Scalar { .. } | Value::List(_) => None,
        }
    }

    /// An item of a list; `None` if there is none, or this is no list.
    pub fn item(&self, index: usize) -> Option<&Self> {
        match &self.value {
            Value::List(items) => items.get(index),
            Value::Scalar { .. } | Value::Map(_) => None,
        }
    }

    /// Where the value of `path` (`rules[0].match`) begins, or the longest part of the path that the tree has.
    /// `None`: it has not even the first key, or that is of no file.
    pub fn place_of(&self, path: &str) -> Option<Place> {
        let (mut node, mut at, mut path) = (self, None, path);
        while let Some((below, rest)) = node.step(path) {
            (node, at, path) = (below, below.at, rest);
        }
        at
    }

    /// The node at `path` (`rules[0].match`); `None` if the tree has none.
    pub fn find(&self, path: &str) -> Option<&Self> {
        let (mut node, mut path) = (self, path);
        while !path.is_empty() {
            (node, path) = node.step(path)?;
        }
        Some(node)
    }

    /// The node that the first step of a path leads to, and the rest of the path. A key may hold dots and brackets: the
    /// longest one that is there is meant.
    fn step<'a, 'p>(&'a self, path: &'p str) -> Option<(&'a Self, &'p str)> {
        match &self.value {
            Value::Scalar { .. } => None,
            Value::List(_) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                Some((self.item(index.parse().ok()?)?, rest))
            }
            Value::Map(entries) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                let is_step = |rest: &&str| rest.is_empty() || rest.starts_with(['.', '[']);
                let steps = entries.iter().filter_map(|(key, node)| {
                    let rest = path.strip_prefix(&*key.name).filter(is_step)?;
                    (!key.name.is_empty()).then_some((node, rest))
                });
                steps.min_by_key(|(_, rest)| rest.len())
            }
        }
    }

    /// The number of nodes in it; 64 bytes of text count as one more.
    pub(super) fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { text, .. } => text.len() / 64,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => {
                let size = |(key, node): &(Key, Self)| 1 + key.name.len() / 64 + node.size();
                entries.iter().map(size).sum()
            }
        }
    }

    /// How deep lists and maps are nested in it.
    pub(super) fn depth(&self) -> usize {
        let below = match &self.value {
            Value::Scalar { .. } => return 0,
            Value::List(items) => items.iter().map(Self::depth).max(),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.depth()).max(),
        };
        1 + below.unwrap_or(0)
    }
}

impl<'a> Plain<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" => return Self::Bool(true),
            "false" | "False" | "FALSE" => return Self::Bool(false),
            _ => {}
        }
        // Of what begins otherwise none is a number: most scalars end here.
        if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
            return Self::Text(text);
        }
        integer(text).or_else(|| float(text).map(Self::Float)).unwrap_or(Self::Text(text))
    }
}

/// Decimal, `0x`, `0o` or `0b`. A leading zero makes a text, as in a mode or an account's number.
fn integer(text: &str) -> Option<Plain<'_>> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, radix) = match digits.get(..2) {
        Some("0x") => (&digits[2..], 16),
        Some("0o") => (&digits[2..], 8),
        Some("0b") => (&digits[2..], 2),
        _ if digits.len() > 1 && digits.starts_with('0') => return None,
        _ => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = u64::from_str_radix(digits, radix).ok()?;
    match is_negative {
        false => Some(Plain::Unsigned(number)),
        true => 0_i64.checked_sub_unsigned(number).map(Plain::Signed),
    }
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if unsigned == text => return Some(f64::NAN),
        _ => {}
    }
    let has_leading_zero = unsigned.len() > 1 && unsigned.bytes().all(|b| b.is_ascii_digit());
    let is_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !is_number || has_leading_zero && unsigned.starts_with('0') {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}
