//! Composition of a tree from a parser's events.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::error::Error;
use super::node::{Key, Node, Place, Value};

/// Maximum number of nodes that all aliases of a document expand to: a few lines could expand to millions.
pub const ALIASED_NODES_MAX: usize = 100_000;
/// Maximum nesting depth of lists and maps.
pub const DEPTH_MAX: usize = 64;

/// Parses the tree of a document; an empty document is null.
///
/// # Errors
/// The first syntax error or unsupported feature.
pub fn parse(text: &str) -> Result<Node, Error> {
    let mut composer =
        Composer { parser: Parser::new_from_str(text), anchors: HashMap::new(), aliased: 0 };
    let mut root = None;
    loop {
        let (event, span) = composer.next()?;
        match event {
            Event::StreamEnd => return Ok(root.unwrap_or_else(Node::null)),
            Event::StreamStart | Event::DocumentEnd => {}
            Event::DocumentStart(..) if root.is_some() => {
                return Err(Error::at(place(span), "", "has more than one document"));
            }
            Event::DocumentStart(..) => {
                let (event, span) = composer.next()?;
                root = Some(composer.node(event, span, &Path::Root, 0)?);
            }
            _ => return Err(unexpected(span)),
        }
    }
}

struct Composer<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    /// Number of nodes that aliases expanded to so far.
    aliased: usize,
}

/// Path of keys and items to a node.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, name) => f.write_str(name),
            Self::Key(above, name) => write!(f, "{above}.{name}"),
            Self::Item(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Error> {
        match self.parser.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(syntax(&error)),
            None => Err(Error::new("ends too early")),
        }
    }

    /// Composes the node that begins with `event`.
    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        path: &Path<'_>,
        depth: usize,
    ) -> Result<Node, Error> {
        let at = place(span);
        let wrong = |problem: &dyn fmt::Display| Error::at(at, path.to_string(), problem);
        if depth > DEPTH_MAX {
            return Err(wrong(&format_args!("is nested more than {DEPTH_MAX} deep")));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = match tag.as_deref().map(core_tag) {
                    None => style == ScalarStyle::Plain,
                    Some(Some("str")) => false,
                    Some(Some("null" | "bool" | "int" | "float")) => true,
                    Some(_) => return Err(wrong(&"has a tag, which is not supported")),
                };
                // The parser returns `~` for a blank value.
                let is_blank = is_plain && span.start.index() == span.end.index();
                let text = if is_blank { String::new() } else { text.into_owned() };
                (anchor, Value::Scalar { text, is_plain })
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_ref(), "seq").map_err(|problem| wrong(&problem))?;
                (anchor, Value::List(self.items(path, depth)?))
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_ref(), "map").map_err(|problem| wrong(&problem))?;
                (anchor, Value::Map(self.entries(path, depth)?))
            }
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    return Err(wrong(&"is an alias of something that contains it"));
                };
                self.aliased += node.size();
                if depth + node.depth() > DEPTH_MAX {
                    return Err(wrong(&format_args!("is nested more than {DEPTH_MAX} deep")));
                }
                if self.aliased > ALIASED_NODES_MAX {
                    return Err(wrong(&format_args!(
                        "its aliases stand for more than {ALIASED_NODES_MAX} values"
                    )));
                }
                return Ok(Node { at: Some(at), value: node.value.clone() });
            }
            _ => return Err(unexpected(span)),
        };
        let node = Node { at: Some(at), value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, path: &Path<'_>, depth: usize) -> Result<Vec<Node>, Error> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(items);
            }
            items.push(self.node(event, span, &Path::Item(path, items.len()), depth + 1)?);
        }
    }

    fn entries(&mut self, path: &Path<'_>, depth: usize) -> Result<Vec<(Key, Node)>, Error> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut names = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            let at = place(span);
            let key = self.node(event, span, path, depth + 1)?;
            let Value::Scalar { text: name, is_plain } = key.value else {
                return Err(Error::at(at, path.to_string(), "has a key that is no text"));
            };
            let below = Path::Key(path, &name);
            if is_plain && name == "<<" {
                let problem = "merge keys are not supported: write the keys out";
                return Err(Error::at(at, below.to_string(), problem));
            }
            if !names.insert(name.clone()) {
                let first = entries.iter().find(|(key, _)| key.name == name);
                let first = first.and_then(|(key, _)| key.at).map_or(0, |first| first.line);
                let problem = format_args!("is written twice, first on line {first}");
                return Err(Error::at(at, below.to_string(), problem));
            }
            let (event, span) = self.next()?;
            let node = self.node(event, span, &below, depth + 1)?;
            entries.push((Key { at: Some(at), name }, node));
        }
    }
}

/// Returns the name of a tag of YAML's core schema.
fn core_tag(tag: &Tag) -> Option<&str> {
    tag.core_suffix()
}

fn check_tag(tag: Option<&Cow<'_, Tag>>, allowed: &str) -> Result<(), &'static str> {
    match tag.map(|tag| core_tag(tag)) {
        None => Ok(()),
        Some(Some(name)) if name == allowed => Ok(()),
        Some(_) => Err("has a tag, which is not supported"),
    }
}

fn place(span: Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

fn syntax(error: &ScanError) -> Error {
    let mark = error.marker();
    let at = Place { line: mark.line(), column: mark.col() + 1 };
    Error::at(at, "", format_args!("is not YAML: {}", error.info()))
}

fn unexpected(span: Span) -> Error {
    Error::at(place(span), "", "is not YAML that is supported")
}
