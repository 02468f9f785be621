//! Which type a plain scalar has: the core schema of YAML 1.2.2, section 10.3.2.

use serde_json::{Number, Value};

/// The value of a scalar without quotes; `None` for an infinity or NaN, which JSON does not have.
pub(crate) fn plain_value(text: &str) -> Option<Value> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_special_float(text) => return None,
        _ => number(text)?.map_or_else(|| Value::String(text.to_owned()), Value::Number),
    })
}

fn is_special_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// `Some(None)` for what is no number, `None` for a number that is too large for any type.
fn number(text: &str) -> Option<Option<Number>> {
    let based = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(Number::from);
    let all = |digits: &str, radix| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if let Some(octal) = text.strip_prefix("0o").filter(|digits| all(digits, 8)) {
        return based(octal, 8).map(Some);
    }
    if let Some(hex) = text.strip_prefix("0x").filter(|digits| all(digits, 16)) {
        return based(hex, 16).map(Some);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if all(unsigned, 10) {
        let whole = text.strip_prefix('+').unwrap_or(text);
        let exact =
            whole.parse::<u64>().map(Number::from).or_else(|_| whole.parse::<i64>().map(Number::from));
        return exact.ok().or_else(|| whole.parse().ok().and_then(Number::from_f64)).map(Some);
    }
    if is_float(unsigned) {
        return text.parse().ok().and_then(Number::from_f64).map(Some);
    }
    Some(None)
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent_ok = exponent.is_none_or(|exponent| {
        let unsigned = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !unsigned.is_empty() && digits(unsigned)
    });
    let mantissa_ok = match mantissa.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty()),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    mantissa_ok && exponent_ok
}
