//! The stages of a pipeline, each on the generation that its position asks for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_model::{Batch, Position};
use tracing::warn;

use super::earliest;
use super::journal::Journal;
use super::lineage::{Lineage, Recorded, Stretch, Successor, Upcoming};
use crate::plan::{PipelinePlan, Services, StagePlan};
use crate::stage::{Stage, StageError, StageLimits, StageSpec, StageVersion};
use crate::stages::{GivenUp, Refusals, Rests, RunningStage, StageMetrics};
use crate::status::{Failure, StageStatus};
use crate::swap::{Generation, Swappable};
use crate::tap::{Place, Taps};
use crate::usage::Usage;
use crate::waits::Waits;

mod probation;

pub(crate) struct StageSet {
    plan: Arc<PipelinePlan>,
    services: Services,
    journal: Arc<Journal>,
    slots: Vec<Slot>,
    /// Stages that hide values as they run now, by their place, for rows that leave by another door.
    masks: BTreeMap<usize, RunningStage>,
    waits: Waits,
    taps: Taps,
}

struct Slot {
    running: RunningStage,
    lineage: Lineage,
}

/// What a swap puts in place: built and checked before the stream waits for it.
pub(crate) struct NewStage {
    pub successor: Successor,
    pub stage: Box<dyn Stage>,
    /// The same once more, for rows that leave by another door; where the stage hides values.
    pub mask: Option<Box<dyn Stage>>,
}

/// What a swap did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swapped {
    /// The version that ran before.
    pub previous: Generation,
    /// The version that runs now; its position is where it took over.
    pub current: Generation,
    /// How long the stream stood still for it, at a batch boundary.
    pub pause: Duration,
}

impl StageSet {
    /// Builds every stage on the generation that the first batch after `resume` needs.
    pub async fn build(
        plan: &Arc<PipelinePlan>,
        services: &Services,
        journal: &Arc<Journal>,
        resume: Option<Position>,
        waits: Waits,
        taps: Taps,
    ) -> Result<Self, Failure> {
        let mut set = Self {
            plan: plan.clone(),
            services: services.clone(),
            journal: journal.clone(),
            slots: Vec::new(),
            masks: BTreeMap::new(),
            waits,
            taps,
        };
        for stage in &plan.stages {
            let slot = set.open(stage, resume.as_ref()).await?;
            let index = set.slots.len();
            set.slots.push(slot);
            let mask = set.mask_of(index).await?;
            set.set_mask(index, mask);
        }
        Ok(set)
    }

    async fn open(&mut self, plan: &StagePlan, resume: Option<&Position>) -> Result<Slot, Failure> {
        let (services, source) = (self.services.clone(), self.plan.source.factory.clone());
        let what = Swappable::Stage(&plan.spec.id);
        let stretch = Stretch { lowest: resume, resume };
        let opening =
            Lineage::open(what, &plan.spec, plan.block.clone(), &services, &*source, stretch).await?;
        let (stage, version) = self.make(&opening.spec, opening.recorded.as_ref()).await?;
        let lineage = opening.settle(&*services.store, version.clone()).await?;
        Ok(Slot { running: self.running(plan, stage, version, lineage.now()), lineage })
    }

    async fn make(
        &mut self,
        spec: &StageSpec,
        recorded: Option<&StageVersion>,
    ) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
        build(&self.plan, &self.services, spec, recorded).await
    }

    /// What hides values as a stage does that is at work; `None`: the stage hides none.
    async fn mask_of(&mut self, index: usize) -> Result<Option<RunningStage>, StageError> {
        let plan = self.plan.stages[index].clone();
        let lineage = &self.slots[index].lineage;
        let (now, spec) = (lineage.now().clone(), lineage.spec_of(lineage.now()));
        if !self.services.hides(&spec) {
            return Ok(None);
        }
        let (built, version) = self.make(&spec, Some(&now.version)).await?;
        Ok(Some(self.mask(&plan, built, version, &now)))
    }

    fn mask(
        &self,
        plan: &StagePlan,
        stage: Box<dyn Stage>,
        version: StageVersion,
        generation: &Generation,
    ) -> RunningStage {
        self.running(plan, stage, version, generation).aside()
    }

    /// Puts the mask of a stage's new generation in place of the one before; `None`: it hides nothing.
    fn set_mask(&mut self, index: usize, mask: Option<RunningStage>) {
        match mask {
            Some(mask) => self.masks.insert(index, mask),
            None => self.masks.remove(&index),
        };
    }

    fn running(
        &self,
        plan: &StagePlan,
        stage: Box<dyn Stage>,
        version: StageVersion,
        generation: &Generation,
    ) -> RunningStage {
        let Self { plan: pipeline, services, waits, .. } = self;
        let running = running(pipeline, services, waits, plan, stage, version, generation.generation);
        RunningStage { on_probation: generation.probation > 0, ..running }
    }

    /// Whether generations are recorded for positions that are yet to come: a restart began before them.
    pub fn is_replaying(&self) -> bool {
        self.slots.iter().any(|slot| slot.lineage.is_replaying())
    }

    /// The first position after `from` and before `through` at which a recorded generation takes over. Those
    /// at or before `from` take over now.
    pub async fn advance(
        &mut self,
        from: &Position,
        through: &Position,
    ) -> Result<Option<Position>, Failure> {
        let source = self.plan.source.factory.clone();
        let mut cut: Option<Position> = None;
        for index in 0..self.slots.len() {
            loop {
                match self.slots[index].lineage.upcoming(&*source, from, through) {
                    Upcoming::Nothing => break,
                    Upcoming::At(at) => {
                        cut = Some(earliest(cut, at, &*source));
                        break;
                    }
                    Upcoming::Now(next) => self.take_over(index, &next).await?,
                }
            }
        }
        Ok(cut)
    }

    /// Puts a recorded generation to work.
    async fn take_over(&mut self, index: usize, next: &Generation) -> Result<(), Failure> {
        let plan = self.plan.stages[index].clone();
        let spec = self.slots[index].lineage.spec_of(next);
        let (stage, version) = self.make(&spec, Some(&next.version)).await?;
        let running = self.running(&plan, stage, version, next);
        let slot = &mut self.slots[index];
        slot.running = running;
        slot.lineage.step();
        let mask = self.mask_of(index).await?;
        self.set_mask(index, mask);
        Ok(())
    }

    /// Runs a batch through every stage. It begins after `from`; `None`: inside a transaction, where nothing can take
    /// over.
    pub async fn run(&mut self, mut batch: Batch, from: Option<&Position>) -> Result<Batch, Failure> {
        for index in 0..self.slots.len() {
            self.taps.enter(Place::Stage(index), &batch, |event| self.slots[index].running.sees(event));
            batch = match from {
                Some(from) if self.is_judged(index) => self.try_out(index, batch, from).await?,
                _ => {
                    // Not judged here, so it is not spared the search for the rows that fail either.
                    let running = &mut self.slots[index].running;
                    let on_probation = std::mem::replace(&mut running.on_probation, false);
                    let result = running.run(batch).await;
                    running.on_probation = on_probation;
                    result?
                }
            };
        }
        Ok(batch)
    }

    /// Whether a stage is judged by the next batch. In a replay it was before, or its time to be is past: another
    /// generation follows it.
    fn is_judged(&self, index: usize) -> bool {
        let Slot { running, lineage } = &self.slots[index];
        running.on_probation && !lineage.is_replaying()
    }

    /// Runs events that leave by another door through the stages that hide values. `None`: they could not be
    /// masked, so nobody may see them.
    pub async fn mask_rows(&mut self, mut batch: Batch) -> Option<Batch> {
        let events = batch.len();
        for mask in self.masks.values_mut() {
            batch = match mask.attempt(batch).await.0 {
                Ok(batch) if batch.len() == events => batch,
                Ok(_) => return None,
                Err(error) => {
                    warn!(stage = mask.id, code = error.code, error = %error, "rejected events could not be masked");
                    return None;
                }
            };
        }
        Some(batch)
    }

    /// Puts new code in place from `from` on, at work once the stream is there (`now`); what comes of it leaves when that is
    /// stored. Not while [`StageSet::is_replaying`].
    pub async fn swap(
        &mut self,
        new: NewStage,
        from: Option<&Position>,
        now: bool,
    ) -> Result<Swapped, Failure> {
        let began = Instant::now();
        let NewStage { successor, stage, mask } = new;
        let (plan, index) = self.find(&successor.spec.id)?;
        let version = successor.version.clone();
        let lineage = &mut self.slots[index].lineage;
        let Recorded { previous, current } =
            lineage.record(&self.plan, &self.services, &self.journal, successor, from, now).await?;
        if now {
            let mask = mask.map(|mask| self.mask(&plan, mask, version.clone(), &current));
            self.set_mask(index, mask);
            let running = self.running(&plan, stage, version, &current);
            self.journal.keep(std::mem::replace(&mut self.slots[index].running, running).stage);
        } else {
            self.journal.keep((stage, mask));
        }
        Ok(Swapped { previous, current, pause: began.elapsed() })
    }

    fn find(&self, id: &str) -> Result<(StagePlan, usize), Failure> {
        let index = self.plan.stages.iter().position(|stage| stage.spec.id == id);
        let index = index
            .ok_or_else(|| Failure::operator("unknown_stage", format!("the pipeline has no stage {id}")))?;
        Ok((self.plan.stages[index].clone(), index))
    }

    /// What runs where.
    pub fn describe(&self) -> Vec<StageStatus> {
        let status = |slot: &Slot| StageStatus {
            refuses_all: slot.running.refusals.all(),
            ..slot.lineage.status(&self.plan.secrets)
        };
        self.slots.iter().map(status).collect()
    }

    /// How many rows each stage has refused that lets nothing through.
    pub fn refusing(&self) -> Vec<Option<u64>> {
        self.slots.iter().map(|slot| slot.running.refusals.all().map(|all| all.rows)).collect()
    }
}

/// Builds what a spec asks for. What its configuration keeps secret is hidden from then on.
pub(super) async fn build(
    plan: &PipelinePlan,
    services: &Services,
    spec: &StageSpec,
    recorded: Option<&StageVersion>,
) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
    plan.secrets.learn(spec);
    let factory = services.stage_factory(spec).ok_or_else(|| {
        let text = format!("stage {}: nothing builds {}", spec.id, spec.code.text());
        StageError::stop("unknown_processor", text)
    })?;
    factory.build(spec, recorded).await
}

/// Puts what was built to work for a stage, on no probation.
pub(super) fn running(
    pipeline: &PipelinePlan,
    services: &Services,
    waits: &Waits,
    plan: &StagePlan,
    stage: Box<dyn Stage>,
    version: StageVersion,
    generation: u64,
) -> RunningStage {
    let usage = Usage::of(&pipeline.tenant, &version.plugin);
    let asked = plan.spec.limits.unwrap_or(StageLimits::DEFAULT);
    // What asks for more than it may was refused when it was built.
    let limits = services.tenants.capped(&pipeline.tenant, asked);
    RunningStage {
        id: plan.spec.id.clone(),
        stage,
        version,
        generation,
        on_error: plan.on_error,
        limits,
        tables: plan.tables.clone(),
        max_row_bytes: pipeline.limits.hard_bytes,
        max_memory_bytes: pipeline.max_memory_bytes,
        metrics: StageMetrics::new(&pipeline.name, &plan.spec.id, usage),
        given_up: GivenUp::new(&plan.spec.id),
        refusals: Refusals::default(),
        rests: Rests::beside(services.tenants.clone(), &pipeline.tenant),
        waits: waits.clone(),
        secrets: pipeline.secrets.clone(),
        on_probation: false,
        is_compared: false,
        saw_rows: false,
    }
}
