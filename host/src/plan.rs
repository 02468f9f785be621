//! From a checked pipeline document to what the engine runs.

use std::path::PathBuf;
use std::time::Duration;

use deltaforge_config::{
    EnvelopeSpec, Implementation, OverflowPolicy, Pipeline, PipelineSpec, ProcessorSpec, SinkSpec,
};
use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::compose::SinkFilter;
use deltaforge_engine::dlq::{DlqLimits, Overflow};
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::{PipelinePlan, SinkPlan, SourcePlan, StagePlan};
use deltaforge_engine::secrets::Secrets;
use deltaforge_engine::stage::{SetBy, StageCode, StageLimits, StageSpec};
use deltaforge_engine::stages::{OnError, TableFilter};
use deltaforge_model::pattern::Patterns;

use crate::registry::Registry;

/// Makes the plan of a checked pipeline.
///
/// # Errors
///
/// When the document names something this build does not know, which checking it has ruled out.
pub fn plan(pipeline: &Pipeline, registry: &Registry, secrets: Secrets) -> anyhow::Result<PipelinePlan> {
    let document = &pipeline.spec;
    let base_dir = pipeline
        .origin
        .as_ref()
        .and_then(|origin| origin.file.parent())
        .map(|folder| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() });
    let (metadata, spec) = (&document.metadata, &document.spec);
    let max_memory_bytes = spec.max_memory_bytes as usize;
    let stages = spec
        .processors
        .iter()
        .map(|processor| stage(document, processor, base_dir.as_ref()))
        .collect::<anyhow::Result<_>>()?;
    let sinks = spec
        .sinks
        .iter()
        .map(|sink_spec| sink(document, sink_spec, registry, base_dir.as_ref()))
        .collect::<anyhow::Result<_>>()?;
    let source = registry
        .source(&spec.source.kind)
        .ok_or_else(|| anyhow::anyhow!("no source {}", spec.source.kind))?;
    Ok(PipelinePlan {
        secrets,
        name: metadata.name.clone(),
        tenant: metadata.tenant.clone(),
        source: SourcePlan {
            id: spec.source.id.clone(),
            factory: source,
            config: spec.source.config.clone(),
        },
        stages,
        sinks,
        limits: BatchLimits {
            max_events: spec.batch.max_events as usize,
            max_bytes: spec.batch.max_bytes as usize,
            max_wait: Duration::from_millis(spec.batch.max_ms),
            respect_source_tx: spec.batch.respect_source_tx,
            hard_bytes: max_memory_bytes / 4,
        },
        max_inflight: spec.batch.max_inflight as usize,
        policy: match spec.commit_policy {
            deltaforge_config::CommitPolicy::All => CommitPolicy::All,
            deltaforge_config::CommitPolicy::Required => CommitPolicy::Required,
            deltaforge_config::CommitPolicy::Quorum { quorum } => CommitPolicy::Quorum(quorum.get() as usize),
        },
        max_memory_bytes,
        dlq: spec.journal.enabled.then(|| DlqLimits {
            max_entries: spec.journal.dlq.max_entries,
            max_age: Duration::from_secs(spec.journal.dlq.max_age_secs),
            overflow: match spec.journal.dlq.overflow_policy {
                OverflowPolicy::Block => Overflow::Block,
                OverflowPolicy::DropOldest => Overflow::DropOldest,
                OverflowPolicy::Reject => Overflow::Reject,
            },
            max_event_bytes: spec.journal.max_event_bytes as usize,
        }),
    })
}

fn code(implementation: &Implementation) -> StageCode {
    match implementation {
        Implementation::Builtin { kind, .. } => StageCode::Builtin(kind.clone()),
        Implementation::Plugin { reference, .. } => StageCode::Plugin(reference.clone()),
    }
}

/// The limits of a document's stage.
pub fn stage_limits(limits: deltaforge_config::Limits) -> StageLimits {
    StageLimits {
        cpu_ms: limits.cpu_ms,
        timeout_ms: limits.timeout_ms,
        mem_mb: limits.mem_mb,
        added_events: limits.added_events,
        edit_bytes: limits.edit_bytes,
        log_lines_per_second: limits.log_lines_per_second,
        set_by: limits.written.map(SetBy::stage),
    }
}

fn stage(
    document: &PipelineSpec,
    processor: &ProcessorSpec,
    base_dir: Option<&PathBuf>,
) -> anyhow::Result<StagePlan> {
    let patterns = |patterns: &[String]| {
        Patterns::parse(patterns).map_err(|bad| anyhow::anyhow!("{bad} is no table pattern"))
    };
    Ok(StagePlan {
        spec: StageSpec {
            id: processor.id.clone(),
            pipeline: document.metadata.name.clone(),
            tenant: document.metadata.tenant.clone(),
            code: code(&processor.implementation),
            config: processor.implementation.config().clone(),
            limits: processor.limits.map(stage_limits),
            grants: processor.grants.iter().map(|grant| grant.name().to_owned()).collect(),
            base_dir: base_dir.cloned(),
        },
        block: processor.block.clone(),
        on_error: on_error(processor.on_error),
        tables: TableFilter {
            include: patterns(&processor.tables.include)?,
            exclude: patterns(&processor.tables.exclude)?,
        },
        follows: processor.follow,
    })
}

fn on_error(written: deltaforge_config::OnError) -> OnError {
    match written {
        deltaforge_config::OnError::Fail => OnError::Fail,
        deltaforge_config::OnError::Dlq => OnError::Dlq,
        deltaforge_config::OnError::Skip => OnError::Skip,
    }
}

fn sink(
    document: &PipelineSpec,
    sink: &SinkSpec,
    registry: &Registry,
    base_dir: Option<&PathBuf>,
) -> anyhow::Result<SinkPlan> {
    Ok(SinkPlan {
        id: sink.id.clone(),
        factory: registry.sink(&sink.kind).ok_or_else(|| anyhow::anyhow!("no sink {}", sink.kind))?,
        config: sink.config.clone(),
        envelope: envelope(document, sink, &sink.envelope, base_dir),
        follows: sink.envelope.follow,
        // One that says nothing keeps what it fails on, where there is a queue.
        on_error: match sink.envelope.on_error {
            Some(written) => on_error(written),
            None if document.spec.journal.enabled => OnError::Dlq,
            None => OnError::Fail,
        },
        required: sink.required,
        filter: SinkFilter {
            exclude_synthetic: sink.filter.exclude_synthetic,
            synthetic_only: sink.filter.synthetic_only,
            producers: sink.filter.producers.clone(),
        },
        spill_max_bytes: sink.spill.max_bytes,
        start_now: sink.start == deltaforge_config::Start::Now,
    })
}

fn envelope(
    document: &PipelineSpec,
    sink: &SinkSpec,
    envelope: &EnvelopeSpec,
    base_dir: Option<&PathBuf>,
) -> StageSpec {
    StageSpec {
        id: format!("{}.envelope", sink.id),
        pipeline: document.metadata.name.clone(),
        tenant: document.metadata.tenant.clone(),
        code: code(&envelope.implementation),
        config: envelope.implementation.config().clone(),
        limits: envelope.limits.map(stage_limits),
        grants: envelope.grants.iter().map(|grant| grant.name().to_owned()).collect(),
        base_dir: base_dir.cloned(),
    }
}
