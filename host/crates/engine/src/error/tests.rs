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
