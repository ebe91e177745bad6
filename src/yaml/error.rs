//! Errors of reading a value from YAML.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use super::node::{Node, Place, Value};

/// A problem with its key and its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The path of the key, once it is known.
    key: Option<String>,
    at: Option<Place>,
    problem: Box<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    Other(String),
    /// A key that the map may not have.
    UnknownKey {
        name: String,
        expected: &'static [&'static str],
    },
    MissingKey(&'static str),
    /// A value of another type or range: `kind` describes it without its text.
    Value {
        error: &'static str,
        found: String,
        kind: &'static str,
        expected: String,
    },
}

impl Error {
    pub(super) fn new(problem: impl Display) -> Self {
        Self::from(Problem::Other(problem.to_string()))
    }

    pub(super) fn at(at: Place, key: impl Into<String>, problem: impl Display) -> Self {
        Self { key: Some(key.into()), at: Some(at), ..Self::new(problem) }
    }

    /// Adds the key and the place of `node`, if the error has none yet.
    pub(super) fn within(self, path: impl Display, node: &Node) -> Self {
        if self.key.is_some() {
            return self;
        }
        let path = path.to_string();
        let Problem::UnknownKey { name, .. } = &*self.problem else {
            return Self { key: Some(path), at: node.at, ..self };
        };
        let of_key = match &node.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.name == *name),
            Value::Scalar { .. } | Value::List(_) => None,
        };
        let at = of_key.map_or(node.at, |(key, _)| key.at);
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        Self { key: Some(key), at, ..self }
    }

    /// Returns the path of the key, such as `rules[0].match`; `None`: the file as a whole is wrong.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref().filter(|key| !key.is_empty())
    }

    /// Returns the place in the file.
    pub fn place(&self) -> Option<Place> {
        self.at
    }

    /// Returns the problem without key and place.
    pub fn problem(&self) -> String {
        self.problem.describe(true)
    }

    /// Returns the problem without the value that was found, which may be a secret.
    pub fn problem_without_value(&self) -> String {
        self.problem.describe(false)
    }
}

impl Problem {
    fn describe(&self, with_value: bool) -> String {
        match self {
            Self::Other(problem) => problem.clone(),
            Self::UnknownKey { expected: [], .. } => "unknown key".to_owned(),
            Self::UnknownKey { expected, .. } => {
                format!("unknown key, expected one of {}", listed(expected))
            }
            Self::MissingKey(name) => format!("the key `{name}` is missing"),
            Self::Value { kind: "null", .. } => {
                "has no value: give it one, or leave the key out".to_owned()
            }
            Self::Value { error, found, kind, expected } => {
                let found = if with_value { found } else { *kind };
                format!("{error}: {found}, expected {expected}")
            }
        }
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Display for Error {
    /// Writes one line: `rules[0].match: unknown key (line 3, column 5)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = self.key() {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.problem())?;
        match self.at {
            Some(Place { line, column }) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: Display>(problem: T) -> Self {
        Self::new(problem)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        value("invalid type", found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        value("invalid value", found, expected)
    }

    fn unknown_variant(name: &str, expected: &'static [&'static str]) -> Self {
        Self::from(Problem::Value {
            error: "invalid value",
            found: format!("`{name}`"),
            kind: "text",
            expected: format!("one of {}", listed(expected)),
        })
    }

    fn unknown_field(name: &str, expected: &'static [&'static str]) -> Self {
        Self::from(Problem::UnknownKey { name: name.to_owned(), expected })
    }

    fn missing_field(name: &'static str) -> Self {
        Self::from(Problem::MissingKey(name))
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self { key: None, at: None, problem: Box::new(problem) }
    }
}

fn value(error: &'static str, found: Unexpected<'_>, expected: &dyn Expected) -> Error {
    let kind = match found {
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a number",
        Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => "text",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        _ => "something else",
    };
    let described = match found {
        Unexpected::Bool(_)
        | Unexpected::Unsigned(_)
        | Unexpected::Signed(_)
        | Unexpected::Float(_)
        | Unexpected::Str(_) => found.to_string(),
        _ => kind.to_owned(),
    };
    let expected = for_people(&expected.to_string());
    Error::from(Problem::Value { error, found: described, kind, expected })
}

/// Returns an expectation without the names of Rust's types.
fn for_people(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number".to_owned(),
        "i8" | "i16" | "i32" | "i64" => "an integer".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "text".to_owned(),
        "a sequence" => "a list".to_owned(),
        other if other.starts_with("struct ") => "keys below it".to_owned(),
        other => other.to_owned(),
    }
}
