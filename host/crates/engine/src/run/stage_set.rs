//! The stages of a pipeline, each on the generation that its position asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_model::{Batch, Position};
use serde_json::Value;
use tracing::{info, warn};

use super::is_before;
use super::mark::now_ms;
use crate::failpoint;
use crate::plan::{PipelinePlan, Services, StagePlan};
use crate::stage::{Stage, StageCode, StageError, StageLimits, StageSpec, StageVersion};
use crate::stages::{GivenUp, OnError, RunningStage, StageMetrics};
use crate::status::{Failure, RolledBack, StageStatus};
use crate::swap::{Generation, History, Note};
use crate::usage::Usage;
use crate::waits::Waits;

mod probation;

pub(crate) struct StageSet {
    plan: Arc<PipelinePlan>,
    services: Services,
    slots: Vec<Slot>,
    /// Stages that hide values, for rows that leave by another door.
    masks: Vec<(usize, RunningStage)>,
    waits: Waits,
}

struct Slot {
    running: RunningStage,
    history: History,
    /// The generation at work, as an index into the history.
    active: usize,
}

/// What a swap puts in place: built and checked before the stream waits for it.
pub(crate) struct NewStage {
    pub note: Note,
    /// So many batches it is judged by.
    pub probation: u32,
    /// Put back in place of a generation that was no good.
    pub instead_of: Option<u64>,
    pub spec: StageSpec,
    pub stage: Box<dyn Stage>,
    pub version: StageVersion,
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

/// The spec that a recorded generation was built from.
fn spec_of(plan: &StagePlan, generation: &Generation) -> StageSpec {
    let code = StageCode::of_text(&generation.code);
    StageSpec { code, config: generation.config.clone(), ..plan.spec.clone() }
}

fn generation(
    number: u64,
    spec: &StageSpec,
    version: StageVersion,
    from: Option<&Position>,
    note: Note,
) -> Generation {
    Generation {
        note,
        generation: number,
        version,
        code: spec.code.text(),
        config: spec.config.clone(),
        from: from.map(|position| position.as_str().to_owned()),
        at_ms: now_ms(),
        probation: 0,
        instead_of: None,
    }
}

impl StageSet {
    /// Builds every stage on the generation that the first batch after `resume` needs.
    pub async fn build(
        plan: &Arc<PipelinePlan>,
        services: &Services,
        resume: Option<Position>,
        waits: Waits,
    ) -> Result<Self, Failure> {
        let mut set = Self {
            plan: plan.clone(),
            services: services.clone(),
            slots: Vec::new(),
            masks: Vec::new(),
            waits,
        };
        for stage in &plan.stages {
            let slot = set.open(stage, resume.as_ref()).await?;
            if let Some(mask) = set.mask_of(stage, &slot.history.generations[slot.active]).await? {
                set.masks.push((set.slots.len(), mask));
            }
            set.slots.push(slot);
        }
        Ok(set)
    }

    async fn open(&mut self, plan: &StagePlan, resume: Option<&Position>) -> Result<Slot, Failure> {
        let (services, factory) = (self.services.clone(), self.plan.source.factory.clone());
        let (store, compare) = (&*services.store, |a: &Position, b: &Position| factory.compare(a, b));
        let key = self.key(&plan.spec.id);
        let Some(mut history) = History::load(store, &key).await? else {
            let (stage, version) = self.make(&plan.spec, None).await?;
            let note = Note::new("configuration", "the first start");
            let first = generation(1, &plan.spec, version.clone(), None, note);
            let history = History { block: plan.block.clone(), generations: vec![first], past: Vec::new() };
            history.save(store, &key).await?;
            return Ok(Slot { running: self.running(plan, stage, version, 1), history, active: 0 });
        };
        history.prune(resume, compare);
        let last = history.generations.len() == 1;
        let edited = history.block != plan.block;
        // A file beside the YAML has no version to pin; a changed one is a new generation from here on.
        let reresolved =
            last && matches!(&plan.spec.code, StageCode::Plugin(path) if path.starts_with(['.', '/']));
        if edited || reresolved {
            let spec = if edited { plan.spec.clone() } else { spec_of(plan, &history.generations[0]) };
            let (stage, version) = self.make(&spec, None).await?;
            if edited || version.digest != history.generations[0].version.digest {
                let number = history.generations.iter().map(|g| g.generation).max().unwrap_or(0) + 1;
                info!(
                    stage = plan.spec.id,
                    generation = number,
                    "the stage changed since it last ran; it takes over at the checkpoint"
                );
                for ended in std::mem::take(&mut history.generations) {
                    history.retire(ended);
                }
                let why = if edited { "the stage's block was edited" } else { "the plugin's file changed" };
                let note = Note::new("configuration", why);
                history.generations.push(generation(number, &spec, version.clone(), resume, note));
                history.block = plan.block.clone();
                history.save(store, &key).await?;
                return Ok(Slot { running: self.running(plan, stage, version, number), history, active: 0 });
            }
        }
        history.save(store, &key).await?;
        let now = &history.generations[0];
        let (stage, version) = self.make(&spec_of(plan, now), Some(&now.version.digest)).await?;
        let mut running = self.running(plan, stage, version, now.generation);
        running.on_probation = now.probation > 0;
        Ok(Slot { running, history, active: 0 })
    }

    /// Builds what a spec asks for. What its configuration keeps secret is hidden from then on.
    async fn make(
        &mut self,
        spec: &StageSpec,
        digest: Option<&str>,
    ) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
        self.plan.secrets.learn(spec);
        let factory = self.services.stage_factory(spec).ok_or_else(|| {
            let text = format!("stage {}: nothing builds {}", spec.id, spec.code.text());
            StageError::stop("unknown_processor", text)
        })?;
        factory.build(spec, digest).await
    }

    /// What hides values as this generation of a stage does; `None`: the stage hides none.
    async fn mask_of(
        &mut self,
        plan: &StagePlan,
        generation: &Generation,
    ) -> Result<Option<RunningStage>, StageError> {
        if !plan.masks {
            return Ok(None);
        }
        let digest = Some(generation.version.digest.as_str());
        let (built, version) = self.make(&spec_of(plan, generation), digest).await?;
        Ok(Some(self.mask(plan, built, version, generation.generation)))
    }

    fn mask(
        &self,
        plan: &StagePlan,
        stage: Box<dyn Stage>,
        version: StageVersion,
        generation: u64,
    ) -> RunningStage {
        RunningStage { on_error: OnError::Skip, ..self.running(plan, stage, version, generation) }
    }

    /// Puts the mask of a stage's new generation in place of the one before.
    fn set_mask(&mut self, index: usize, mask: Option<RunningStage>) {
        let old = self.masks.iter_mut().find(|(of, _)| *of == index);
        if let (Some((_, old)), Some(mask)) = (old, mask) {
            *old = mask;
        }
    }

    fn key(&self, stage: &str) -> String {
        History::key(&self.plan.tenant, &self.plan.name, stage)
    }

    fn running(
        &self,
        plan: &StagePlan,
        stage: Box<dyn Stage>,
        version: StageVersion,
        generation: u64,
    ) -> RunningStage {
        let usage = Usage::of(&self.plan.tenant, &version.plugin);
        let asked = plan.spec.limits.unwrap_or(StageLimits::DEFAULT);
        // What asks for more than it may was refused when it was built.
        let bounded = self.services.tenants.stage_limits(&self.plan.tenant, asked, StageLimits::DEFAULT);
        let limits = bounded.unwrap_or(asked);
        RunningStage {
            id: plan.spec.id.clone(),
            stage,
            version,
            generation,
            on_error: plan.on_error,
            limits,
            tables: plan.tables.clone(),
            max_row_bytes: self.plan.limits.hard_bytes,
            max_memory_bytes: self.plan.max_memory_bytes,
            metrics: StageMetrics::new(&self.plan.name, &plan.spec.id, usage),
            given_up: GivenUp::new(&plan.spec.id),
            waits: self.waits.clone(),
            secrets: self.plan.secrets.clone(),
            on_probation: false,
            is_compared: false,
            saw_rows: false,
        }
    }

    /// Whether generations are recorded for positions that are yet to come: a restart began before them.
    pub fn is_replaying(&self) -> bool {
        self.slots.iter().any(|slot| slot.active + 1 < slot.history.generations.len())
    }

    /// The first position after `from` and before `through` at which a recorded generation takes over. Those
    /// at or before `from` take over now.
    pub async fn advance(
        &mut self,
        from: &Position,
        through: &Position,
    ) -> Result<Option<Position>, Failure> {
        let factory = self.plan.source.factory.clone();
        let mut cut: Option<Position> = None;
        for index in 0..self.slots.len() {
            loop {
                let slot = &self.slots[index];
                let Some(next) = slot.history.generations.get(slot.active + 1) else { break };
                let Some(at) = next.from() else { break };
                if is_before(factory.compare(from, &at)) {
                    if is_before(factory.compare(&at, through))
                        && cut.as_ref().is_none_or(|cut| is_before(factory.compare(&at, cut)))
                    {
                        cut = Some(at);
                    }
                    break;
                }
                let plan = self.plan.stages[index].clone();
                let next = next.clone();
                let (stage, version) = self.make(&spec_of(&plan, &next), Some(&next.version.digest)).await?;
                let mut running = self.running(&plan, stage, version, next.generation);
                running.on_probation = next.probation > 0;
                let mask = self.mask_of(&plan, &next).await?;
                self.set_mask(index, mask);
                let slot = &mut self.slots[index];
                slot.running = running;
                slot.active += 1;
            }
        }
        Ok(cut)
    }

    /// Runs a batch through every stage. It begins after `from`; `None`: inside a transaction, where nothing can take
    /// over.
    pub async fn run(&mut self, mut batch: Batch, from: Option<&Position>) -> Result<Batch, Failure> {
        for index in 0..self.slots.len() {
            batch = match from {
                Some(from) if self.slots[index].running.on_probation => {
                    self.try_out(index, batch, from).await?
                }
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

    /// Runs events that leave by another door through the stages that hide values. `None`: they could not be
    /// masked, so nobody may see them.
    pub async fn mask_rows(&mut self, mut batch: Batch) -> Option<Batch> {
        let events = batch.len();
        for (_, mask) in &mut self.masks {
            batch = match mask.run(batch).await {
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

    /// Puts new code in place from `from` on: stored first, then at work, once the stream is there (`now`). Not while
    /// [`StageSet::is_replaying`].
    pub async fn swap(
        &mut self,
        id: &str,
        new: NewStage,
        from: Option<&Position>,
        now: bool,
    ) -> Result<Swapped, Failure> {
        let began = Instant::now();
        let (plan, index) = self.find(id)?;
        let slot = &self.slots[index];
        let mut history = slot.history.clone();
        let previous = history.generations[slot.active].clone();
        let newest = slot.history.generations.iter().map(|generation| generation.generation).max();
        let number = newest.unwrap_or(0) + 1;
        // What takes the place of itself, or of nothing, has nothing to be judged by.
        let is_judged = new.probation > 0
            && (previous.version.digest != new.version.digest || previous.config != new.spec.config);
        let current = Generation {
            probation: if is_judged { new.probation } else { 0 },
            instead_of: new.instead_of,
            ..generation(number, &new.spec, new.version.clone(), from, new.note)
        };
        if previous.from == current.from {
            // Nothing has passed the previous version.
            if let Some(unused) = history.generations.pop() {
                history.retire(unused);
            }
        }
        history.generations.push(current.clone());
        history.save(&*self.services.store, &self.key(id)).await?;
        failpoint::hit("swap.stored");
        if now {
            let mask = new.mask.map(|mask| self.mask(&plan, mask, new.version.clone(), number));
            self.set_mask(index, mask);
            self.slots[index].running = self.running(&plan, new.stage, new.version, number);
            self.slots[index].running.on_probation = current.probation > 0;
            self.slots[index].active = history.generations.len() - 1;
        }
        self.slots[index].history = history;
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
        let one = |slot: &Slot| {
            let now = &slot.history.generations[slot.active];
            StageStatus {
                id: slot.running.id.clone(),
                plugin: now.version.plugin.clone(),
                digest: now.version.digest.clone(),
                generation: now.generation,
                position: now.from.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()),
                since_ms: now.at_ms,
                probation: now.probation,
                rolled_back: now
                    .instead_of
                    .map(|generation| RolledBack { generation, why: self.plan.secrets.hide(&now.note.why) }),
                code: StageCode::of_text(&now.code),
                config: now.config.clone(),
            }
        };
        self.slots.iter().map(one).collect()
    }
}
