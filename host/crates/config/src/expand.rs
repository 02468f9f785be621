//! `${NAME}` and `${NAME:-default}`: values from the environment.
//!
//! A name has capital letters, digits and `_` only and begins with no digit. Every other `${…}` is
//! a template over events and stays; so does all that stands in a processor's `inline` script.

use serde_json::Value;

use crate::path::{Path, Step};
use crate::problem::{Code, quoted};
use crate::problems::Problems;
use crate::yaml::{Kind, Node, Style, plain_value};

#[cfg(test)]
mod tests;

/// Most bytes that the variables of one document may bring in.
const MAX_BYTES: usize = 16 << 20;

/// The value of an environment variable, if it is set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces the references in every scalar of `node`; a value that lacks its variable is reported
/// and left out of later checks.
pub(crate) fn expand(node: &mut Node, lookup: Lookup<'_>, problems: &mut Problems) {
    Expander { lookup, problems, path: Path::default(), bytes: 0 }.node(node);
}

struct Expander<'a> {
    lookup: Lookup<'a>,
    problems: &'a mut Problems,
    path: Path,
    bytes: usize,
}

impl Expander<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.kind {
            Kind::List(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    self.path.index(at);
                    self.node(item);
                    self.path.pop();
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    self.path.key(&entry.key);
                    if !is_script(&self.path) {
                        self.node(&mut entry.value);
                    }
                    self.path.pop();
                }
            }
            Kind::Scalar(_) => self.scalar(node),
            Kind::Broken => {}
        }
    }

    fn scalar(&mut self, node: &mut Node) {
        let place = node.place;
        let Kind::Scalar(scalar) = &mut node.kind else { return };
        let Value::String(text) = &scalar.value else { return };
        let mut fault = None;
        let expanded = replace(text, &mut |reference| {
            let value = match reference {
                Reference::Malformed(inside) => {
                    fault = Some((
                        Code::EnvSyntax,
                        format!("{} cannot be read", quoted(&format!("${{{inside}}}"))),
                    ));
                    return None;
                }
                Reference::Variable { name, default } => {
                    let set = (self.lookup)(name);
                    let usable = set.filter(|value| default.is_none() || !value.is_empty());
                    let Some(value) = usable.or_else(|| default.map(str::to_owned)) else {
                        fault = Some((
                            Code::EnvUnset,
                            format!("the environment variable {} is not set", quoted(name)),
                        ));
                        return None;
                    };
                    value
                }
            };
            self.bytes = self.bytes.saturating_add(value.len());
            if self.bytes > MAX_BYTES {
                let message = format!("environment variables bring in more than {MAX_BYTES} bytes");
                fault = Some((Code::TooLarge, message));
                return None;
            }
            Some(value)
        });
        if let Some((code, message)) = fault {
            let help = match code {
                Code::EnvUnset => Some("set it, or write `${NAME:-default}`"),
                Code::EnvSyntax => Some("write `${NAME}` or `${NAME:-default}`; a default holds no `${`"),
                _ => None,
            };
            self.problems.add(&self.path, place, code, message).maybe(help);
            node.kind = Kind::Broken;
            return;
        }
        let Some(Expanded { text, whole }) = expanded else { return };
        scalar.expanded = true;
        // A variable that is the whole of a plain scalar has the type its text would have there.
        let typed = if whole && scalar.style == Style::Plain { plain_value(&text) } else { None };
        match typed {
            Some(value) => {
                scalar.text = Some(text);
                scalar.value = value;
            }
            None => scalar.value = Value::String(text),
        }
    }
}

/// Whether `path` is the script of a processor: `spec.processors[n].inline`.
fn is_script(path: &Path) -> bool {
    let [Step::Key(spec), Step::Key(processors), Step::Index(_), Step::Key(inline)] = path.steps() else {
        return false;
    };
    spec == "spec" && processors == "processors" && inline == "inline"
}

enum Reference<'a> {
    Variable { name: &'a str, default: Option<&'a str> },
    Malformed(&'a str),
}

#[derive(Debug, PartialEq)]
struct Expanded {
    text: String,
    /// Whether the text was one reference and nothing else.
    whole: bool,
}

/// `text` with every reference replaced; `None` when it has none, or when `value` gives none.
fn replace(text: &str, value: &mut dyn FnMut(Reference<'_>) -> Option<String>) -> Option<Expanded> {
    let mut result = String::new();
    let mut rest = text;
    let mut found = 0;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        let inside = &from[2..];
        match reference(inside) {
            Some((reference, length)) => {
                result.push_str(before);
                result.push_str(&value(reference)?);
                found += 1;
                rest = &inside[length..];
            }
            None => {
                result.push_str(&rest[..start + 2]);
                rest = inside;
            }
        }
    }
    if found == 0 {
        return None;
    }
    let whole =
        found == 1 && rest.is_empty() && text.starts_with("${") && text.find('}') == Some(text.len() - 1);
    result.push_str(rest);
    Some(Expanded { text: result, whole })
}

/// The reference at the start of `inside`, which follows `${`, and its length with the `}`.
fn reference(inside: &str) -> Option<(Reference<'_>, usize)> {
    let name_len =
        inside.bytes().take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_').count();
    let (name, rest) = inside.split_at(name_len);
    if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    if rest.starts_with('}') {
        return Some((Reference::Variable { name, default: None }, name_len + 1));
    }
    let default = rest.strip_prefix(":-")?;
    let Some(end) = default.find('}') else {
        return Some((Reference::Malformed(inside), inside.len()));
    };
    let (default, length) = (&default[..end], name_len + 2 + end + 1);
    if default.contains("${") {
        return Some((Reference::Malformed(&inside[..length - 1]), length));
    }
    Some((Reference::Variable { name, default: Some(default) }, length))
}
