//! Parts of a JSON document, and the values that they are.

use std::borrow::Cow;
use std::fmt;

use deltaforge_sdk::{Kind, Value, json};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The members of a JSON object in order, their values as written; `None`: the text is no object.
pub fn members(text: &str) -> Option<Vec<(String, &str)>> {
    let Members(members) = serde_json::from_str(text).ok()?;
    Some(members.into_iter().map(|(name, value)| (name, value.get())).collect())
}

/// The elements of a JSON array, as written; `None`: the text is none.
pub fn elements(text: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// The value that a part of a JSON document is: strings are texts, numbers integers or doubles where those print as
/// the same digits. Objects, arrays and other numbers stay JSON, digit for digit.
pub fn value_of(raw: &str) -> Value<'static> {
    let raw = raw.trim();
    let keep = || Value::Json(Cow::Owned(raw.to_owned()));
    if raw.starts_with(['{', '[']) {
        return keep();
    }
    let Ok(cell) = json::cell_from_json(raw, Kind::Any) else { return keep() };
    let value = Value::from(cell.as_cell());
    if raw.starts_with('"') || value.to_json() == raw { value.into_owned() } else { keep() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact_or_stay_json() {
        let json = |text: &'static str| Value::Json(text.into());
        for (raw, value) in [
            ("1", Value::Int(1)),
            ("18446744073709551615", Value::UInt(u64::MAX)),
            ("1.5", Value::Float64(1.5)),
            ("1.50", json("1.50")),
            ("1e5", json("1e5")),
            ("-0", json("-0")),
            ("123456789012345678901234567890", json("123456789012345678901234567890")),
            (" true ", Value::Bool(true)),
            ("null", Value::Null),
            (r#""a\u00e9""#, Value::Text("a\u{e9}".into())),
            (r#""\ud800""#, json(r#""\ud800""#)),
            (r#"{"_base64":"3q2+7w=="}"#, json(r#"{"_base64":"3q2+7w=="}"#)),
            (r#"{"_unavailable":true}"#, json(r#"{"_unavailable":true}"#)),
            ("[1]", json("[1]")),
        ] {
            assert_eq!(value_of(raw), value, "{raw}");
        }
    }

    #[test]
    fn members_keep_their_order_and_spelling() {
        assert_eq!(
            members(r#"{"b": 1.0, "a":[ 1 ]}"#),
            Some(vec![("b".into(), "1.0"), ("a".into(), "[ 1 ]")])
        );
        assert_eq!(members("[1]"), None);
        assert_eq!(elements("[1, {}]"), Some(vec!["1", "{}"]));
        assert_eq!(elements("{}"), None);
    }
}
