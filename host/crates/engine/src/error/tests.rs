use serde_json::json;

use super::ConfigError;

#[test]
fn what_a_plugin_says_points_at_what_it_names() {
    let config = json!({
        "columns": [{"name": "a", "length": 0}, {"name": "b"}], "topic": "t", "colour": {"name": "red"}, "a.b": 1,
    });
    for (text, path, message) in [
        ("columns[0].length: must be at least 1", "columns[0].length", "must be at least 1"),
        ("columns[1].length: is missing", "columns[1].length", "is missing"),
        ("a.b: is odd", "a.b", "is odd"),
        ("`columns.length` cannot be a number", "columns.length", "`columns.length` cannot be a number"),
        (
            "unknown field `colour`, expected `columns`",
            "colour",
            "unknown field `colour`, expected `columns`",
        ),
        ("unknown field `length`", "columns[0].length", "unknown field `length`"),
        // Which of them?
        ("unknown field `name`", "", "unknown field `name`"),
        ("unknown field `nowhere`", "", "unknown field `nowhere`"),
        ("error: it is broken", "", "error: it is broken"),
        ("topics: at least one", "", "topics: at least one"),
        ("the topic is odd: see there", "", "the topic is odd: see there"),
        ("`x` is no pattern", "", "`x` is no pattern"),
        ("", "", ""),
    ] {
        for block in ["", "config"] {
            let told = ConfigError::told(block, &config, text);
            let dot = if block.is_empty() || path.is_empty() { "" } else { "." };
            let wanted = (format!("{block}{dot}{path}"), message);
            assert_eq!((told.path, told.message.as_str()), wanted, "{text}");
            assert_eq!(told.is_of_key, text.starts_with("unknown") && !path.is_empty(), "{text}");
        }
    }
    assert_eq!(ConfigError::told("config", &json!(null), "columns: none").path, "config");
}

#[test]
fn a_word_that_a_plugin_does_not_know_comes_with_the_one_that_was_meant() {
    let config = json!({ "columns": [{ "action": "redakt", "lenght": 1 }] });
    let told = |text: &str| ConfigError::told("config", &config, text);
    let action =
        told("columns[0].action: unknown variant `redakt`, expected one of `redact`, `hash`, `truncate`");
    assert_eq!((action.path.as_str(), action.is_of_key), ("config.columns[0].action", false));
    assert_eq!(
        action.message,
        "unknown variant `redakt`, expected one of `redact`, `hash`, `truncate`; did you mean `redact`?"
    );
    let length = told("columns[0].lenght: unknown field `lenght`, expected `action` or `length`");
    assert_eq!((length.path.as_str(), length.is_of_key), ("config.columns[0].lenght", true));
    assert!(length.message.ends_with("; did you mean `length`?"), "{}", length.message);
    assert!(
        !told("columns[0].action: unknown variant `x`, expected `redact`").message.contains("did you mean")
    );
}
