//! What swaps and histories look like.

use deltaforge_config::Catalog;
use deltaforge_config::auth::Role;
use deltaforge_engine::Swapped;
use deltaforge_engine::stage::StageCode;
use deltaforge_engine::status::position_json;
use deltaforge_engine::swap::{Generation, Part, SwapKind};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::hidden::position_seen;
use crate::view::{redacted, rfc3339};

/// What a processor or an envelope ran from some position on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GenerationView {
    /// Grows with every swap.
    generation: u64,
    /// How it came into its place: `start` (a start of the pipeline found none yet, or a changed block or file), `deploy`, `follow`,
    /// `rollback`, `automatic_rollback`; left out for what an earlier host stored when it was asked for one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "deploy")]
    kind: Option<SwapKind>,
    /// What ran.
    #[schema(example = "mask@1.1.0")]
    plugin: String,
    /// SHA-256 of its code, hex.
    digest: String,
    /// SHA-256 of its configuration as it is shown, with `***` for secrets and its keys in order, hex: two that differ in
    /// nothing but a secret have one.
    config_digest: String,
    /// Events after this position passed it; null: all events.
    #[schema(value_type = Object)]
    position: Option<Value>,
    /// When it was stored.
    at: String,
    /// Who put it in place; `deltaforge`: the host itself.
    by: String,
    /// What for.
    why: String,
    /// So many batches it had yet to be judged by when it ran last.
    probation: u32,
    /// The generation that did worse, so that this one was put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    instead_of: Option<u64>,
}

impl GenerationView {
    /// As somebody of a role sees it.
    pub fn of(one: Generation, part: Part, catalog: &Catalog, role: Role) -> Self {
        let shown = redacted(part, &StageCode::of_text(&one.code), &one.config, catalog);
        Self {
            kind: one.kind(),
            position: one.from().map(|at| position_seen(position_json(&at), role)),
            generation: one.generation,
            plugin: one.version.plugin,
            digest: one.version.digest,
            config_digest: digest_of(&shown),
            at: rfc3339(one.at_ms),
            by: one.note.by,
            why: one.note.why,
            probation: one.probation,
            instead_of: one.instead_of,
        }
    }
}

/// What a swap did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SwapAnswer {
    /// What ran before.
    #[schema(example = "mask@1.0.0")]
    pub previous: String,
    /// What runs now.
    #[schema(example = "mask@1.1.0")]
    pub current: String,
    /// `deploy` or `rollback`.
    #[schema(value_type = Option<String>, example = "deploy")]
    kind: Option<SwapKind>,
    /// SHA-256 of the code that ran before, hex.
    previous_digest: String,
    /// SHA-256 of the code that runs now, hex.
    pub current_digest: String,
    /// Whether the configuration is another one.
    config_changed: bool,
    /// Whether the request brought none, so that the one before stays.
    config_kept: bool,
    /// Grows with every swap.
    pub generation: u64,
    /// Events after this position pass what runs now; null: all events.
    #[schema(value_type = Object)]
    position: Option<Value>,
    /// When it was stored.
    swapped_at: String,
    /// How long the stream stood still for it, milliseconds.
    #[schema(example = 1.5)]
    pause_ms: f64,
    /// So many batches it is judged by before anything of them leaves. If it does worse than what ran before, that is
    /// put back; the history and the pipeline's status tell.
    probation: u32,
    /// What a rollback would put back now: what proved itself last before this. After a rollback that is what was taken back, so
    /// two of them end where they began; `PUT` takes any version. Null: there is nothing.
    pub rollback_to: Option<GenerationView>,
}

impl SwapAnswer {
    /// Of a swap, as whoever made it sees it; what a rollback would put back is for others to say.
    pub fn of(Swapped { previous, current, pause }: Swapped, config_kept: bool, role: Role) -> Self {
        Self {
            kind: current.kind(),
            config_changed: previous.config != current.config,
            // Not where another kind of code took its place.
            config_kept: config_kept && previous.config == current.config,
            pause_ms: pause.as_secs_f64() * 1e3,
            probation: current.probation,
            position: current.from().map(|at| position_seen(position_json(&at), role)),
            previous: previous.version.plugin,
            current: current.version.plugin,
            previous_digest: previous.version.digest,
            current_digest: current.version.digest,
            generation: current.generation,
            swapped_at: rfc3339(current.at_ms),
            rollback_to: None,
        }
    }
}

/// The SHA-256 of a configuration, whatever the order of its keys.
fn digest_of(config: &Value) -> String {
    fn ordered(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let mut members: Vec<(&String, &Value)> = members.iter().collect();
                members.sort_by_key(|(key, _)| *key);
                members.into_iter().map(|(key, value)| (key.clone(), ordered(value))).collect()
            }
            Value::Array(items) => items.iter().map(ordered).collect(),
            value => value.clone(),
        }
    }
    hex::encode(Sha256::digest(ordered(config).to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::digest_of;

    #[test]
    fn a_configuration_has_one_digest_whatever_the_order_of_its_keys() {
        let one = json!({ "a": 1, "b": [{ "c": 2, "d": 3 }] });
        assert_eq!(digest_of(&one), digest_of(&json!({ "b": [{ "d": 3, "c": 2 }], "a": 1 })));
        assert_ne!(digest_of(&one), digest_of(&json!({ "b": [{ "d": 2, "c": 3 }], "a": 1 })));
        assert_eq!(digest_of(&json!({})), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    }
}
