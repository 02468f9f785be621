//! From one kind of value to another.

use std::borrow::Cow;

use deltaforge_plugin_kit::text_of;
use deltaforge_sdk::{CellKind, Kind, Value, json};

use crate::config::{Target, Unit};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// What a value becomes: `Value::Absent` where there is nothing to change, `None` where it cannot be cast.
pub(crate) fn cast(value: &Value<'_>, to: Target, unit: Option<Unit>) -> Option<Value<'static>> {
    if value.is_nothing() || is_already(value, to) {
        return Some(Value::Absent);
    }
    match to {
        Target::Bool => boolean(value).map(Value::Bool),
        Target::Int => i64::try_from(integer(value, unit)?).ok().map(Value::Int),
        Target::Uint => u64::try_from(integer(value, unit)?).ok().map(Value::UInt),
        Target::Float32 => {
            let float: f32 = number(value)?.parse().ok()?;
            (float.is_finite() || is_named(value)).then_some(Value::Float32(float))
        }
        Target::Float64 => {
            let float: f64 = number(value)?.parse().ok()?;
            (float.is_finite() || is_named(value)).then_some(Value::Float64(float))
        }
        Target::Decimal => decimal(value).map(|text| Value::Decimal(Cow::Owned(text))),
        Target::Text => text(value).map(|text| Value::Text(Cow::Owned(text))),
        Target::Bytes => match value {
            Value::Uuid(bytes) => Some(Value::Bytes(Cow::Owned(bytes.to_vec()))),
            Value::Text(text) | Value::Json(text) | Value::Enum(text) | Value::Set(text) => {
                Some(Value::Bytes(Cow::Owned(text.as_bytes().to_vec())))
            }
            _ => None,
        },
        Target::Date => match value {
            Value::DateTime(micros) | Value::Timestamp(micros) => {
                i32::try_from(micros.div_euclid(DAY)).ok().map(Value::Date)
            }
            _ => read(value, CellKind::Date),
        },
        Target::Time => match value {
            Value::DateTime(micros) | Value::Timestamp(micros) => Some(Value::Time(micros.rem_euclid(DAY))),
            _ => read(value, CellKind::Time),
        },
        Target::Datetime => {
            instant(value, unit).map(Value::DateTime).or_else(|| read(value, CellKind::DateTime))
        }
        Target::Timestamp => {
            instant(value, unit).map(Value::Timestamp).or_else(|| read(value, CellKind::Timestamp))
        }
        Target::Json => match value {
            Value::Text(text) | Value::Enum(text) | Value::Set(text) => {
                let document = serde_json::from_str::<&serde_json::value::RawValue>(text).ok()?;
                Some(Value::Json(Cow::Owned(document.get().to_owned())))
            }
            value => Some(Value::Json(Cow::Owned(value.to_json()))),
        },
        Target::Uuid => match value {
            Value::Bytes(bytes) => <[u8; 16]>::try_from(&bytes[..]).ok().map(Value::Uuid),
            value => read(value, CellKind::Uuid),
        },
    }
}

/// Why an event is rejected. The value is not shown: it may be a secret.
pub(crate) fn refusal(column: &str, value: &Value<'_>, to: Target) -> String {
    let kind = Kind::Of(value.kind()).name();
    format!("cast: {column} holds a value of kind {kind} that is no {}", format!("{to:?}").to_lowercase())
}

fn is_already(value: &Value<'_>, to: Target) -> bool {
    matches!(
        (value, to),
        (Value::Bool(_), Target::Bool)
            | (Value::Int(_), Target::Int)
            | (Value::UInt(_), Target::Uint)
            | (Value::Float32(_), Target::Float32)
            | (Value::Float64(_), Target::Float64)
            | (Value::Decimal(_), Target::Decimal)
            | (Value::Text(_), Target::Text)
            | (Value::Bytes(_), Target::Bytes)
            | (Value::Date(_), Target::Date)
            | (Value::Time(_), Target::Time)
            | (Value::DateTime(_), Target::Datetime)
            | (Value::Timestamp(_), Target::Timestamp)
            | (Value::Json(_), Target::Json)
            | (Value::Uuid(_), Target::Uuid)
    )
}

/// PostgreSQL's spellings, in any case.
fn boolean(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Int(0) | Value::UInt(0) => Some(false),
        Value::Int(1) | Value::UInt(1) => Some(true),
        Value::Text(_) | Value::Json(_) | Value::Enum(_) => match text_of(value)?.to_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn integer(value: &Value<'_>, unit: Option<Unit>) -> Option<i128> {
    match (value, unit) {
        (Value::Bool(value), _) => Some(i128::from(*value)),
        (Value::DateTime(micros) | Value::Timestamp(micros), Some(unit)) => {
            let micros = i128::from(*micros);
            (micros % unit.micros() == 0).then(|| micros / unit.micros())
        }
        // Up to 2^53 a double is the integer that it prints as.
        (Value::Float64(float), _) => {
            (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(*float as i128)
        }
        (Value::Float32(float), _) => {
            (float.fract() == 0.0 && float.abs() <= 16_777_216.0).then_some(*float as i128)
        }
        _ => {
            let digits = decimal(value)?;
            let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
            fraction.bytes().all(|byte| byte == b'0').then(|| whole.parse().ok())?
        }
    }
}

/// The text of a number.
fn number<'v>(value: &'v Value<'_>) -> Option<Cow<'v, str>> {
    match value {
        Value::Int(_) | Value::UInt(_) | Value::Float32(_) | Value::Float64(_) | Value::Json(_) => {
            text_of(value).map(Cow::Owned).filter(|text| is_number(text))
        }
        Value::Decimal(text) | Value::Text(text) | Value::Enum(text) => {
            Some(Cow::Borrowed(&**text)).filter(|text| is_number(text))
        }
        Value::Bool(value) => Some(Cow::Borrowed(if *value { "1" } else { "0" })),
        _ => None,
    }
}

/// Digits with perhaps a sign, a point and an exponent, or what has none: `NaN`, `Infinity`.
fn is_number(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
        || (text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            && text.parse::<f64>().is_ok())
}

/// Whether it says itself that it is no finite number.
fn is_named(value: &Value<'_>) -> bool {
    number(value).is_some_and(|text| matches!(&*text, "NaN" | "Infinity" | "-Infinity"))
}

/// Plain digits: an exponent is written out.
fn decimal(value: &Value<'_>) -> Option<String> {
    let text = number(value)?;
    if matches!(&*text, "NaN" | "Infinity" | "-Infinity") {
        return Some(text.into_owned());
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|e| e.abs() <= 400)?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let point = whole.len() as i32 + exponent;
    let all = format!("{whole}{fraction}");
    let (whole, fraction) = if point <= 0 {
        (String::new(), format!("{}{all}", "0".repeat(point.unsigned_abs() as usize)))
    } else if point as usize >= all.len() {
        (format!("{all}{}", "0".repeat(point as usize - all.len())), String::new())
    } else {
        (all[..point as usize].to_owned(), all[point as usize..].to_owned())
    };
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

fn text(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        Value::Json(_) | Value::Array(_) => text_of(value).or_else(|| Some(value.to_json())),
        _ => text_of(value),
    }
}

/// Microseconds since 1970, of what is a point in time or, with a unit, counts up to one.
fn instant(value: &Value<'_>, unit: Option<Unit>) -> Option<i64> {
    match (value, unit) {
        (Value::DateTime(micros) | Value::Timestamp(micros), _) => Some(*micros),
        (Value::Date(days), _) => i64::from(*days).checked_mul(DAY),
        (_, Some(unit)) => i64::try_from(integer(value, None)?.checked_mul(unit.micros())?).ok(),
        _ => None,
    }
}

/// What a text says that spells such a value.
fn read(value: &Value<'_>, kind: CellKind) -> Option<Value<'static>> {
    let text = match value {
        Value::Text(_) | Value::Json(_) | Value::Enum(_) => text_of(value)?,
        _ => return None,
    };
    let quoted = serde_json::to_string(&text).ok()?;
    let cell = json::cell_from_json(&quoted, Kind::Of(kind)).ok()?;
    let read = Value::from(cell.as_cell()).into_owned();
    (read.kind() == kind).then_some(read)
}

impl Unit {
    fn micros(self) -> i128 {
        match self {
            Self::Seconds => i128::from(SECOND),
            Self::Millis => 1_000,
            Self::Micros => 1,
        }
    }
}
