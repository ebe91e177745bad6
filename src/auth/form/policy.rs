//! The policy document of a form, and the check of the form against its conditions.
//!
//! Source: Amazon S3 API Reference, "POST Policy". Names are compared case-insensitively, values exactly. A condition
//! on a missing field fails, even `starts-with` nothing. Every field needs a condition, and so does the bucket, which
//! is a field of the form through its address.

use std::fmt;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Fields, refusal};
use crate::s3::{BucketName, S3Error};

/// Fields that need no condition; those that begin with `x-ignore-` are not fields at all.
const FREE: [&str; 2] = ["policy", "x-amz-signature"];
const BUCKET: &str = "bucket";

/// Allowed size of a file in bytes, both bounds included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    pub min: u64,
    pub max: u64,
}

/// A parsed policy.
#[derive(Debug)]
pub struct Policy {
    expiration: SystemTime,
    conditions: Vec<Condition>,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    /// Equality as an object, `{"acl": "private"}`.
    Exact(String, String),
    /// A list, `["starts-with", "$key", "a/"]`.
    Of(Vec<Item>),
    /// An invalid object with no property, or several.
    NotOne,
    NotText,
}

#[derive(Debug, PartialEq, Eq)]
enum Item {
    Text(String),
    Number(u64),
    Other,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    expiration: String,
    conditions: Vec<Condition>,
}

impl Policy {
    /// Parses the document in a form's `policy` field.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`.
    pub fn parse(encoded: &str) -> Result<Self, S3Error> {
        let json = STANDARD.decode(encoded);
        let json = json.map_err(|_| refusal::invalid_policy("Invalid Base64 encoding."))?;
        let document: Document =
            serde_json::from_slice(&json).map_err(|_| refusal::invalid_policy("Invalid JSON."))?;
        let expiration = time(&document.expiration).ok_or_else(|| {
            let value = &document.expiration;
            refusal::invalid_policy(format_args!("Invalid 'expiration' value: '{value}'"))
        })?;
        for condition in &document.conditions {
            condition.check_form()?;
        }
        Ok(Self { expiration, conditions: document.conditions })
    }

    /// Checks a form for `bucket` against the policy at `now`. Returns the allowed size of its file.
    ///
    /// # Errors
    /// `AccessDenied`, naming the violated condition.
    pub fn check(
        &self,
        bucket: &BucketName,
        fields: &Fields,
        now: SystemTime,
    ) -> Result<Option<SizeRange>, S3Error> {
        if self.expiration <= now {
            return Err(refusal::against_policy("Policy expired."));
        }
        let value = |name: &str| match name {
            BUCKET => Some(bucket.as_str()),
            name => fields.get(name),
        };
        let mut covered = Vec::with_capacity(self.conditions.len());
        let mut size: Option<SizeRange> = None;
        for condition in &self.conditions {
            match condition.test(value) {
                Some(Tested::Field(name)) => covered.push(name),
                Some(Tested::Size(other)) => {
                    let both = size.unwrap_or(other);
                    let (min, max) = (both.min.max(other.min), both.max.min(other.max));
                    size = Some(SizeRange { min, max });
                }
                None => {
                    let problem = format_args!("Policy Condition failed: {condition}");
                    return Err(refusal::against_policy(problem));
                }
            }
        }
        let named = std::iter::once((BUCKET, BUCKET));
        let named = named.chain(fields.iter().map(|field| (&*field.known_as, &*field.name)));
        for (known_as, name) in named {
            if !FREE.contains(&known_as) && !covered.iter().any(|covered| covered == known_as) {
                return Err(refusal::against_policy(format_args!("Extra input fields: {name}")));
            }
        }
        Ok(size)
    }
}

/// Subject of a satisfied condition.
enum Tested {
    /// A field, by its name in lower case.
    Field(String),
    Size(SizeRange),
}

impl Condition {
    /// Validates the form of the condition.
    fn check_form(&self) -> Result<(), S3Error> {
        let problem = match self {
            Self::Exact(..) => return Ok(()),
            Self::NotOne => {
                "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."
                    .to_owned()
            }
            Self::NotText => "Invalid Simple-Condition: value must be a string.".to_owned(),
            Self::Of(items) => match &**items {
                [] => "Invalid Condition: missing operation identifier.".to_owned(),
                [Item::Text(operator), operands @ ..] => match Operator::of(operator) {
                    None => format!("Invalid Condition: unknown operation '{operator}'."),
                    Some(_) if operands.len() != 2 => {
                        format!("Invalid {operator}: wrong number of arguments.")
                    }
                    Some(_) if operands.contains(&Item::Other) => "Invalid JSON.".to_owned(),
                    Some(_) => return Ok(()),
                },
                _ => "Invalid JSON.".to_owned(),
            },
        };
        Err(refusal::invalid_policy(problem))
    }

    /// Returns the subject of the condition, if it is satisfied; `value` returns the value of a field by its name in
    /// lower case.
    fn test<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Option<Tested> {
        let (operator, name, expected) = match self {
            Self::Exact(name, expected) => (Operator::Eq, name.as_str(), expected.as_str()),
            Self::Of(items) => match &**items {
                [Item::Text(operator), low, high]
                    if Operator::of(operator) == Some(Operator::Range) =>
                {
                    let (min, max) = (low.number()?, high.number()?);
                    return Some(Tested::Size(SizeRange { min, max }));
                }
                [Item::Text(operator), Item::Text(name), Item::Text(expected)] => {
                    (Operator::of(operator)?, name.strip_prefix('$')?, expected.as_str())
                }
                _ => return None,
            },
            Self::NotOne | Self::NotText => return None,
        };
        let name = name.to_ascii_lowercase();
        let value = value(&name)?;
        let holds = match operator {
            Operator::Eq => value == expected,
            // A list of types; values of other fields are no lists, whatever is in them.
            Operator::StartsWith if name == "content-type" => {
                value.split(',').all(|value| value.starts_with(expected))
            }
            Operator::StartsWith => value.starts_with(expected),
            Operator::Range => false,
        };
        holds.then_some(Tested::Field(name))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Eq,
    StartsWith,
    Range,
}

impl Operator {
    fn of(text: &str) -> Option<Self> {
        let known = [
            ("eq", Self::Eq),
            ("starts-with", Self::StartsWith),
            ("content-length-range", Self::Range),
        ];
        known.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, it)| it)
    }
}

impl Item {
    /// Returns an integer, written as a number or in a string.
    fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            Self::Text(_) | Self::Other => None,
        }
    }
}

/// Formats the condition as S3 does in errors: always as a list.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Exact(name, value) => {
                write!(f, "[\"eq\", {}, {}]", quoted(&format!("${name}")), quoted(value))
            }
            Self::Of(items) => {
                let items = items.iter().map(|item| match item {
                    Item::Text(text) => quoted(text),
                    Item::Number(number) => number.to_string(),
                    Item::Other => "?".to_owned(),
                });
                write!(f, "[{}]", items.collect::<Vec<_>>().join(", "))
            }
            Self::NotOne | Self::NotText => f.write_str("?"),
        }
    }
}

/// Parses ISO 8601 in UTC, to the second or finer: `2013-08-01T12:00:00.000Z`.
fn time(text: &str) -> Option<SystemTime> {
    let is_utc = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
    let time = DateTime::parse_from_rfc3339(text).ok().filter(|_| is_utc)?;
    Some(SystemTime::from(time))
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConditionVisitor)
    }
}

struct ConditionVisitor;

impl<'de> Visitor<'de> for ConditionVisitor {
    type Value = Condition;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Condition, A::Error> {
        let first = entries.next_entry::<String, Item>()?;
        let mut more = false;
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            more = true;
        }
        Ok(match first {
            Some((name, Item::Text(value))) if !more => Condition::Exact(name, value),
            Some(_) if !more => Condition::NotText,
            _ => Condition::NotOne,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Condition, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Condition::Of(list))
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl Visitor<'_> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Item, E> {
        Ok(Item::Text(text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Item, E> {
        Ok(Item::Number(number))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Item, E> {
        Ok(Item::Other)
    }
}

#[cfg(test)]
mod tests;
