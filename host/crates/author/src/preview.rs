//! What a plugin does to events: each before and after.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltaforge_model::View;
use deltaforge_sdk::testing::{Difference, Found, Golden};
use deltaforge_wasm::{PluginKind, Runtime, TrialError, TrialSpec};
use serde_json::Value;

use crate::golden::details;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Its operation and its table: `c shop.customers`.
    pub event: String,
    /// What became of it.
    pub what: What,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Nothing.
    Same,
    /// It has other members: `wanted` is before, `found` after.
    Changed(Vec<Difference>),
    /// It goes no further.
    Dropped,
    /// The plugin has made it.
    Added(Value),
    /// A formatter made this of it; null: a message without a body.
    Body(Value),
}

/// What a plugin makes of a golden input, and why it rejected the rows that it did.
#[derive(Debug, Default)]
pub struct Preview {
    /// Each event, in order.
    pub events: Vec<Shown>,
    /// The reasons.
    pub rejects: Vec<String>,
}

/// Runs the text of a golden input through a component; with `config` where that is given, and not the input's own.
///
/// # Errors
///
/// What keeps the plugin from its work, or what is wrong with the input.
pub async fn preview(
    runtime: &Arc<Runtime>,
    component: &[u8],
    spec: &TrialSpec,
    input: &str,
    config: Option<&Value>,
) -> Result<Preview, TrialError> {
    let golden = Golden::parse(input).and_then(|golden| Ok((golden.batch.try_build()?, golden.config)));
    let (batch, own) = golden.map_err(TrialError::Failed)?;
    let config = config.cloned().unwrap_or(own);
    let mut trial = runtime.trial(component, TrialSpec { config, ..spec.clone() }).await?;
    let view = View::all(Arc::new(batch));
    let before = events(&Found::of_batch(view.batch()), "events");
    let after = match trial.kind() {
        PluginKind::Processor => {
            let edits = trial.process(&view).await?;
            let mut batch = view.batch().clone();
            edits.apply(&mut batch, "dev");
            Found::of_batch(&batch)
        }
        PluginKind::Formatter => {
            let tx_end: Vec<bool> = view.events().map(|event| event.is_last()).collect();
            let bodies = trial.format(&view, &tx_end).await?;
            let rejects = bodies.rejects().iter().map(|(_, reason)| reason.clone()).collect();
            Found::of_bodies((0..view.len()).map(|row| bodies.get(row)), rejects)
        }
    };
    let rejects = events(&after, "rejects");
    let events = match trial.kind() {
        PluginKind::Processor => compared(before, events(&after, "events")),
        PluginKind::Formatter => {
            let bodies = before.iter().zip(events(&after, "bodies"));
            bodies.map(|(event, body)| Shown { event: name(event), what: What::Body(body) }).collect()
        }
    };
    let rejects = rejects.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(Preview { events, rejects })
}

fn events(found: &Found, member: &str) -> Vec<Value> {
    found.members().get(member).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// `c shop.customers`.
fn name(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{} {}.{}", text(&event["op"]), text(&event["source"]["db"]), text(&event["source"]["table"]))
}

/// Events are the same by their ids: what a plugin adds has one of its own.
fn compared(before: Vec<Value>, after: Vec<Value>) -> Vec<Shown> {
    let id = |event: &Value| event["event_id"].as_str().unwrap_or_default().to_owned();
    let mut left: BTreeMap<String, Value> = after.iter().map(|event| (id(event), event.clone())).collect();
    let mut shown = Vec::new();
    for event in before {
        let what = match left.remove(&id(&event)) {
            None => What::Dropped,
            Some(after) if after == event => What::Same,
            Some(after) => {
                let whole =
                    Difference { place: String::new(), found: Some(after), wanted: Some(event.clone()) };
                let parts = details(&whole).into_iter();
                let parts = parts
                    .map(|one| Difference { place: one.place.trim_start_matches('.').to_owned(), ..one });
                What::Changed(parts.collect())
            }
        };
        shown.push(Shown { event: name(&event), what });
    }
    let added = after.into_iter().filter(|event| left.contains_key(&id(event)));
    shown.extend(added.map(|event| Shown { event: name(&event), what: What::Added(event) }));
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_followed_by_their_ids() {
        let event = |id: &str, phone: &str| json!({"op": "c", "source": {"db": "shop", "table": "t"}, "event_id": id, "after": {"phone": phone}});
        let before = vec![event("1", "a"), event("2", "b"), event("3", "c")];
        let after = vec![event("1", "a"), event("3", "#"), event("9", "new")];
        let shown = compared(before, after);
        let changed =
            Difference { place: "after.phone".to_owned(), found: Some(json!("#")), wanted: Some(json!("c")) };
        let what: Vec<What> = shown.iter().map(|one| one.what.clone()).collect();
        let added = What::Added(event("9", "new"));
        assert_eq!(what, [What::Same, What::Dropped, What::Changed(vec![changed]), added]);
        assert_eq!(shown[0].event, "c shop.t");
    }
}
