//! Values as the text that topics, keys and headers are made of.

use deltaforge_sdk::Value;

use crate::document::members;

/// The text of a value, as messages show it without quotes. `None` for what is no single value: NULL and the like,
/// bytes, arrays, JSON objects.
pub fn text_of(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Absent | Value::Null | Value::Unavailable | Value::Bytes(_) | Value::Array(_) => None,
        Value::Decimal(text) | Value::Text(text) | Value::Enum(text) | Value::Set(text) => {
            Some(text.clone().into_owned())
        }
        other => text_of_json(&other.to_json()),
    }
}

/// As [`text_of`], of a part of a JSON document.
pub fn text_of_json(raw: &str) -> Option<String> {
    let raw = raw.trim();
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(raw.to_owned()),
    }
}

/// As [`text_of`], of what lies inside a JSON value at `steps`; no steps: the value itself.
pub fn text_at<'s>(value: &Value<'_>, steps: impl IntoIterator<Item = &'s str>) -> Option<String> {
    let mut steps = steps.into_iter().peekable();
    if steps.peek().is_none() {
        return text_of(value);
    }
    let mut raw = value.as_str()?;
    for step in steps {
        raw = members(raw)?.into_iter().rfind(|(name, _)| name == step)?.1;
    }
    text_of_json(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_values_have_a_text() {
        let json = |text: &'static str| Value::Json(text.into());
        for (value, text) in [
            (Value::Int(42), Some("42")),
            (Value::Bool(true), Some("true")),
            (Value::Text("a\"b".into()), Some("a\"b")),
            (Value::Decimal("1.50".into()), Some("1.50")),
            (Value::Date(0), Some("1970-01-01")),
            (Value::Uuid([0; 16]), Some("00000000-0000-0000-0000-000000000000")),
            (json("\"x\""), Some("x")),
            (json("1.50"), Some("1.50")),
            (json("null"), None),
            (json("{}"), None),
            (json("[1]"), None),
            (Value::Null, None),
            (Value::Absent, None),
            (Value::Unavailable, None),
            (Value::Bytes(b"x"[..].into()), None),
        ] {
            assert_eq!(text_of(&value).as_deref(), text, "{value:?}");
        }
    }

    #[test]
    fn steps_lead_into_json() {
        let value = Value::Json(r#"{"a":{"b":"x","c":7},"n":null}"#.into());
        assert_eq!(text_at(&value, ["a", "b"]).as_deref(), Some("x"));
        assert_eq!(text_at(&value, ["a", "c"]).as_deref(), Some("7"));
        for steps in [&["a"][..], &["n"], &["z"], &["a", "b", "c"]] {
            assert_eq!(text_at(&value, steps.iter().copied()), None, "{steps:?}");
        }
    }
}
