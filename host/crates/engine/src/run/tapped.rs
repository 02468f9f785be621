//! Events that leave by a tap carry the masks of the stages that they had not passed yet.

use std::sync::Arc;

use deltaforge_model::Batch;

use super::stage_set;
use crate::plan::{PipelinePlan, Services};
use crate::stage::StageSpec;
use crate::stages::RunningStage;
use crate::status::{Failure, StageStatus};
use crate::waits::Waits;

/// Hides what the stages from `first` on hide, as they run now, beside the stream. Answers which stages those are.
pub(crate) async fn mask(
    plan: Arc<PipelinePlan>,
    services: Services,
    stages: Vec<StageStatus>,
    first: usize,
    batches: Vec<Batch>,
) -> Result<(Vec<Batch>, Vec<String>), Failure> {
    let hidden = |why: String| Failure {
        code: "tap_not_masked".into(),
        message: format!("what was tapped cannot be masked, so nobody may see it: {why}"),
        retriable: true,
    };
    let mut masks = Vec::new();
    for (index, stage) in plan.stages.iter().enumerate().skip(first) {
        let id = &stage.spec.id;
        let now = stages.get(index).ok_or_else(|| hidden(format!("processor {id} has not run yet")))?;
        let spec = StageSpec { code: now.code.clone(), config: now.config.clone(), ..stage.spec.clone() };
        if !services.hides(&spec) {
            continue;
        }
        let recorded = now.version();
        let (built, version) = stage_set::build(&plan, &services, &spec, Some(&recorded))
            .await
            .map_err(|error| hidden(format!("processor {id}: {error}")))?;
        let waits = Waits::default();
        let running = stage_set::running(&plan, &services, &waits, stage, built, version, now.generation);
        // It waits no longer for what it needs than a version does that is compared with another one.
        masks.push(RunningStage { is_compared: true, ..running.aside() });
    }
    let mut masked = Vec::with_capacity(batches.len());
    for mut batch in batches {
        let events = batch.len();
        for mask in &mut masks {
            batch = mask.attempt(batch).await.0.map_err(|error| hidden(error.to_string()))?;
            if batch.len() != events {
                return Err(hidden(format!("processor {} fails on some of the events", mask.id)));
            }
        }
        masked.push(batch);
    }
    Ok((masked, masks.into_iter().map(|mask| mask.id).collect()))
}
