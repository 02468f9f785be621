//! What whoever only looks does not see: values of rows, which a pipeline may hide from consumers too.

use deltaforge_config::auth::Role;
use serde_json::Value;

/// What stands where something is hidden.
pub(crate) const HIDDEN: &str = "***";

/// Whether somebody of a role sees values of rows.
pub(crate) fn sees_values(role: Role) -> bool {
    role >= Role::Operator
}

/// Hides the keys up to which copies have got from a position, as every source writes them: lists under `after` and `until`.
pub(crate) fn hide_keys(position: &mut Value) {
    match position {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::Array(keys) if name == "after" || name == "until" => {
                        keys.iter_mut().for_each(|key| *key = HIDDEN.into());
                    }
                    value => hide_keys(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_keys),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_hidden_wherever_a_position_has_them() {
        let range = |key: Value, end: Value| json!({ "after": [key, key], "until": [end] });
        let position = |key: &Value, end: &Value| {
            let job = json!({ "generation": "g", "tables": [{ "table": "t", "ranges": [range(key.clone(), end.clone())] }] });
            json!({ "kind": "mysql", "file": "binlog.1", "pos": 4, "jobs": [job], "fork": { "jobs": [job, { "after": [key] }] } })
        };
        let mut shown = position(&json!({ "text": "6d61696c" }), &json!({ "number": "7" }));
        hide_keys(&mut shown);
        assert_eq!(shown, position(&json!("***"), &json!("***")));
    }
}
