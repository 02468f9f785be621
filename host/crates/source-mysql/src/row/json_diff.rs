//! Changes of JSON documents (`binlog_row_value_options = PARTIAL_JSON`), applied to the document as it was.
//!
//! A change is an operation, a path, and for the first two operations a value: 0 replaces the value at the path, 1
//! inserts a member or an element there, 2 removes it (source documentation: `Json_diff`). Only what lies on the paths is taken apart.

use super::json::{Value, Writer};
use crate::bytes::{Bytes, text};
use crate::error::DecodeError;

const WHAT: &str = "a change of a JSON document";
/// Paths lead into documents, which are not deeper than that.
const MAX_LEGS: usize = 128;

/// A document, taken apart where it was changed.
#[derive(Debug)]
enum Node<'a> {
    Whole(Value<'a>),
    Object(Vec<(String, Node<'a>)>),
    Array(Vec<Node<'a>>),
}

/// A step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Leg {
    Member(String),
    Element(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Replace,
    Insert,
    Remove,
}

/// Appends the changed document as text.
pub(super) fn apply(document: &[u8], changes: &[u8], out: &mut String) -> Result<(), DecodeError> {
    let mut root = Node::Whole(Value::document(document));
    let mut bytes = Bytes::new(changes);
    while !bytes.is_empty() {
        let operation = match bytes.u8(WHAT)? {
            0 => Operation::Replace,
            1 => Operation::Insert,
            2 => Operation::Remove,
            other => return Err(DecodeError::corrupt(WHAT, format!("operation {other} is not known"))),
        };
        let path = text(bytes.lenenc_bytes(WHAT)?, WHAT)?;
        let value = match operation {
            Operation::Remove => None,
            _ => Some(Value::document(bytes.lenenc_bytes(WHAT)?)),
        };
        let legs = legs(path).ok_or_else(|| bad_path(path))?;
        change(&mut root, operation, &legs, value).ok_or_else(|| bad_path(path))??;
    }
    let mut writer = Writer::new(document.len() + changes.len(), out);
    write(&root, &mut writer, 0)
}

#[cold]
fn bad_path(path: &str) -> DecodeError {
    let start: String = path.chars().take(80).collect();
    DecodeError::corrupt(WHAT, format!("its path {start} leads nowhere in the document"))
}

/// Does one change; `None` when the path leads nowhere.
fn change<'a>(
    root: &mut Node<'a>,
    operation: Operation,
    legs: &[Leg],
    value: Option<Value<'a>>,
) -> Option<Result<(), DecodeError>> {
    let Some((last, way)) = legs.split_last() else {
        // The document itself: only replaced.
        *root = Node::Whole(value.filter(|_| operation == Operation::Replace)?);
        return Some(Ok(()));
    };
    let mut node = root;
    for leg in way {
        if let Err(error) = node.open() {
            return Some(Err(error));
        }
        node = node.child(leg)?;
    }
    if let Err(error) = node.open() {
        return Some(Err(error));
    }
    let value = value.map(Node::Whole);
    match (operation, node, last) {
        (Operation::Replace, node, leg) => *node.child(leg)? = value?,
        (Operation::Insert, Node::Object(members), Leg::Member(name)) => {
            // The server's order: by length, then byte by byte.
            let order = |known: &str| (known.len(), known.as_bytes()).cmp(&(name.len(), name.as_bytes()));
            match members.binary_search_by(|(known, _)| order(known)) {
                Ok(_) => return None,
                Err(at) => members.insert(at, (name.clone(), value?)),
            }
        }
        (Operation::Insert, Node::Array(elements), Leg::Element(at)) => {
            elements.insert((*at).min(elements.len()), value?);
        }
        (Operation::Remove, Node::Object(members), Leg::Member(name)) => {
            let at = members.iter().position(|(known, _)| known == name)?;
            members.remove(at);
        }
        (Operation::Remove, Node::Array(elements), Leg::Element(at)) if *at < elements.len() => {
            elements.remove(*at);
        }
        _ => return None,
    }
    Some(Ok(()))
}

impl<'a> Node<'a> {
    /// Takes a container apart.
    fn open(&mut self) -> Result<(), DecodeError> {
        let Self::Whole(value) = self else { return Ok(()) };
        let Some(container) = value.container()? else { return Ok(()) };
        let values = (0..container.count).map(|at| container.value(at).map(Node::Whole));
        *self = if container.is_object {
            let members = values.enumerate().map(|(at, value)| Ok((container.name(at)?.to_owned(), value?)));
            Self::Object(members.collect::<Result<_, DecodeError>>()?)
        } else {
            Self::Array(values.collect::<Result<_, _>>()?)
        };
        Ok(())
    }

    fn child(&mut self, leg: &Leg) -> Option<&mut Self> {
        match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => {
                members.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
            }
            (Self::Array(elements), Leg::Element(at)) => elements.get_mut(*at),
            // A value that is no array counts as one of a single element.
            (node @ (Self::Object(_) | Self::Whole(_)), Leg::Element(0)) => Some(node),
            _ => None,
        }
    }
}

fn write(node: &Node<'_>, writer: &mut Writer<'_>, depth: usize) -> Result<(), DecodeError> {
    match node {
        Node::Whole(value) => return writer.value(*value, depth),
        Node::Object(members) => {
            writer.out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                if at > 0 {
                    writer.out.push(',');
                }
                writer.string(name);
                writer.out.push(':');
                write(value, writer, depth + 1)?;
            }
            writer.out.push('}');
        }
        Node::Array(elements) => {
            writer.out.push('[');
            for (at, value) in elements.iter().enumerate() {
                if at > 0 {
                    writer.out.push(',');
                }
                write(value, writer, depth + 1)?;
            }
            writer.out.push(']');
        }
    }
    Ok(())
}

/// The steps of a path such as `$.a[3]."b c"`; `None` when it is none.
fn legs(path: &str) -> Option<Vec<Leg>> {
    let mut rest = path.trim_start().strip_prefix('$')?;
    let mut legs = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(legs);
        }
        if legs.len() == MAX_LEGS {
            return None;
        }
        if let Some(element) = rest.strip_prefix('[') {
            let (number, behind) = element.split_once(']')?;
            legs.push(Leg::Element(number.trim().parse().ok()?));
            rest = behind;
        } else {
            let name = rest.strip_prefix('.')?.trim_start();
            let (name, behind) = if name.starts_with('"') { quoted(name)? } else { bare(name)? };
            legs.push(Leg::Member(name));
            rest = behind;
        }
    }
}

/// A name without quotes, and what stands behind it.
fn bare(text: &str) -> Option<(String, &str)> {
    let len = text.find(['.', '[', ' ']).unwrap_or(text.len());
    let (name, behind) = text.split_at(len);
    (!name.is_empty()).then(|| (name.to_owned(), behind))
}

/// A name in quotes, escaped as a JSON string is, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut units = Vec::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, character)) = chars.next() {
        if character == '\\' {
            let (at, escaped) = chars.next()?;
            if escaped == 'u' {
                units.push(u16::from_str_radix(text.get(at + 1..at + 5)?, 16).ok()?);
                chars.nth(3)?;
                // Half of a pair waits for its other half.
                if let Ok(pair) = String::from_utf16(&units) {
                    name.push_str(&pair);
                    units.clear();
                }
                continue;
            }
            name.push(match escaped {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            });
        } else if character == '"' {
            return units.is_empty().then(|| (name, &text[at + 1..]));
        } else {
            name.push(character);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let member = |name: &str| Leg::Member(name.to_owned());
        assert_eq!(legs("$"), Some(vec![]));
        assert_eq!(legs("$.a[3].\"b c\""), Some(vec![member("a"), Leg::Element(3), member("b c")]));
        assert_eq!(
            legs(r#"$."q\"\u00e9\ud83d\ude00\n"[0]"#),
            Some(vec![member("q\"é😀\n"), Leg::Element(0)])
        );
        for broken in ["", "a", "$x", "$.", "$[", "$[x]", "$[-1]", "$.\"a", r#"$."\u12"#, r#"$."\ud83d""#] {
            assert_eq!(legs(broken), None, "{broken}");
        }
    }
}
