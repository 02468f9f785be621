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

    /// Appends the text for an event.
    ///
    /// # Errors
    ///
    /// The path that the event has no value, or NULL, for; with `lenient` such a path is empty text instead.
    pub fn render(&self, event: &Event<'_>, lenient: bool, out: &mut String) -> Result<(), String> {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Path(path) => {
                    if !lookup(event, path, out) && !lenient {
                        return Err(path.join("."));
                    }
                }
            }
        }
        Ok(())
    }
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

/// Appends the value at a path; false when there is none.
fn lookup(event: &Event<'_>, path: &[String], out: &mut String) -> bool {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let table = event.table();
    match parts[..] {
        ["op"] => out.push_str(event.op().code()),
        ["ts_ms"] | ["source", "ts_ms"] => out.push_str(&(event.ts_us().div_euclid(1000)).to_string()),
        ["event_id"] => out.push_str(&event.id().to_string()),
        ["tenant_id"] => out.push_str(&event.info().tenant),
        ["transaction", "id"] => match event.transaction() {
            Some(transaction) => out.push_str(&transaction.id),
            None => return false,
        },
        ["source", "connector"] => out.push_str(&event.info().connector),
        ["source", "version"] => out.push_str(&event.info().version),
        ["source", "name"] => out.push_str(&event.info().pipeline),
        ["source", "db"] => out.push_str(table.database()),
        ["source", "table"] => out.push_str(table.name()),
        ["source", "schema"] => match table.schema() {
            Some(schema) => out.push_str(schema),
            None => return false,
        },
        ["source", "snapshot"] => out.push_str(match event.snapshot() {
            SnapshotMark::No => return false,
            SnapshotMark::First => "first",
            SnapshotMark::True => "true",
            SnapshotMark::Last => "last",
        }),
        ["source", name] if name == event.info().pos_name => out.push_str(&event.pos().to_string()),
        ["before", column] => return cell(event, event.before(), column, None, out),
        ["after", column] => return cell(event, event.after(), column, None, out),
        ["before", column, member] => return cell(event, event.before(), column, Some(member), out),
        ["after", column, member] => return cell(event, event.after(), column, Some(member), out),
        _ => return false,
    }
    true
}

fn cell(
    event: &Event<'_>,
    row: Option<Row<'_>>,
    column: &str,
    member: Option<&str>,
    out: &mut String,
) -> bool {
    let Some((row, at)) = row.zip(event.table().column(column)) else { return false };
    let cell = row.cell(at as usize);
    if let Some(member) = member {
        let Cell::Json(text) = cell else { return false };
        return match serde_json::from_str::<Value>(text).ok().as_ref().and_then(|value| value.get(member)) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => {
                out.push_str(text);
                true
            }
            Some(value) => {
                out.push_str(&value.to_string());
                true
            }
        };
    }
    match cell {
        Cell::Absent | Cell::Null | Cell::Unavailable => false,
        Cell::Bytes(_) | Cell::Array(_) => false,
        cell => {
            let mut json = Vec::new();
            deltaforge_model::json::write_cell(&cell, &mut json);
            let text = String::from_utf8(json).unwrap_or_default();
            match serde_json::from_str::<String>(&text) {
                Ok(inner) => out.push_str(&inner),
                Err(_) => out.push_str(&text),
            }
            true
        }
    }
}
