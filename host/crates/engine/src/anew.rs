//! Streams that begin anew by themselves: the source cannot go on from where the sinks stand, and is told to copy its tables
//! then. What a person would do is done for them: the checkpoints are deleted, and the next start is a first one. That it happened stays on
//! record, since changes in between are missing for good.

use deltaforge_model::Position;
use metrics::counter;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::failpoint;
use crate::plan::{PipelinePlan, Services};
use crate::run::{self, HandedOut, now_ms};
use crate::status::Failure;

/// Most that are kept on record.
const KEPT: usize = 10;
/// Failures by which a source says that it cannot go on from a position.
const LOST: [&str; 2] = ["position_lost", "source_rewound"];

/// A stream began anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunAnew {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What the source could not do, as a failure's code.
    pub code: String,
    /// Why not, and which transactions it is about.
    pub message: String,
    /// Where the sinks stood, as the source shows it; `None`: at several places, or one was new.
    pub from: Option<String>,
}

fn key(plan: &PipelinePlan) -> String {
    format!("anew/{}/{}", plan.tenant, plan.name)
}

/// All that are on record, newest last.
///
/// # Errors
///
/// When the state store fails.
pub(crate) async fn list(plan: &PipelinePlan, services: &Services) -> Result<Vec<BegunAnew>, Failure> {
    let Some(bytes) = services.store.get(&key(plan)).await? else { return Ok(Vec::new()) };
    serde_json::from_slice(&bytes).map_err(|error| Failure::internal(format!("read {}: {error}", key(plan))))
}

/// Makes the next attempt a first one, where the source is to begin anew after such a failure. `None`: it is not.
///
/// # Errors
///
/// When the checkpoints cannot be deleted.
pub(crate) async fn after(
    failure: &Failure,
    plan: &PipelinePlan,
    services: &Services,
    handed: &HandedOut,
) -> Result<Option<Vec<BegunAnew>>, Failure> {
    if !LOST.contains(&failure.code.as_str()) {
        return Ok(None);
    }
    // Without a checkpoint the next attempt is a first one anyway, after the pause that every failure has.
    if run::stored_checkpoints(plan, services).await?.is_empty() {
        return Ok(None);
    }
    let from = run::lowest_checkpoint(plan, services).await?;
    let source = &plan.source;
    if !source.factory.begins_anew(&source.config, &failure.code, from.as_ref()) {
        return Ok(None);
    }
    let mut all = list(plan, services).await?;
    // It was tried before, and the checkpoints are there still.
    all.pop_if(|newest| newest.message == failure.message);
    let Failure { code, message, .. } = failure.clone();
    let from = from.as_ref().map(Position::readable);
    all.push(BegunAnew { at_ms: now_ms(), code, message, from });
    let overdue = all.len().saturating_sub(KEPT);
    all.drain(..overdue);
    let bytes = serde_json::to_vec(&all).map_err(|error| Failure::internal(error.to_string()))?;
    services.store.put_many(vec![(key(plan), bytes)], None).await?;
    failpoint::hit("source.anew");
    let sinks = run::forget_checkpoints(plan, services, None).await?;
    handed.forget(None);
    counter!("deltaforge_source_begun_anew_total", "pipeline" => plan.name.clone()).increment(1);
    warn!(
        code = failure.code,
        why = failure.message,
        checkpoints_deleted = sinks.join(", "),
        "the stream begins anew: the source's tables are copied once more, since it cannot go on from where the sinks stand. Changes in \
         between are missing, and what only the lost log had stays with consumers"
    );
    Ok(Some(all))
}
