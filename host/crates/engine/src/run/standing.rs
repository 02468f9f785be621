//! Sinks that keep where they stand themselves, in one with their messages: what they are told, and what they say when they
//! are opened.

use std::sync::Arc;

use deltaforge_model::Position;
use deltaforge_model::position::Order;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::hearing::Hearing;
use super::mark::{CheckpointRecord, RECORD_VERSION, Start, record};
use super::sink::SinkShared;
use super::unrelated;
use crate::budget::Budget;
use crate::checkpoint::{CheckpointKey, Checkpoints};
use crate::ledger::Mark;
use crate::plan::{PipelinePlan, Services, SinkPlan};
use crate::retry::Hurry;
use crate::sink::{Sink, SinkContext, Trouble};
use crate::source::SourceFactory;
use crate::status::{Failure, Shared};

/// Where a sink stands, as it keeps it. The same place has the same bytes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Standing {
    /// Version of this record.
    v: u32,
    /// The source whose position it is.
    source: String,
    /// A restart reads from here.
    resume: String,
    /// Inside a transaction: its id and the rows of it that are delivered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    inside: Option<(String, u64)>,
}

/// What a sink is told of the place where it stands after a delivery.
pub(crate) fn tell(source: &str, mark: &Mark) -> Arc<[u8]> {
    let standing = Standing {
        v: RECORD_VERSION,
        source: source.to_owned(),
        resume: mark.resume.as_str().to_owned(),
        inside: mark.inside.clone(),
    };
    serde_json::to_vec(&standing).expect("a standing is plain JSON").into()
}

/// A sink that was opened before everything else, and whoever listens to it.
pub(crate) struct Opened {
    pub sink: Box<dyn Sink>,
    pub hearing: Arc<Hearing>,
}

/// Opens the sinks that keep their position themselves, and has it from them: what lies with the messages is right,
/// whatever the state store holds. All at once, as what one of them left open may hide from another where that stands. The
/// others are opened when there is something for them.
pub(crate) async fn ask(
    shared: &SinkShared,
    status: &Arc<Shared>,
    starts: &mut [Start],
) -> Result<Vec<Option<Opened>>, Failure> {
    let open = async |index: usize, start: &mut Start| {
        let sink = &shared.plan.sinks[index];
        let keeps = sink.factory.keeps_position(&sink.config);
        drop_foreign(start, keeps);
        start.keeps = keeps;
        if !keeps {
            return Ok(None);
        }
        let hearing = Hearing::new(index, &sink.id, status.clone(), shared.plan.secrets.clone());
        let hearing = Arc::new(hearing);
        let context = shared.context(index, start.state.clone(), Trouble::new(hearing.clone()));
        let open = sink.factory.open(&sink.config, context).await.map_err(|error| {
            status.sink_failed(index, error.code(), &error);
            let failure = Failure::of_sink(&sink.id, &error);
            if error.is_halt() {
                status.halt().begin(failure.clone());
            }
            failure
        })?;
        let stands = open.stands();
        let source = &shared.plan.source;
        begin(start, stands.as_deref(), &sink.id, &source.id, &*source.factory)?;
        Ok(Some(Opened { sink: open, hearing }))
    };
    try_join_all(starts.iter_mut().enumerate().map(|(index, start)| open(index, start))).await
}

/// Has the sinks that keep their position themselves forget it: one of them, or all. Answers whose it was.
pub(crate) async fn forget(
    plan: &PipelinePlan,
    services: &Services,
    sink: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let keeps =
        |one: &&SinkPlan| sink.is_none_or(|sink| sink == one.id) && one.factory.keeps_position(&one.config);
    let mut forgotten = Vec::new();
    for sink in plan.sinks.iter().filter(keeps) {
        let context = SinkContext {
            pipeline: plan.name.clone(),
            tenant: plan.tenant.clone(),
            sink_id: sink.id.clone(),
            state: None,
            base_dir: services.base_dir.clone(),
            trouble: Trouble::default(),
            hurry: Hurry::default(),
            budget: Budget::new(plan.max_memory_bytes, None),
        };
        let done = sink.factory.forget_position(&sink.config, context).await;
        done.map_err(|error| Failure::of_sink(&sink.id, &error))?;
        forgotten.push(sink.id.clone());
    }
    Ok(forgotten)
}

/// Whether a stored checkpoint is of a sink that kept its position itself.
pub(crate) async fn is_kept(checkpoints: &Checkpoints, key: &CheckpointKey) -> Result<bool, Failure> {
    let stored = checkpoints.load(key).await?;
    let record = stored.and_then(|bytes| serde_json::from_slice::<CheckpointRecord>(&bytes).ok());
    let state = record.and_then(|record| record.state);
    Ok(state.is_some_and(|state| serde_json::from_str::<Standing>(&state).is_ok()))
}

/// What a sink left that kept its position is no state of one that does not, and the other way round. Whoever begins to keep
/// it again has not kept it all the time.
fn drop_foreign(start: &mut Start, keeps: bool) {
    start.state.take_if(|state| serde_json::from_slice::<Standing>(state).is_ok() != keeps);
}

/// Begins a sink where it says that it stands.
fn begin(
    start: &mut Start,
    stands: Option<&[u8]>,
    sink: &str,
    source_id: &str,
    source: &dyn SourceFactory,
) -> Result<(), Failure> {
    let before = std::mem::replace(&mut start.state, stands.map(<[u8]>::to_vec));
    let Some(bytes) = stands else { return Ok(()) };
    let kept: Standing = record(bytes, &format!("the position that sink {sink} keeps"))?;
    if kept.source != source_id {
        return Ok(());
    }
    let kept_at = Position::new(kept.resume);
    if before.as_deref() == Some(bytes)
        && let Some(stored) = &start.resume
    {
        // Nothing became durable since. The store may be further, by what had nothing for this sink; and behind, as it is
        // told of one thing after the other.
        let rows = |inside: &Option<(String, u64)>| inside.as_ref().map_or(0, |(_, rows)| *rows);
        match source.compare(stored, &kept_at) {
            Order::Before => {}
            Order::Same if rows(&start.inside) < rows(&kept.inside) => {}
            _ => return Ok(()),
        }
    }
    if let (None, Some(stored)) = (&before, &start.resume) {
        // It has not kept its position all the time, or its store was lost: it had everything up to both.
        match source.compare(stored, &kept_at) {
            Order::After => return Ok(()),
            Order::Unrelated => return Err(unrelated(stored, &kept_at)),
            Order::Before | Order::Same => {}
        }
    }
    match &start.resume {
        Some(stored) if source.compare(&kept_at, stored) == Order::Before => {
            let (stored, kept) = (stored.readable(), kept_at.readable());
            warn!(sink, stored, kept, "the sink lost what it had, and has it delivered again");
            start.is_back = true;
        }
        _ => info!(sink, at = kept_at.readable(), "the sink says where it stands"),
    }
    start.resume = Some(kept_at);
    start.inside = kept.inside;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
