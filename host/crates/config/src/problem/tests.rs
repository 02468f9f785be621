#![allow(clippy::unwrap_used)]

use super::{did_you_mean, listed, quoted};

#[test]
fn a_suggestion_is_near_or_absent() {
    let keys = ["topic", "brokers", "max_events", "required", "type", "id"];
    for (word, expected) in [
        ("topc", Some("topic")),
        ("Brokers", Some("brokers")),
        ("maxEvents", Some("max_events")),
        ("max-events", Some("max_events")),
        ("requierd", Some("required")),
        ("typ", Some("type")),
        ("events", Some("max_events")),
        ("password", None),
        ("x", None),
        ("ip", None),
        ("", None),
    ] {
        assert_eq!(did_you_mean(word, keys), expected, "{word}");
    }
}

#[test]
fn quoted_text_is_one_short_line() {
    assert_eq!(quoted("a\nb"), "`a\u{fffd}b`");
    assert_eq!(quoted(&"x".repeat(500)).chars().count(), 63);
}

#[test]
fn lists_read_as_sentences() {
    assert_eq!(listed(&["a", "b", "c"], "or"), "`a`, `b` or `c`");
    assert_eq!(listed(&["a"], "or"), "`a`");
    assert_eq!(listed::<&str>(&[], "or"), "none");
}
