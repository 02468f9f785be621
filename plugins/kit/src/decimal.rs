//! Numbers compared digit by digit, so that neither 2^53 nor a long fraction is rounded away.

use std::cmp::Ordering;

/// A number as `-?digits[.digits]`, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + fraction.len() == 0
            || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: negative && !zero, whole, fraction })
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        let whole = (self.whole.len(), self.whole).cmp(&(other.whole.len(), other.whole));
        whole.then_with(|| self.fraction.cmp(other.fraction))
    }
}

/// Compares two numbers in plain digits; `None` when one is no such thing (`NaN`).
pub(crate) fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (Parts::of(a)?, Parts::of(b)?);
    Some(match (a.negative, b.negative) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => a.magnitude(&b),
        (true, true) => b.magnitude(&a),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_decide() {
        for (a, b, order) in [
            ("10", "9.99", Ordering::Greater),
            ("1.50", "1.5", Ordering::Equal),
            ("-0", "0.00", Ordering::Equal),
            ("-2", "-10", Ordering::Greater),
            ("0.1", "0.09", Ordering::Greater),
            ("007", "7", Ordering::Equal),
            ("9007199254740993", "9007199254740992.0", Ordering::Greater),
        ] {
            assert_eq!(compare(a, b), Some(order), "{a} {b}");
            assert_eq!(compare(b, a), Some(order.reverse()), "{b} {a}");
        }
        assert_eq!(compare("NaN", "1"), None);
        assert_eq!(compare(".", "1"), None);
    }
}
