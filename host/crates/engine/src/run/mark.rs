//! Where each sink stands when an attempt begins.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use deltaforge_model::position::Order;
use deltaforge_model::{Boundary, Position};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

use super::backlog::Meta;
use super::commit::{SLOW_STORE, store_is_slow};
use super::skip::has_all;
use super::{is_before, standing, unrelated};
use crate::checkpoint::{CheckpointKey, Checkpoints};
use crate::ledger::Mark;
use crate::plan::{PipelinePlan, Services, SinkPlan};
use crate::source::SourceFactory;
use crate::spill::spill_dir;
use crate::status::{Failure, STALLED_AFTER, position_json};
use crate::swap::{History, Swappable};
use crate::waits::Waits;

/// Version of the records that say where sinks stand.
pub(crate) const RECORD_VERSION: u32 = 1;

/// Reads such a record; `what`: its name.
///
/// # Errors
///
/// When it is none, or of a version that this build does not know.
pub(crate) fn record<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Failure> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let bad = |why: String| Failure::operator("bad_checkpoint", format!("{what} cannot be read: {why}"));
    match serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))? {
        Version { v: RECORD_VERSION } => {}
        Version { v } => {
            return Err(bad(format!(
                "it is of version {v}, and this build knows version {RECORD_VERSION}; run the build that wrote it"
            )));
        }
    }
    serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))
}

/// A sink's checkpoint as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckpointRecord {
    /// Version of this record.
    pub v: u32,
    /// A restart reads from here.
    pub resume: String,
    /// Inside a transaction: its id and the rows of it that are delivered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inside: Option<(String, u64)>,
    /// What the sink wants to be opened with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
    /// The newest batch of its spill that it is done with.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub spill: u64,
    /// When it was made, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl CheckpointRecord {
    pub fn new(mark: &Mark, state: Option<&[u8]>, spill: u64) -> Self {
        Self {
            v: RECORD_VERSION,
            resume: mark.resume.as_str().to_owned(),
            inside: mark.inside.clone(),
            state: state.map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
            spill,
            at_ms: now_ms(),
        }
    }
}

fn checkpoint_of(sink: &str) -> String {
    format!("the checkpoint of sink {sink}")
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// The key of a sink's checkpoint.
pub(crate) fn checkpoint_key(plan: &PipelinePlan, sink: &str) -> CheckpointKey {
    CheckpointKey {
        tenant: plan.tenant.clone(),
        pipeline: plan.name.clone(),
        source_id: plan.source.id.clone(),
        sink_id: sink.to_owned(),
    }
}

/// Where one sink stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Start {
    /// Whether a checkpoint of it is stored.
    pub known: bool,
    /// `None`: it has no checkpoint.
    pub resume: Option<Position>,
    pub inside: Option<(String, u64)>,
    pub state: Option<Vec<u8>>,
    /// The newest batch of its spill that it is done with.
    pub spill_acked: u64,
    /// It keeps its position itself: what it has may not come again.
    pub keeps: bool,
    /// It lost what it had, and is to have it again: what lies in its spill comes after that.
    pub is_back: bool,
}

impl Start {
    /// Whether the sink has had everything through a spilled batch.
    pub fn is_past(&self, spilled: &Meta, source: &dyn SourceFactory) -> bool {
        let Some(resume) = &self.resume else { return false };
        // A piece of a transaction says that it goes where the transaction begins; how far it goes are its rows.
        if let (Some((own, had)), Boundary::Inside { transaction, rows_done }) =
            (&self.inside, spilled.boundary())
            && *own == transaction
        {
            return *had >= rows_done;
        }
        match source.compare(resume, &spilled.through()) {
            Order::After => has_all(resume, &spilled.boundary(), source),
            Order::Same => spilled.boundary() == Boundary::Transaction,
            Order::Before | Order::Unrelated => false,
        }
    }

    /// Begins behind the newest batch of its spill, if that is not behind it: what lies there need not be read again, and
    /// must not, where a sink is to have it once.
    pub fn pass(&mut self, spilled: &Meta, source: &dyn SourceFactory) {
        let at = self.resume.as_ref().map(|resume| source.compare(resume, &spilled.through()));
        let is_related = at.is_none_or(|at| matches!(at, Order::Before | Order::Same));
        if is_related && !self.is_past(spilled, source) {
            let mark = spilled.mark();
            (self.resume, self.inside) = (Some(mark.resume), mark.inside);
        }
    }
}

/// Where a restart resumes one sink.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkCheckpoint {
    /// The sink.
    pub sink_id: String,
    /// The position, as its source shows it.
    pub position: Value,
    /// When it was made, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// The stored checkpoints, for people to see.
pub(crate) async fn stored(plan: &PipelinePlan, services: &Services) -> Result<Vec<SinkCheckpoint>, Failure> {
    let mut stored = Vec::new();
    for sink in &plan.sinks {
        let Some(bytes) = services.checkpoints.load(&checkpoint_key(plan, &sink.id)).await? else { continue };
        let record: CheckpointRecord = record(&bytes, &checkpoint_of(&sink.id))?;
        stored.push(SinkCheckpoint {
            sink_id: sink.id.clone(),
            position: position_json(&Position::new(record.resume)),
            at_ms: record.at_ms,
        });
    }
    Ok(stored)
}

/// The lowest position that a replay can begin at; `None`: the beginning, or that cannot be said.
pub(crate) async fn stored_lowest(
    plan: &PipelinePlan,
    services: &Services,
) -> Result<Option<Position>, Failure> {
    let starts = load(plan, services).await?;
    if starts.iter().any(|start| start.resume.is_none()) {
        return Ok(None);
    }
    Ok(lowest(&starts, &*plan.source.factory).unwrap_or(None))
}

/// Deletes the stored checkpoints of one sink, or of all that ever had one, with what waits in their spills and their
/// gaps. Where none is left the stream begins anew, with the versions that were put in place last. Answers whose they
/// were.
pub(crate) async fn forget(
    plan: &PipelinePlan,
    services: &Services,
    sink: Option<&str>,
) -> Result<Vec<String>, Failure> {
    services.checkpoints.flush().await.map_err(|error| Failure::internal(error.to_string()))?;
    // While a checkpoint is stored, the rest can be tried again.
    let mut forgotten = standing::forget(plan, services, sink).await?;
    let stored = services.checkpoints.list(&plan.tenant, &plan.name).await?;
    let (goes, stays): (Vec<_>, Vec<_>) =
        stored.into_iter().map(|(key, _)| key).partition(|key| sink.is_none_or(|sink| sink == key.sink_id));
    if !plan.sinks.iter().any(|sink| stays.contains(&checkpoint_key(plan, &sink.id))) {
        begin_anew(plan, services).await?;
    }
    for key in goes {
        if !forgotten.contains(&key.sink_id) && standing::is_kept(&services.checkpoints, &key).await? {
            warn!(
                sink = key.sink_id,
                key = %format!("{}/{}/{}", key.tenant, key.pipeline, key.sink_id),
                "a sink that keeps its position itself is not in the document: its checkpoint is deleted, and the position is not"
            );
        }
        // The checkpoint last: while it is there the rest can be tried again.
        let dir = spill_dir(&services.spill_dir, &plan.tenant, &plan.name, &key.sink_id);
        match tokio::fs::remove_dir_all(&dir).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let text = format!("remove the spill {}: {error}", dir.display());
                return Err(Failure { code: "spill_failed".into(), message: text, retriable: true });
            }
            _ => {}
        }
        services.store.delete(&super::gaps::Gaps::key(plan, &key.sink_id)).await?;
        services.store.delete(&key.to_string()).await?;
        if !forgotten.contains(&key.sink_id) {
            forgotten.push(key.sink_id);
        }
    }
    Ok(forgotten)
}

/// What was put in place last is for the whole stream from now on: positions of the one before mean nothing in it.
async fn begin_anew(plan: &PipelinePlan, services: &Services) -> Result<(), Failure> {
    let stages = plan.stages.iter().map(|stage| Swappable::Stage(&stage.spec.id));
    let envelopes = plan.sinks.iter().map(|sink| Swappable::Envelope(&sink.id));
    for part in stages.chain(envelopes) {
        let key = part.key(&plan.tenant, &plan.name);
        let Some(mut history) = History::load(&*services.store, &key).await? else { continue };
        history.begin_anew();
        history.save(&*services.store, &key).await?;
    }
    Ok(())
}

/// Reads every sink's checkpoint.
pub(crate) async fn load(plan: &PipelinePlan, services: &Services) -> Result<Vec<Start>, Failure> {
    let mut starts = Vec::new();
    for sink in &plan.sinks {
        let key = checkpoint_key(plan, &sink.id);
        let start = match services.checkpoints.load(&key).await? {
            None => Start::default(),
            Some(bytes) => {
                let record: CheckpointRecord = record(&bytes, &checkpoint_of(&sink.id))?;
                Start {
                    known: true,
                    resume: Some(Position::new(record.resume)),
                    inside: record.inside,
                    state: record.state.map(String::into_bytes),
                    spill_acked: record.spill,
                    keeps: false,
                    is_back: false,
                }
            }
        };
        starts.push(start);
    }
    Ok(starts)
}

/// The highest position that is past none of the sinks that have one.
pub(crate) fn lowest(starts: &[Start], source: &dyn SourceFactory) -> Result<Option<Position>, Failure> {
    let mut lowest: Option<Position> = None;
    for position in starts.iter().filter_map(|start| start.resume.as_ref()) {
        lowest = Some(match lowest {
            None => position.clone(),
            Some(low) => source.meet(&low, position).ok_or_else(|| unrelated(&low, position))?,
        });
    }
    Ok(lowest)
}

/// The highest position of the sinks that have one.
pub(crate) fn highest(starts: &[Start], compare: impl Fn(&Position, &Position) -> Order) -> Option<Position> {
    let positions = starts.iter().filter_map(|start| start.resume.clone());
    positions.reduce(|a, b| if is_before(compare(&a, &b)) { b } else { a })
}

/// A sink without a checkpoint begins at the oldest kept position, or at the newest where it says `start: now`.
pub(crate) fn place_new_sinks(
    plan: &PipelinePlan,
    mut starts: Vec<Start>,
    oldest: Option<&Position>,
    compare: impl Fn(&Position, &Position) -> Order,
) -> Vec<Start> {
    let newest = highest(&starts, compare);
    for (start, sink) in starts.iter_mut().zip(&plan.sinks) {
        if start.resume.is_none() {
            start.resume = if sink.start_now { newest.clone() } else { oldest.cloned() };
        }
    }
    starts
}

/// Sinks without a stored checkpoint.
pub(crate) struct Beginnings {
    checkpoints: Arc<Checkpoints>,
    /// With where each begins, if that is known before the first batch, and the batch of its spill before that.
    sinks: Vec<(CheckpointKey, Option<Position>, u64)>,
}

impl Beginnings {
    pub fn of(plan: &PipelinePlan, services: &Services, starts: &[Start]) -> Self {
        let unknown = starts.iter().zip(&plan.sinks).filter(|(start, _)| !start.known);
        let one = |(start, sink): (&Start, &SinkPlan)| {
            (checkpoint_key(plan, &sink.id), start.resume.clone(), start.spill_acked)
        };
        Self { checkpoints: services.checkpoints.clone(), sinks: unknown.map(one).collect() }
    }

    /// Before anything is delivered, stores where each of these sinks begins: at `first`, where nothing else is
    /// known. A start after that is no first one: it goes on with the same snapshot, whose rows keep their ids, and
    /// takes no sink for a new one when others have gone on. Durable on return.
    pub async fn store(&mut self, first: &Position, waits: &Waits) -> Result<(), Failure> {
        if self.sinks.is_empty() {
            return Ok(());
        }
        let stored = self.put(first);
        tokio::pin!(stored);
        tokio::select! {
            stored = &mut stored => return stored,
            () = tokio::time::sleep(SLOW_STORE) => {}
        }
        let _waiting = waits.begin(store_is_slow(), Some(STALLED_AFTER));
        stored.await
    }

    async fn put(&mut self, first: &Position) -> Result<(), Failure> {
        let mut stored = Vec::new();
        for (key, begins, spill) in std::mem::take(&mut self.sinks) {
            let mark = Mark { resume: begins.unwrap_or_else(|| first.clone()), inside: None };
            let record = CheckpointRecord::new(&mark, None, spill);
            let bytes = serde_json::to_vec(&record).expect("a checkpoint record is plain JSON");
            stored.push(self.checkpoints.put(&key, bytes));
        }
        for stored in stored {
            stored.await.map_err(|error| Failure::internal(error.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
