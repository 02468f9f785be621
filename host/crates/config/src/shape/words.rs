//! Types in plain words.

use serde_json::Value;

use crate::path::Step;
use crate::problem::quoted;
use crate::yaml::{Kind, Node, Style};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Nothing,
    Bool,
    Whole,
    Number,
    Text,
    List,
    Block,
}

impl Type {
    /// The types that the keyword `type` of `schema` allows; none when it is silent.
    pub(super) fn of_schema(schema: &Value) -> Vec<Self> {
        let named = |name: &Value| match name.as_str()? {
            "null" => Some(Self::Nothing),
            "boolean" => Some(Self::Bool),
            "integer" => Some(Self::Whole),
            "number" => Some(Self::Number),
            "string" => Some(Self::Text),
            "array" => Some(Self::List),
            "object" => Some(Self::Block),
            _ => None,
        };
        match schema.get("type") {
            Some(Value::Array(names)) => names.iter().filter_map(named).collect(),
            Some(name) => named(name).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The types that `node` has.
    pub(super) fn of_node(node: &Node) -> Vec<Self> {
        match &node.kind {
            Kind::List(_) => vec![Self::List],
            Kind::Map(_) => vec![Self::Block],
            Kind::Broken => Vec::new(),
            Kind::Scalar(scalar) => Self::of_value(&scalar.value),
        }
    }

    pub(super) fn of_value(value: &Value) -> Vec<Self> {
        match value {
            Value::Null => vec![Self::Nothing],
            Value::Bool(_) => vec![Self::Bool],
            Value::Number(number) if number.is_f64() => vec![Self::Number],
            Value::Number(_) => vec![Self::Whole, Self::Number],
            Value::String(_) => vec![Self::Text],
            Value::Array(_) => vec![Self::List],
            Value::Object(_) => vec![Self::Block],
        }
    }
}

/// "a whole number or text".
pub(super) fn type_words(types: &[Type]) -> String {
    let words: Vec<&str> = types
        .iter()
        .filter(|kind| **kind != Type::Nothing || types.len() == 1)
        .map(|kind| match kind {
            Type::Nothing => "nothing",
            Type::Bool => "`true` or `false`",
            Type::Whole => "a whole number",
            Type::Number => "a number",
            Type::Text => "text",
            Type::List => "a list",
            Type::Block => "a block of keys",
        })
        .collect();
    words.join(" or ")
}

/// "text `abc`".
pub(super) fn found_words(node: &Node, hidden: bool) -> String {
    let (kind, shown) = match &node.kind {
        Kind::List(_) => ("a list", None),
        Kind::Map(_) => ("a block of keys", None),
        Kind::Broken => ("nothing", None),
        Kind::Scalar(scalar) => match &scalar.value {
            Value::Null => ("nothing", None),
            Value::String(text) => ("text", Some(text.clone())),
            value => {
                let kind = match value {
                    Value::Bool(_) => "a boolean",
                    Value::Number(number) if number.is_f64() => "a number",
                    _ => "a whole number",
                };
                (kind, Some(scalar.text.clone().unwrap_or_else(|| value.to_string())))
            }
        },
    };
    match shown {
        Some(text) if !hidden => format!("{kind} {}", quoted(&text)),
        _ => kind.to_owned(),
    }
}

/// Whether `node` is a whole number beyond 64 bits.
pub(super) fn is_huge(node: &Node) -> bool {
    let Kind::Scalar(scalar) = &node.kind else { return false };
    scalar.value.is_f64() && scalar.text.as_deref().is_some_and(|text| !text.contains(['.', 'e', 'E']))
}

/// What to write instead of a value of the wrong type.
pub(super) fn type_help(node: &Node, wanted: &[Type], hidden: bool, last: Option<&Step>) -> Option<String> {
    let key = if let Some(Step::Key(key)) = last { key.as_str() } else { "" };
    let Kind::Scalar(scalar) = &node.kind else {
        let items = node.items();
        let one = items.len() == 1 && wanted.contains(&Type::Text);
        return one.then(|| "write the one value without the list".to_owned());
    };
    if scalar.value.is_null() {
        return Some("give it a value, or remove the key".to_owned());
    }
    let text = scalar.value.as_str();
    if wanted.contains(&Type::Text) {
        let written = scalar.text.clone().unwrap_or_else(|| scalar.value.to_string());
        return Some(if hidden { "put it in quotes".to_owned() } else { format!("write `\"{written}\"`") });
    }
    if hidden {
        return None;
    }
    if wanted.contains(&Type::Bool) {
        return match text?.to_lowercase().as_str() {
            "yes" | "on" | "true" | "y" => Some("write `true`".to_owned()),
            "no" | "off" | "false" | "n" => Some("write `false`".to_owned()),
            _ => None,
        };
    }
    if wanted.contains(&Type::Whole) || wanted.contains(&Type::Number) {
        let text = text?;
        let bare = text.replace(['_', ','], "");
        if bare.parse::<f64>().is_ok() {
            let unquoted = if scalar.style == Style::Quoted { " without quotes" } else { "" };
            return Some(format!("write `{bare}`{unquoted}"));
        }
        return quantity(text, key).map(|number| format!("write `{number}`"));
    }
    if wanted.contains(&Type::List) {
        let shown =
            scalar.text.clone().unwrap_or_else(|| text.map_or_else(|| scalar.value.to_string(), quotes));
        return (shown.len() < 80).then(|| format!("write a list: `[{shown}]`"));
    }
    None
}

fn quotes(text: &str) -> String {
    format!("{text:?}")
}

/// The number that `3MB` or `10s` stands for, in the unit that the last word of `key` names.
fn quantity(text: &str, key: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_lowercase();
    let key_unit = key.rsplit('_').next()?;
    let seconds = match unit.as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60),
        "h" | "hour" | "hours" => Some(3_600),
        "d" | "day" | "days" => Some(86_400),
        _ => None,
    };
    let bytes: Option<u64> = match unit.as_str() {
        "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        _ => None,
    };
    match key_unit {
        "bytes" => number.checked_mul(bytes?),
        "mb" => Some(number.checked_mul(bytes?)? >> 20),
        "secs" | "seconds" => number.checked_mul(seconds?),
        "ms" if unit == "ms" => Some(number),
        "ms" => number.checked_mul(seconds?)?.checked_mul(1_000),
        _ => None,
    }
}

/// A description's first sentence, on one line.
pub(super) fn first_sentence(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    match paragraph.split_once(". ") {
        Some((sentence, _)) => format!("{sentence}."),
        None => paragraph,
    }
}
