//! What whoever only looks does not see: values of rows, which a pipeline may hide from consumers too.

use deltaforge_config::auth::Role;
use serde_json::Value;

/// What stands where something is hidden.
pub(crate) const HIDDEN: &str = "***";

/// Whether somebody of a role sees values of rows.
pub(crate) fn sees_values(role: Role) -> bool {
    role >= Role::Operator
}

/// A position as somebody of a role sees it. Every view of one is made with this.
pub(crate) fn position_seen(mut position: Value, role: Role) -> Value {
    if !sees_values(role) {
        hide_keys(&mut position);
    }
    position
}

/// Hides the keys up to which copies have got from a position, as every source writes them: lists under `after` and `until`.
fn hide_keys(position: &mut Value) {
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
        let whole = position(&json!({ "text": "6d61696c" }), &json!({ "number": "7" }));
        assert_eq!(position_seen(whole.clone(), Role::Operator), whole);
        assert_eq!(position_seen(whole, Role::Viewer), position(&json!("***"), &json!("***")));
    }
}
