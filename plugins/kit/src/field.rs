//! The field that a path names, and how it compares with configured values.

use std::borrow::Cow;
use std::cmp::Ordering;

use deltaforge_sdk::{CellKind, Kind, Value, json};
use serde_json::Value as Json;

use crate::decimal;

/// What is found at a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field<'a> {
    /// Nothing, or NULL.
    Nothing,
    /// The source did not log it.
    Unknown,
    /// A cell.
    Cell(Value<'a>),
    /// A part of a JSON cell.
    Part(Json),
}

impl<'a> Field<'a> {
    /// A cell, or what lies inside it at `inside`.
    pub(crate) fn new(cell: Value<'a>, inside: &[String]) -> Self {
        match cell {
            Value::Absent | Value::Null => Self::Nothing,
            Value::Unavailable => Self::Unknown,
            cell if inside.is_empty() => match &cell {
                // Its own kinds of values, as a path into it would find them.
                Value::Json(text) => serde_json::from_str(text).map_or(Self::Nothing, Self::part),
                _ => Self::Cell(cell),
            },
            cell => {
                let found = cell.as_str().and_then(|text| serde_json::from_str::<Json>(text).ok());
                let found = inside.iter().try_fold(found, |at, step| match at? {
                    Json::Object(mut members) => Some(members.remove(step)),
                    Json::Array(mut elements) => {
                        let at = step.parse::<usize>().ok().filter(|at| *at < elements.len())?;
                        Some(Some(elements.swap_remove(at)))
                    }
                    _ => None,
                });
                found.flatten().map_or(Self::Nothing, Self::part)
            }
        }
    }

    fn part(value: Json) -> Self {
        if value.is_null() { Self::Nothing } else { Self::Part(value) }
    }

    /// The text of what messages show as a string.
    pub(crate) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Part(Json::String(text)) => Some(Cow::Borrowed(text)),
            Self::Cell(cell) => match cell.as_str() {
                Some(text) => Some(Cow::Borrowed(text)),
                None => match cell {
                    Value::Date(_)
                    | Value::Time(_)
                    | Value::DateTime(_)
                    | Value::Timestamp(_)
                    | Value::Uuid(_) => Some(Cow::Owned(cell.to_json().trim_matches('"').to_owned())),
                    _ => None,
                },
            },
            _ => None,
        }
    }

    /// The digits of a number.
    fn number(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Part(Json::Number(number)) => Some(Cow::Owned(digits(number))),
            Self::Cell(cell) => match cell {
                Value::Int(v) => Some(Cow::Owned(v.to_string())),
                Value::UInt(v) => Some(Cow::Owned(v.to_string())),
                Value::Float32(v) => Some(Cow::Owned(v.to_string())),
                Value::Float64(v) => Some(Cow::Owned(v.to_string())),
                Value::Decimal(text) => Some(Cow::Borrowed(text)),
                _ => None,
            },
            _ => None,
        }
    }

    /// How the field stands to a configured value; `None`: they do not compare.
    pub(crate) fn compare(&self, value: &Json) -> Option<Ordering> {
        match value {
            Json::Number(number) => decimal::compare(&self.number()?, &digits(number)),
            Json::String(text) => self.compare_text(text),
            Json::Bool(value) => match self {
                Self::Cell(Value::Bool(held)) | Self::Part(Json::Bool(held)) => Some(held.cmp(value)),
                _ => None,
            },
            _ => None,
        }
    }

    fn compare_text(&self, text: &str) -> Option<Ordering> {
        match self {
            Self::Cell(Value::Decimal(held)) => {
                decimal::compare(held, text).or_else(|| (held == text).then_some(Ordering::Equal))
            }
            // Points in time compare as such, however many digits their text has.
            Self::Cell(
                cell @ (Value::Date(_) | Value::Time(_) | Value::DateTime(_) | Value::Timestamp(_)),
            ) => {
                let kind = cell.kind();
                let quoted = Json::from(text).to_string();
                let other = json::cell_from_json(&quoted, Kind::Of(kind)).ok()?;
                Some(instant(cell)?.cmp(&instant(&other.as_cell().into())?))
            }
            _ => Some(self.text()?.as_ref().cmp(text)),
        }
    }

    /// Whether the field is the configured value.
    pub(crate) fn equals(&self, value: &Json) -> bool {
        match (self, value) {
            (Self::Nothing, _) | (_, Json::Null) => matches!((self, value), (Self::Nothing, Json::Null)),
            (Self::Part(held @ (Json::Object(_) | Json::Array(_))), value) => held == value,
            _ => self.compare(value) == Some(Ordering::Equal),
        }
    }

    /// Whether a text has the value inside, or an array or a SET has it as an element.
    pub(crate) fn contains(&self, value: &Json) -> bool {
        match self {
            Self::Part(Json::Array(elements)) => {
                elements.iter().any(|element| Self::Part(element.clone()).equals(value))
            }
            Self::Cell(cell) if cell.kind() == CellKind::Array => {
                // Elements as messages show them.
                let elements: Vec<Json> = serde_json::from_str(&cell.to_json()).unwrap_or_default();
                elements.into_iter().any(|element| Self::part(element).equals(value))
            }
            Self::Cell(Value::Set(labels)) => {
                value.as_str().is_some_and(|value| labels.split(',').any(|label| label == value))
            }
            _ => match (self.text(), value) {
                (Some(text), Json::String(inside)) => text.contains(inside.as_str()),
                (Some(text), Json::Number(inside)) => text.contains(&digits(inside)),
                _ => false,
            },
        }
    }
}

/// Days or microseconds.
fn instant(cell: &Value<'_>) -> Option<i64> {
    match cell {
        Value::Date(days) => Some(i64::from(*days)),
        Value::Time(micros) | Value::DateTime(micros) | Value::Timestamp(micros) => Some(*micros),
        _ => None,
    }
}

/// A JSON number in plain digits, without an exponent.
fn digits(number: &serde_json::Number) -> String {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(value), ..) => value.to_string(),
        (_, Some(value), _) => value.to_string(),
        (.., Some(value)) => value.to_string(),
        _ => number.to_string(),
    }
}
