//! What the API shows of a pipeline.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use deltaforge_config::auth::Role;
use deltaforge_config::{Catalog, hide_passwords};
use deltaforge_engine::SinkCheckpoint;
use deltaforge_engine::anew::BegunAnew;
use deltaforge_engine::control::Known;
use deltaforge_engine::stage::StageCode;
use deltaforge_engine::status::{Failure, Gap, PipelineStatus, SinkStatus, StageStatus, State};
use deltaforge_engine::swap::Part;
use deltaforge_engine::waits::Awaited;
use deltaforge_model::json::write_rfc3339_millis;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::hidden::position_seen;
use crate::snapshots::SnapshotView;

/// A pipeline.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PipeInfo {
    /// Its name.
    pub name: String,
    /// `starting`, `running`, `paused`, `stopped` or `failed`.
    #[schema(example = "running")]
    pub status: &'static str,
    /// Its document, with `***` for secrets.
    #[schema(value_type = Object)]
    pub spec: Value,
    /// Processors and envelopes that a swap made run something else than the document says.
    pub overrides: Vec<Override>,
    /// Whether something needs attention though the pipeline goes on; `ops.sinks` and `GET /ready` say what.
    pub degraded: bool,
    /// Why it failed. Of a paused one: what keeps it from delivering what it has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<FailureView>,
    /// What it waits for now: room in a full queue, memory, a processor that is not available.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<FailureView>,
    /// When its stream began anew by itself, since the source could not go on: changes in between are missing. Newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub begun_anew: Vec<BegunAnewView>,
    /// How it is doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<Ops>,
}

/// A stream that began anew by itself: its tables were copied once more.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct BegunAnewView {
    /// When.
    pub at: String,
    /// What the source could not do: `position_lost`, `source_rewound`.
    pub code: String,
    /// Why not, and which transactions it is about.
    pub message: String,
    /// Where the sinks stood; null: at several places.
    pub from: Option<String>,
}

/// Why a pipeline or a sink does not work, or what is waited for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FailureView {
    /// A stable code.
    pub code: String,
    /// What was being done and what went wrong.
    pub message: String,
    /// Whether another try may help without anybody doing anything. Where it does not, it is tried again all the same, slowly:
    /// somebody may have mended what is wrong.
    pub retriable: bool,
    /// When it is tried again, milliseconds from now. Absent: as soon as it can go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
}

/// A processor or an envelope that runs something else than the document says.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Override {
    /// The processor; for an envelope `SINK.envelope`.
    pub id: String,
    /// What runs.
    pub plugin: String,
    /// SHA-256 of its code, hex.
    pub digest: String,
    /// Its configuration, with `***` for secrets.
    #[schema(value_type = Object)]
    pub config: Value,
    /// Grows with every swap.
    pub generation: u64,
    /// Where it took over; null: from the beginning.
    #[schema(value_type = Object)]
    pub position: Option<Value>,
    /// When it took over.
    pub swapped_at: String,
}

/// How a pipeline is doing.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Ops {
    /// From the commit of the oldest event on its way to now; 0 when all is delivered, null when it does not run. Of one that has
    /// failed, is held up or paused, at least the time since.
    pub lag_seconds: Option<f64>,
    /// Entries in the dead-letter queue.
    pub dlq_entries: u64,
    /// Errors by sink since the host started.
    pub sink_errors: BTreeMap<String, u64>,
    /// How long it has run without a break.
    pub uptime_seconds: f64,
    /// Events read since the host started.
    pub events: u64,
    /// Where a restart resumes each sink.
    pub checkpoints: Vec<CheckpointView>,
    /// The sinks.
    pub sinks: Vec<SinkView>,
    /// The processors.
    #[schema(value_type = Vec<Object>)]
    pub processors: Vec<StageStatus>,
    /// Snapshots that were asked for and have not ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotView>,
}

/// A sink.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SinkView {
    /// Its id.
    pub id: String,
    /// What the document says: whether the commit policies `required` and `quorum` count it. `all` counts every sink.
    pub required: bool,
    /// Its last error, while it has not worked since.
    pub error: Option<FailureView>,
    /// What shapes its messages; absent before it has run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub envelope: Option<StageStatus>,
    /// Bytes that wait for it on disk.
    pub spill_bytes: u64,
    /// Stretches of the log that it was not given.
    #[schema(value_type = Vec<Object>)]
    pub gaps: Vec<Gap>,
}

/// Where a restart resumes a sink.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct CheckpointView {
    /// The sink.
    pub sink_id: String,
    /// The position.
    #[schema(value_type = Object)]
    pub position: Value,
    /// How old the checkpoint is.
    pub age_seconds: f64,
}

impl FailureView {
    fn of(failure: &Failure, retry_in_ms: Option<u64>) -> Self {
        let Failure { code, message, retriable } = failure;
        Self { code: code.clone(), message: hide_passwords(message), retriable: *retriable, retry_in_ms }
    }

    fn of_wait(wait: &Awaited) -> Self {
        let Awaited { code, message, retriable, retry_in_ms } = wait;
        let (code, message) = (code.clone(), hide_passwords(message));
        Self { code, message, retriable: *retriable, retry_in_ms: *retry_in_ms }
    }
}

impl PipeInfo {
    /// A pipeline without its `ops`, as somebody of a role sees it.
    pub fn of(known: &Known, catalog: &Catalog, role: Role) -> Self {
        let status = &known.status;
        Self {
            name: status.name.clone(),
            status: word(status.status),
            spec: (*known.document).clone(),
            overrides: known.overrides.iter().map(|stage| Override::of(stage, catalog, role)).collect(),
            degraded: status.degraded,
            error: status.error.as_ref().map(|failure| FailureView::of(failure, status.retry_in_ms)),
            waits: status.waits.iter().map(FailureView::of_wait).collect(),
            begun_anew: status.begun_anew.iter().map(BegunAnewView::of).collect(),
            ops: None,
        }
    }
}

impl BegunAnewView {
    fn of(one: &BegunAnew) -> Self {
        let BegunAnew { at_ms, code, message, from } = one.clone();
        Self { at: rfc3339(at_ms), code, message: hide_passwords(&message), from }
    }
}

impl Override {
    fn of(stage: &StageStatus, catalog: &Catalog, role: Role) -> Self {
        Self {
            id: stage.id.clone(),
            plugin: stage.plugin.clone(),
            digest: stage.digest.clone(),
            config: redacted(stage.part, &stage.code, &stage.config, catalog),
            generation: stage.generation,
            position: stage.position.clone().map(|at| position_seen(at, role)),
            swapped_at: rfc3339(stage.since_ms),
        }
    }
}

/// A stage's configuration without secrets. What is secret stands in the catalog's schema of the block that the
/// configuration belongs to, so it is put there.
pub(crate) fn redacted(part: Part, code: &StageCode, config: &Value, catalog: &Catalog) -> Value {
    let block = code.block(config);
    let below = if matches!(code, StageCode::Plugin(_)) { "/config" } else { "" };
    let (spec, at) = match part {
        Part::Stage => (json!({ "processors": [block] }), "processors/0"),
        Part::Envelope => {
            (json!({ "sinks": [{ "config": { "envelope": block } }] }), "sinks/0/config/envelope")
        }
    };
    let document = catalog.redact(&json!({ "spec": spec }));
    let mut config = document.pointer(&format!("/spec/{at}{below}")).cloned().unwrap_or_default();
    if let (StageCode::Builtin(_), Some(block)) = (code, config.as_object_mut()) {
        block.shift_remove("type");
    }
    config
}

/// A stage or an envelope as somebody of a role sees it.
fn stage_seen(stage: &StageStatus, role: Role) -> StageStatus {
    let position = stage.position.clone().map(|at| position_seen(at, role));
    StageStatus { position, ..stage.clone() }
}

/// A gap as somebody of a role sees it.
fn gap_seen(gap: &Gap, role: Role) -> Gap {
    let [from, to] = [&gap.from, &gap.to].map(|at| position_seen(at.clone(), role));
    Gap { from, to, ..*gap }
}

impl Ops {
    /// As somebody of a role sees it; without the snapshots.
    pub fn of(status: &PipelineStatus, checkpoints: &[SinkCheckpoint], dlq_entries: u64, role: Role) -> Self {
        let erring = status.sinks.iter().filter(|sink| sink.errors > 0);
        Self {
            lag_seconds: status.lag_seconds,
            dlq_entries,
            sink_errors: erring.map(|sink| (sink.id.clone(), sink.errors)).collect(),
            uptime_seconds: status.uptime_seconds,
            events: status.events,
            checkpoints: checkpoints.iter().map(|one| CheckpointView::of(one, role)).collect(),
            sinks: status.sinks.iter().map(|sink| SinkView::of(sink, role)).collect(),
            processors: status.stages.iter().map(|stage| stage_seen(stage, role)).collect(),
            snapshots: Vec::new(),
        }
    }
}

impl SinkView {
    fn of(sink: &SinkStatus, role: Role) -> Self {
        Self {
            id: sink.id.clone(),
            required: sink.required,
            error: sink.error.as_ref().map(|failure| FailureView::of(failure, sink.retry_in_ms)),
            envelope: sink.envelope.as_ref().map(|envelope| stage_seen(envelope, role)),
            spill_bytes: sink.spill_bytes,
            gaps: sink.gaps.iter().map(|gap| gap_seen(gap, role)).collect(),
        }
    }
}

impl CheckpointView {
    /// As somebody of a role sees it.
    pub fn of(checkpoint: &SinkCheckpoint, role: Role) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        Self {
            sink_id: checkpoint.sink_id.clone(),
            position: position_seen(checkpoint.position.clone(), role),
            age_seconds: now.saturating_sub(checkpoint.at_ms) as f64 / 1e3,
        }
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Running => "running",
        State::Paused => "paused",
        State::Stopped => "stopped",
        State::Failed => "failed",
    }
}

/// Milliseconds since the Unix epoch as text.
pub(crate) fn rfc3339(ms: u64) -> String {
    let mut text = Vec::new();
    write_rfc3339_millis(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1000), &mut text);
    String::from_utf8(text).expect("a time is ASCII")
}
