//! Numbers, texts and lists within their bounds.

use std::cmp::Ordering;
use std::collections::HashSet;

use serde_json::{Map, Number, Value};

use super::Walker;
use crate::problem::{Code, quoted};
use crate::yaml::{Kind, Node};

impl Walker<'_> {
    pub(super) fn scalar_bounds(&mut self, node: &Node, schema: &Map<String, Value>) {
        let Some(value) = node.scalar() else { return };
        let wrong = match value {
            Value::Number(number) => number_bound(number, schema),
            Value::String(text) => text_bound(text, schema),
            _ => None,
        };
        let Some(wrong) = wrong else { return };
        if value == "" {
            self.problems.add(&self.path, node.place, Code::OutOfRange, "the text is empty");
            return;
        }
        let hidden = self.hides(node, &Value::Object(schema.clone()));
        let shown = match value {
            Value::Number(number) if !hidden => quoted(&number.to_string()),
            Value::String(text) if !hidden => quoted(text),
            _ => "the value".to_owned(),
        };
        self.problems.add(&self.path, node.place, Code::OutOfRange, format!("{shown} {wrong}"));
    }

    pub(super) fn list_bounds(&mut self, node: &Node, schema: &Map<String, Value>) {
        let items = node.items();
        let bound = |key| schema.get(key).and_then(Value::as_u64);
        let count = items.len() as u64;
        let message = match (bound("minItems"), bound("maxItems")) {
            (Some(1), _) if count == 0 => "the list is empty; it needs at least one entry".to_owned(),
            (Some(least), _) if count < least => {
                format!("the list has {count} entries; it needs at least {least}")
            }
            (_, Some(most)) if count > most => {
                format!("the list has {count} entries; at most {most} are allowed")
            }
            _ => {
                if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
                    self.unique(items);
                }
                return;
            }
        };
        self.problems.add(&self.path, node.place, Code::OutOfRange, message);
    }

    fn unique(&mut self, items: &[Node]) {
        let mut seen = HashSet::new();
        for (at, item) in items.iter().enumerate() {
            let Kind::Scalar(scalar) = &item.kind else { continue };
            if !seen.insert(scalar.value.to_string()) {
                self.path.index(at);
                self.problems.add(
                    &self.path,
                    item.place,
                    Code::Conflict,
                    "this entry stands in the list twice",
                );
                self.path.pop();
            }
        }
    }
}

fn number_bound(number: &Number, schema: &Map<String, Value>) -> Option<String> {
    let (least, most) = format_bounds(schema.get("format").and_then(Value::as_str));
    let given = |key| schema.get(key).and_then(Value::as_number);
    let least = given("minimum").cloned().or(least);
    let most = given("maximum").cloned().or(most);
    if let Some(least) = least.filter(|least| compare(number, least) == Some(Ordering::Less)) {
        return Some(format!("is too small; the least is {least}"));
    }
    if let Some(most) = most.filter(|most| compare(number, most) == Some(Ordering::Greater)) {
        return Some(format!("is too large; the most is {most}"));
    }
    if let Some(above) = given("exclusiveMinimum").filter(|b| compare(number, b) != Some(Ordering::Greater)) {
        return Some(format!("is too small; it must be above {above}"));
    }
    let below = given("exclusiveMaximum").filter(|b| compare(number, b) != Some(Ordering::Less))?;
    Some(format!("is too large; it must be below {below}"))
}

/// What the integer types hold, by the name the schema gives them.
fn format_bounds(format: Option<&str>) -> (Option<Number>, Option<Number>) {
    match format {
        Some("uint8") => (Some(0.into()), Some(u8::MAX.into())),
        Some("uint16") => (Some(0.into()), Some(u16::MAX.into())),
        Some("uint32") => (Some(0.into()), Some(u32::MAX.into())),
        Some("uint" | "uint64") => (Some(0.into()), Some(u64::MAX.into())),
        Some("int8") => (Some(i8::MIN.into()), Some(i8::MAX.into())),
        Some("int16") => (Some(i16::MIN.into()), Some(i16::MAX.into())),
        Some("int32") => (Some(i32::MIN.into()), Some(i32::MAX.into())),
        Some("int" | "int64") => (Some(i64::MIN.into()), Some(i64::MAX.into())),
        _ => (None, None),
    }
}

fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    let whole = |n: &Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn text_bound(text: &str, schema: &Map<String, Value>) -> Option<String> {
    let bound = |key| schema.get(key).and_then(Value::as_u64);
    let length = text.chars().count() as u64;
    match (bound("minLength"), bound("maxLength")) {
        (Some(least), _) if length < least => Some(format!("is too short; the least is {least} characters")),
        (_, Some(most)) if length > most => Some(format!("is too long; the most is {most} characters")),
        _ => None,
    }
}
