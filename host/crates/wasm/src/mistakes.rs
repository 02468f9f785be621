//! The mistakes of a configuration that its plugin tells one at a time.

use std::time::{Duration, Instant};

use deltaforge_engine::error::ConfigError;
use serde_json::Value;

use crate::error::cut;
use crate::instance::Blueprint;

/// Most that are looked for.
const MOST: usize = 20;
/// The search for more ends then: a plugin may take its time to open.
const LONGEST: Duration = Duration::from_secs(1);

/// What `serde` says of a member that does not fit, whatever else is there: taking another one out does not bring it about.
const OF_ONE_MEMBER: [&str; 4] =
    ["unknown field `", "unknown variant `", "invalid type: ", "invalid value: "];

/// The first mistake, with those that are told once the one before is taken out of the configuration.
pub(crate) async fn all(blueprint: &Blueprint, config: &Value, first: ConfigError) -> Vec<ConfigError> {
    let mut config = config.clone();
    let mut all = vec![first];
    let began = Instant::now();
    let goes_on = |all: &[ConfigError]| all.len() < MOST && began.elapsed() < LONGEST;
    while goes_on(&all) && all.last().is_some_and(|told| take_out(&mut config, &told.path)) {
        let Ok(mut instance) = blueprint.instantiate().await else { break };
        let Ok(Err(failure)) = instance.open(&config.to_string()).await else { break };
        let told = ConfigError::told("config", &config, &cut(&failure.message));
        if !OF_ONE_MEMBER.iter().any(|mistake| told.message.contains(mistake)) {
            break;
        }
        all.push(told);
    }
    all
}

/// Takes the member at a path (`config.columns[0].name`) out; false where there is none.
fn take_out(config: &mut Value, path: &str) -> bool {
    let Some(path) = path.strip_prefix("config.") else { return false };
    let steps = path.replace('[', ".").replace(']', "");
    let (above, member) = steps.rsplit_once('.').unwrap_or(("", &steps));
    let mut at = Some(config);
    for step in above.split('.').filter(|step| !step.is_empty()) {
        at = match at {
            Some(Value::Array(items)) => step.parse::<usize>().ok().and_then(|nth| items.get_mut(nth)),
            Some(Value::Object(members)) => members.get_mut(step),
            _ => None,
        };
    }
    at.and_then(Value::as_object_mut).is_some_and(|members| members.remove(member).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_member_at_a_path_is_taken_out() {
        let whole =
            json!({ "columns": [{ "name": "a" }, { "name": "b", "more": { "x": 1 } }], "ops": ["c"] });
        for (path, left) in [
            ("config.ops", json!({ "columns": whole["columns"] })),
            (
                "config.columns[1].more",
                json!({ "columns": [{ "name": "a" }, { "name": "b" }], "ops": ["c"] }),
            ),
            ("config.columns[0].more", Value::Null),
            ("config.ops[0]", Value::Null),
            ("config.columns[9].name", Value::Null),
            ("config", Value::Null),
        ] {
            let mut config = whole.clone();
            let taken = take_out(&mut config, path);
            assert_eq!(
                (taken, config),
                (!left.is_null(), if left.is_null() { whole.clone() } else { left }),
                "{path}"
            );
        }
    }
}
