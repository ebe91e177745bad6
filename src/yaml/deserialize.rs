//! Deserialization of a tree to any type that serde supports.

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::{Deserializer, forward_to_deserialize_any};

use super::compose::Path;
use super::error::Error;
use super::node::{Key, Node, Plain, Value};

pub(super) fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Error> {
    let reader = Reader { node, path: &Path::Root };
    T::deserialize(reader).map_err(|error| error.within(Path::Root, node))
}

/// A node and its path.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    path: &'a Path<'a>,
}

impl Reader<'_> {
    /// Deserializes a value below this node.
    fn below<'de, T: DeserializeSeed<'de>>(
        node: &Node,
        path: &Path<'_>,
        seed: T,
    ) -> Result<T::Value, Error> {
        let reader = Reader { node, path };
        seed.deserialize(reader).map_err(|error| error.within(path, node))
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match &self.node.value {
            Value::List(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
            Value::Scalar { text, is_plain: false } => Unexpected::Str(text),
            Value::Scalar { text, is_plain: true } => match Plain::of(text) {
                Plain::Null => Unexpected::Unit,
                Plain::Bool(value) => Unexpected::Bool(value),
                Plain::Unsigned(value) => Unexpected::Unsigned(value),
                Plain::Signed(value) => Unexpected::Signed(value),
                Plain::Float(value) => Unexpected::Float(value),
                Plain::Text(text) => Unexpected::Str(text),
            },
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::List(items) => {
                visitor.visit_seq(Items { rest: items.iter(), path: self.path, index: 0 })
            }
            Value::Map(entries) => {
                visitor.visit_map(Entries { rest: entries.iter(), path: self.path, value: None })
            }
            Value::Scalar { text, is_plain: false } => visitor.visit_str(text),
            Value::Scalar { text, is_plain: true } => match Plain::of(text) {
                Plain::Null => visitor.visit_unit(),
                Plain::Bool(value) => visitor.visit_bool(value),
                Plain::Unsigned(value) => visitor.visit_u64(value),
                Plain::Signed(value) => visitor.visit_i64(value),
                Plain::Float(value) => visitor.visit_f64(value),
                Plain::Text(text) => visitor.visit_str(text),
            },
        }
    }

    /// Accepts any scalar where a text is expected.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar { text, .. } => visitor.visit_str(text),
            Value::List(_) | Value::Map(_) => Err(Error::invalid_type(self.unexpected(), &visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// Accepts a blank value as an empty list: its items may be commented out.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.is_blank() {
            true => visitor.visit_seq(Items { rest: [].iter(), path: self.path, index: 0 }),
            false => self.deserialize_any(visitor),
        }
    }

    /// Accepts a blank value as a map without keys: they may be commented out. Refuses a list, though serde's structs
    /// would take one.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            _ if self.node.is_blank() => {
                visitor.visit_map(Entries { rest: [].iter(), path: self.path, value: None })
            }
            Value::List(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            Value::Scalar { .. } | Value::Map(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar { text, .. } => visitor.visit_enum(Variant(text)),
            Value::List(_) | Value::Map(_) => {
                let expected = format!("one of `{}`", variants.join("`, `"));
                Err(Error::invalid_type(self.unexpected(), &expected.as_str()))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct identifier ignored_any
    }
}

struct Items<'a> {
    rest: std::slice::Iter<'a, Node>,
    path: &'a Path<'a>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        let path = Path::Item(self.path, self.index);
        self.index += 1;
        Reader::below(node, &path, seed).map(Some)
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, (Key, Node)>,
    path: &'a Path<'a>,
    /// The entry that was read last.
    value: Option<&'a (Key, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.value = self.rest.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let name: StrDeserializer<'_, Error> = key.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let (key, node) = self.value.expect("serde asks for a value after its key");
        Reader::below(node, &Path::Key(self.path, &key.name), seed)
    }
}

/// An enum variant without a value, the only kind in configurations.
struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(de::Error::custom("takes a value"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("takes values"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(de::Error::custom("takes keys"))
    }
}
