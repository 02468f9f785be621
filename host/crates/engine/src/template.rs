//! Routing templates: `orders.${source.table}`, `${after.customer_id}`.
//!
//! A path has at most three parts and is looked up in the event as the native envelope shows it.

use deltaforge_model::{Cell, Event, Row, SnapshotMark};
use serde_json::Value;

use crate::suggest::near;

#[cfg(test)]
mod tests;

/// What an event has by itself, besides `transaction.id`, `source.…`, `before.…` and `after.…`.
const PLAIN: [&str; 4] = ["op", "ts_ms", "event_id", "tenant_id"];
/// What `source` has, besides the position, whose name is the connector's own.
const SOURCE: [&str; 8] = ["connector", "version", "name", "db", "table", "schema", "snapshot", "ts_ms"];
/// What a path may begin with.
const ROOTS: [&str; 8] = ["after", "before", "source", "op", "transaction", "ts_ms", "event_id", "tenant_id"];

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Path(Vec<String>),
}

/// A template that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `${` has no `}`.
    #[error("the template has a ${{ without }}")]
    Unclosed,
    /// A path is empty, has an empty part, or more than three parts.
    #[error("the template path ${{{0}}} must have one to three names with dots between")]
    Path(String),
    /// No event ever has a value for a path.
    #[error("the template names ${{{path}}}, which no event has; {help}")]
    Unknown {
        /// The path.
        path: String,
        /// What to write.
        help: String,
    },
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    ///
    /// See [`TemplateError`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let end = rest[start..].find('}').ok_or(TemplateError::Unclosed)? + start;
            let path = &rest[start + 2..end];
            let names: Vec<String> = path.split('.').map(str::to_owned).collect();
            if names.len() > 3 || names.iter().any(|name| name.trim().is_empty()) {
                return Err(TemplateError::Path(path.to_owned()));
            }
            if !can_be(&names) {
                return Err(TemplateError::Unknown { path: path.to_owned(), help: meant(&names) });
            }
            parts.push(Part::Path(names));
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The text, when nothing in it depends on the event.
    pub fn constant(&self) -> Option<&str> {
        match &self.parts[..] {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What does not depend on the event, in parts.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Path(_) => None,
        })
    }

    /// Appends the text for an event.
    ///
    /// # Errors
    ///
    /// The path that the event has no value, or NULL, for.
    pub fn render(&self, event: &Event<'_>, out: &mut String) -> Result<(), String> {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Path(path) => {
                    if lookup(event, path, out) != Found::Text {
                        return Err(path.join("."));
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends the key of an event: the same for all that happens to a row, as long as the values that it is made of stay.
    /// So a value that one image lacks is taken from the other one: `after.id` of a delete is that of the row which is
    /// gone. NULL is empty text, and so is what is not about the row, such as the transaction of a copied one. False: it
    /// names a value of the row, and the event is about none.
    ///
    /// # Errors
    ///
    /// The path of a value that neither image has: one key for all such rows would mean that they are one.
    pub fn render_key(&self, event: &Event<'_>, out: &mut String) -> Result<bool, String> {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Path(path) => {
                    let is_of_row = matches!(path[0].as_str(), "before" | "after");
                    if is_of_row && event.before().is_none() && event.after().is_none() {
                        return Ok(false);
                    }
                    if lookup_for_key(event, path, out) == Found::Nothing && is_of_row {
                        return Err(path.join("."));
                    }
                }
            }
        }
        Ok(true)
    }
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// A text, which was appended.
    Text,
    /// NULL.
    Null,
    /// Nothing, or nothing that has a text: bytes, an array.
    Nothing,
}

/// Whether an event may have a value there.
fn can_be(path: &[String]) -> bool {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    match parts[..] {
        ["source", member] => SOURCE.contains(&member) || near(member, SOURCE).is_none(),
        ["transaction", "id"] | ["before" | "after", _] | ["before" | "after", _, _] => true,
        [name] => PLAIN.contains(&name) || is_environment(name),
        _ => false,
    }
}

/// Whether it names an environment variable, which only pipeline files have the values of: a document that is checked
/// elsewhere still has the name.
fn is_environment(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What to write instead of a path that no event has.
fn meant(path: &[String]) -> String {
    let ask = |parts: &[&str]| format!("did you mean ${{{}}}?", parts.join("."));
    let parts: Vec<&str> = path.iter().map(|part| part.trim()).collect();
    let root = near(parts[0], ROOTS);
    let better = match (root, &parts[1..]) {
        (Some("source"), [member]) => near(member, SOURCE).map(|member| ask(&["source", member])),
        (Some(row @ ("before" | "after")), rest) if !rest.is_empty() => Some(ask(&[&[row], rest].concat())),
        (Some("transaction"), _) => Some(ask(&["transaction", "id"])),
        (Some(plain), _) if PLAIN.contains(&plain) => Some(ask(&[plain])),
        (None, []) => near(parts[0], SOURCE).map(|member| ask(&["source", member])),
        _ => None,
    };
    better.unwrap_or_else(|| {
        "a template may name ${after.COLUMN}, ${before.COLUMN}, ${source.table}, ${source.db}, ${op} and what else \
         stands in the native envelope"
            .to_owned()
    })
}

/// As [`lookup`], in the other image where the one that the path names does not have the value. An update has the value
/// of before still where it logged none of after, but not the other way round.
fn lookup_for_key(event: &Event<'_>, path: &[String], out: &mut String) -> Found {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let (row, column, member) = match parts[..] {
        ["before", column] => (event.before().or(event.after()), column, None),
        ["before", column, member] => (event.before().or(event.after()), column, Some(member)),
        ["after", column] => (logged_after(event, column), column, None),
        ["after", column, member] => (logged_after(event, column), column, Some(member)),
        _ => return lookup(event, path, out),
    };
    cell(event, row, column, member, out)
}

/// The image that has the value of a column after a change.
fn logged_after<'a>(event: &Event<'a>, column: &str) -> Option<Row<'a>> {
    let is_logged = |row: &Row<'a>| {
        event.table().column(column).is_none_or(|at| row.cell(at as usize) != Cell::Unavailable)
    };
    event.after().filter(is_logged).or(event.before())
}

/// Appends the value at a path.
fn lookup(event: &Event<'_>, path: &[String], out: &mut String) -> Found {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let table = event.table();
    match parts[..] {
        ["op"] => out.push_str(event.op().code()),
        ["ts_ms"] | ["source", "ts_ms"] => out.push_str(&(event.ts_us().div_euclid(1000)).to_string()),
        ["event_id"] => out.push_str(&event.id().to_string()),
        ["tenant_id"] => out.push_str(&event.info().tenant),
        ["transaction", "id"] => match event.transaction() {
            Some(transaction) => out.push_str(&transaction.id),
            None => return Found::Nothing,
        },
        ["source", "connector"] => out.push_str(&event.info().connector),
        ["source", "version"] => out.push_str(&event.info().version),
        ["source", "name"] => out.push_str(&event.info().pipeline),
        ["source", "db"] => out.push_str(table.database()),
        ["source", "table"] => out.push_str(table.name()),
        ["source", "schema"] => match table.schema() {
            Some(schema) => out.push_str(schema),
            None => return Found::Nothing,
        },
        ["source", "snapshot"] => out.push_str(match event.snapshot() {
            SnapshotMark::No => return Found::Nothing,
            SnapshotMark::First => "first",
            SnapshotMark::True => "true",
            SnapshotMark::Last => "last",
        }),
        ["source", name] if name == event.info().pos_name => out.push_str(&event.pos().to_string()),
        ["before", column] => return cell(event, event.before(), column, None, out),
        ["after", column] => return cell(event, event.after(), column, None, out),
        ["before", column, member] => return cell(event, event.before(), column, Some(member), out),
        ["after", column, member] => return cell(event, event.after(), column, Some(member), out),
        _ => return Found::Nothing,
    }
    Found::Text
}

fn cell(
    event: &Event<'_>,
    row: Option<Row<'_>>,
    column: &str,
    member: Option<&str>,
    out: &mut String,
) -> Found {
    let Some((row, at)) = row.zip(event.table().column(column)) else { return Found::Nothing };
    match (member, row.cell(at as usize)) {
        (_, Cell::Null) => Found::Null,
        (Some(member), Cell::Json(text)) => json_member(text, member, out),
        (Some(_), _) | (None, Cell::Absent | Cell::Unavailable | Cell::Bytes(_) | Cell::Array(_)) => {
            Found::Nothing
        }
        (None, cell) => {
            let mut json = Vec::new();
            deltaforge_model::json::write_cell(&cell, &mut json);
            let text = String::from_utf8(json).unwrap_or_default();
            match serde_json::from_str::<String>(&text) {
                Ok(inner) => out.push_str(&inner),
                Err(_) => out.push_str(&text),
            }
            Found::Text
        }
    }
}

fn json_member(text: &str, member: &str, out: &mut String) -> Found {
    match serde_json::from_str::<Value>(text).ok().as_ref().and_then(|value| value.get(member)) {
        None => return Found::Nothing,
        Some(Value::Null) => return Found::Null,
        Some(Value::String(text)) => out.push_str(text),
        Some(value) => out.push_str(&value.to_string()),
    }
    Found::Text
}
