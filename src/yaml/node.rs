//! The tree of a YAML document, and the meaning of scalars.

/// A place in a file. Both numbers begin with 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// A node and its place; `at` is `None` for a node that is not from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The place of its first character, if it is of a file.
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

/// A key of a map and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The place of its first character, if it is of a file.
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
    /// Creates a node that is not from a file.
    pub fn new(value: Value) -> Self {
        Self { at: None, value }
    }

    /// Creates a text node that is not from a file.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Value::Scalar { text: text.into(), is_plain: false })
    }

    /// Creates a null node.
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

    /// Whether the value is blank, such as that of a key whose values are all commented out.
    pub(super) fn is_blank(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, is_plain: true } if text.is_empty())
    }

    /// Returns the value of a key; `None`: there is none, or this is not a map.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
            }
            Value::Scalar { .. } | Value::List(_) => None,
        }
    }

    /// Returns an item of a list; `None`: there is none, or this is not a list.
    pub fn item(&self, index: usize) -> Option<&Self> {
        match &self.value {
            Value::List(items) => items.get(index),
            Value::Scalar { .. } | Value::Map(_) => None,
        }
    }

    /// Returns the place of the value of `path` (`rules[0].match`), or of the longest prefix of the path in the tree.
    /// `None`: the tree lacks even the first key, or is not from a file.
    pub fn place_of(&self, path: &str) -> Option<Place> {
        let (mut node, mut at, mut path) = (self, None, path);
        while let Some((below, rest)) = node.step(path) {
            (node, at, path) = (below, below.at, rest);
        }
        at
    }

    /// Returns the node at `path` (`rules[0].match`); `None`: the tree has none.
    pub fn find(&self, path: &str) -> Option<&Self> {
        let (mut node, mut path) = (self, path);
        while !path.is_empty() {
            (node, path) = node.step(path)?;
        }
        Some(node)
    }

    /// Returns the node of the first step of a path, and the rest of the path. A key may contain dots and brackets: the
    /// longest key that exists is taken.
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

    /// Returns the number of nodes in the tree; each 64 bytes of text count as one more.
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

    /// Returns the nesting depth of lists and maps in the tree.
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
        // No number begins otherwise: most scalars end here.
        if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
            return Self::Text(text);
        }
        integer(text).or_else(|| float(text).map(Self::Float)).unwrap_or(Self::Text(text))
    }
}

/// Parses a decimal, `0x`, `0o` or `0b` integer. A leading zero makes it a text, as in a mode or an account number.
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
