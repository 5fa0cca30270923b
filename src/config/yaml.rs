//! YAML text to a tree of nodes with their places; the first stage of reading a config.
//!
//! Owns the bounds of the text (bytes, depth, nodes) and refuses what a config has no use for: anchors, aliases, tags,
//! keys that are not plain text, keys given twice, a second document. Variables are filled in here, one scalar at a
//! time. What was refused is in the report and stands in the tree as [`Value::Refused`], so that later stages can go
//! on and stay silent about it.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use super::mistake::{Place, Report, cut};
use super::substitute::{Environment, substitute};

/// Longest config text, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of lists and mappings.
pub const DEPTH_MAX: usize = 32;
/// Most scalars, lists and mappings together.
pub const NODES_MAX: usize = 100_000;

/// One value of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins; an empty value lies where its key does.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the text; no key occurs twice.
    Map(Vec<Entry>),
    /// Something that the report already speaks of.
    Refused,
}

/// A single value.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The text with variables filled in.
    pub text: String,
    /// The text as the config has it.
    pub written: String,
    /// Whether it stands there without quotes, so that YAML would see a number, a boolean or null in it.
    pub plain: bool,
    /// Whether a variable was filled in: such text is never shown.
    pub substituted: bool,
}

impl Scalar {
    /// Whether it is YAML's null: nothing at all, `~` or `null` (YAML 1.2.2, section 10.3.2, core schema).
    pub fn is_null(&self) -> bool {
        let null = matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL");
        self.plain && !self.substituted && null
    }
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key; no variables are filled in.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// Its value.
    pub value: Node,
}

/// Reads `text`. `None`: it is not YAML within our bounds, and the report says why. An empty text is an empty mapping.
pub fn read(text: &str, environment: &Environment<'_>, report: &mut Report) -> Option<Node> {
    read_with(text, Some(environment), report)
}

/// As [`read`], with `${...}` left as it stands: for texts that are no config of ours.
pub fn read_foreign(text: &str, report: &mut Report) -> Option<Node> {
    read_with(text, None, report)
}

fn read_with<'a>(
    text: &'a str,
    environment: Option<&'a Environment<'a>>,
    report: &'a mut Report,
) -> Option<Node> {
    if text.len() > TEXT_BYTES_MAX {
        let found = text.len();
        let text = format!("found {found} bytes; a config may have {TEXT_BYTES_MAX}");
        report.add(Place { line: 1, column: 1 }, "", text);
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        environment,
        report,
        nodes: 0,
    };
    reader.document().ok()
}

/// The path of `key` within `path`.
pub fn join(path: &str, key: &str) -> String {
    let key = cut(key, 128);
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// Reading cannot go on; the report says why.
struct Stop;

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    environment: Option<&'a Environment<'a>>,
    report: &'a mut Report,
    nodes: usize,
}

fn place_of(marker: Marker) -> Place {
    let bounded = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place {
        line: bounded(marker.line()),
        column: bounded(marker.col().saturating_add(1)),
    }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Place), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, .. }))) => Ok((event, place_of(start))),
            Some(Err(error)) => {
                let text = format!("not YAML: {}", error.info());
                self.stop(place_of(*error.marker()), "", &text)
            }
            None => self.stop(Place::default(), "", "not YAML: the text ends too early"),
        }
    }

    fn stop<T>(&mut self, place: Place, path: &str, text: &str) -> Result<T, Stop> {
        self.report.add(place, path, text);
        Err(Stop)
    }

    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(_) if root.is_some() => {
                    return self.stop(place, "", "a second YAML document; allowed is one");
                }
                Event::DocumentStart(_) => {}
                content => root = Some(self.node(content, place, None, "", 0)?),
            }
        }
        let empty = |node: &Node| matches!(&node.value, Value::Scalar(scalar) if scalar.is_null());
        Ok(root.filter(|node| !empty(node)).unwrap_or(Node {
            place: Place { line: 1, column: 1 },
            value: Value::Map(Vec::new()),
        }))
    }

    /// The node that `event` opens. `key_place` is the place of its key, if it has one.
    fn node(
        &mut self,
        event: Event<'a>,
        place: Place,
        key_place: Option<Place>,
        path: &str,
        depth: usize,
    ) -> Result<Node, Stop> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let text = format!("more than {NODES_MAX} values in one config");
            return self.stop(place, path, &text);
        }
        let (anchor, tagged) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag.is_some())
            }
            _ => (0, false),
        };
        if anchor != 0 {
            self.report
                .add(place, path, "anchors (&name) are not allowed");
        }
        if tagged {
            let text = "tags (!name) are not allowed; quote the value if it begins with `!`";
            self.report.add(place, path, text);
        }
        let value = match event {
            Event::Scalar(text, style, ..) => {
                let place = key_place.filter(|_| text.is_empty()).unwrap_or(place);
                let value = self.scalar(text.into_owned(), style, place, path);
                return Ok(Node { place, value });
            }
            Event::SequenceStart(..) => self.list(place, path, depth)?,
            Event::MappingStart(..) => self.map(place, path, depth)?,
            Event::Alias(_) => {
                let text = "aliases (*name) are not allowed; quote the value if it begins with `*`";
                self.report.add(place, path, text);
                Value::Refused
            }
            _ => return self.stop(place, path, "not YAML: a value is missing"),
        };
        Ok(Node { place, value })
    }

    fn scalar(&mut self, written: String, style: ScalarStyle, place: Place, path: &str) -> Value {
        let filled = match self.environment {
            Some(environment) => substitute(&written, environment),
            None => Ok((written.clone(), false)),
        };
        match filled {
            Ok((text, substituted)) => Value::Scalar(Scalar {
                text,
                written,
                plain: style == ScalarStyle::Plain,
                substituted,
            }),
            Err(wrong) => {
                self.report.add(place, path, wrong.to_string());
                Value::Refused
            }
        }
    }

    fn deeper(&mut self, place: Place, path: &str, depth: usize) -> Result<usize, Stop> {
        if depth == DEPTH_MAX {
            let text = format!("nested more than {DEPTH_MAX} deep");
            return self.stop(place, path, &text);
        }
        Ok(depth + 1)
    }

    fn list(&mut self, place: Place, path: &str, depth: usize) -> Result<Value, Stop> {
        let depth = self.deeper(place, path, depth)?;
        let mut items = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::List(items));
            }
            let path = format!("{path}[{}]", items.len());
            items.push(self.node(event, place, None, &path, depth)?);
        }
    }

    fn map(&mut self, place: Place, path: &str, depth: usize) -> Result<Value, Stop> {
        let depth = self.deeper(place, path, depth)?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<String, Place> = HashMap::new();
        loop {
            let (event, key_place) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let key = self.key(event, key_place, path, depth)?;
            let path = join(path, key.as_deref().unwrap_or("?"));
            let (event, place) = self.next()?;
            let value = self.node(event, place, Some(key_place), &path, depth)?;
            let Some(key) = key else { continue };
            if let Some(first) = places.get(&key) {
                let text = format!("given twice; the first is on line {}", first.line);
                self.report.add(key_place, &path, text);
                continue;
            }
            places.insert(key.clone(), key_place);
            entries.push(Entry {
                key,
                place: key_place,
                value,
            });
        }
    }

    /// The text of a key; `None` if it is not one text, which is reported.
    fn key(
        &mut self,
        event: Event<'a>,
        place: Place,
        path: &str,
        depth: usize,
    ) -> Result<Option<String>, Stop> {
        match event {
            Event::Scalar(text, _, 0, None) => Ok(Some(text.into_owned())),
            other => {
                let text = "a key must be a plain text, without anchor, tag or structure";
                self.report.add(place, path, text);
                // Read as a value, so that what belongs to it is out of the way.
                self.node(other, place, None, path, depth)?;
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
