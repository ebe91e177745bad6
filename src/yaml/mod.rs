//! Reading of YAML files: from text to a tree of nodes with line and column, and from nodes to any type that serde
//! supports.
//!
//! Every error names the key, as a path such as `rules[0].match`, and the place in the file. A scalar keeps its text as
//! written, so that `0660` is a mode and `123` a name where one is expected.
//!
//! Invariant: the work is bounded by the length of the text. Aliases are followed up to [`ALIASED_NODES_MAX`] copied
//! nodes, nesting ends at [`DEPTH_MAX`]; merge keys (`<<`), tags other than YAML's own, keys that are not text and a
//! second document are refused.

mod compose;
mod deserialize;
mod error;
mod node;

use serde::de::DeserializeOwned;

pub use compose::{ALIASED_NODES_MAX, DEPTH_MAX, parse};
pub use error::Error;
pub use node::{Key, Node, Place, Value};

/// Reads a value from the text of a file; an empty file is read as `null`.
///
/// # Errors
/// The first thing that is wrong.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    from_node(&parse(text)?)
}

/// Reads a value from a node.
///
/// # Errors
/// The first thing that is wrong.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Error> {
    deserialize::from_node(node)
}

#[cfg(test)]
mod tests;
