//! The generations of what can be swapped, a stage or the envelope of a sink: which one is at work, and which are
//! recorded for positions yet to come.

use deltaforge_model::Position;
use serde_json::Value;
use tracing::{debug, info, warn};

use super::is_before;
use super::journal::Journal;
use super::mark::now_ms;
use crate::plan::{PipelinePlan, Services};
use crate::secrets::Secrets;
use crate::source::SourceFactory;
use crate::stage::{StageCode, StageSpec, StageVersion};
use crate::state::{StateError, StateStore};
use crate::status::{Failure, RolledBack, StageStatus};
use crate::swap::{BY_ITSELF, Generation, History, MOST_NEEDED, Note, OwnSwap, Part, SwapKind, Swappable};

/// With so many generations it is looked which of them are past before another one comes.
const PRUNED_FROM: usize = 16;

/// The generations of one stage or envelope.
pub(crate) struct Lineage {
    part: Part,
    key: String,
    /// As the document has it.
    spec: StageSpec,
    history: History,
    /// The generation at work, as an index into the history.
    active: usize,
}

/// A lineage that is yet to be told what its first generation in this run turned out to be.
pub(crate) struct Opening {
    part: Part,
    key: String,
    planned: StageSpec,
    block: Value,
    history: Option<History>,
    active: usize,
    /// It is not what is stored any more.
    is_pruned: bool,
    /// Where this run begins.
    resume: Option<Position>,
    /// What to build.
    pub spec: StageSpec,
    /// Exactly this code; `None`: what the reference means now.
    pub recorded: Option<StageVersion>,
    /// The document has another block now than what the history was made against.
    is_edited: bool,
}

/// From where to where a history is looked at when a run begins.
pub(crate) struct Stretch<'a> {
    /// The lowest position that may have to be processed again: what ended before it is past.
    pub lowest: Option<&'a Position>,
    /// Where the run begins.
    pub resume: Option<&'a Position>,
}

/// What is put in place of what runs, besides what was built of it.
pub(crate) struct Successor {
    pub note: Note,
    /// So many batches it is judged by.
    pub probation: u32,
    /// Put back in place of a generation that was no good.
    pub instead_of: Option<u64>,
    pub spec: StageSpec,
    pub version: StageVersion,
}

/// What a history says of a stretch of the log.
pub(crate) enum Upcoming {
    /// One generation processes all of it.
    Nothing,
    /// Another one takes over inside it.
    At(Position),
    /// Another one takes over where it begins.
    Now(Box<Generation>),
}

/// What a swap did to a lineage.
pub(crate) struct Recorded {
    pub previous: Generation,
    pub current: Generation,
}

impl Lineage {
    /// Reads what ran before this run; `block` is what the document says. What is to be built for the first batch stands
    /// in the answer.
    pub async fn open(
        what: Swappable<'_>,
        spec: &StageSpec,
        block: Value,
        services: &Services,
        source: &dyn SourceFactory,
        Stretch { lowest, resume }: Stretch<'_>,
    ) -> Result<Opening, StateError> {
        let key = what.key(&spec.tenant, &spec.pipeline);
        let mut opening = Opening {
            part: what.part(),
            planned: spec.clone(),
            block,
            history: History::load(&*services.store, &key).await?,
            active: 0,
            is_pruned: false,
            resume: resume.cloned(),
            spec: spec.clone(),
            recorded: None,
            is_edited: false,
            key,
        };
        let Some(history) = &mut opening.history else { return Ok(opening) };
        let compare = |a: &Position, b: &Position| source.compare(a, b);
        opening.is_pruned = history.prune(lowest, compare);
        opening.is_edited = history.block != opening.block;
        if opening.is_edited {
            return Ok(opening);
        }
        opening.active = history.at(resume, compare);
        let now = &history.generations[opening.active];
        opening.spec = spec_of(spec, now);
        // A file beside the YAML has no version to pin; a changed one is a new generation from here on.
        let is_last = opening.active + 1 == history.generations.len();
        let is_file = matches!(&opening.spec.code, StageCode::Plugin(path) if path.starts_with(['.', '/']));
        opening.recorded = (!(is_last && is_file)).then(|| now.version.clone());
        Ok(opening)
    }

    /// What is at work.
    pub fn now(&self) -> &Generation {
        &self.history.generations[self.active]
    }

    /// What ran before that: another code or configuration that proved itself.
    pub fn before(&self) -> Option<&Generation> {
        self.history.before()
    }

    /// Every generation that a position may yet be processed with.
    pub fn generations(&self) -> &[Generation] {
        &self.history.generations
    }

    /// What a generation is built from.
    pub fn spec_of(&self, generation: &Generation) -> StageSpec {
        spec_of(&self.spec, generation)
    }

    /// Whether generations are recorded for positions that are yet to come: a restart began before them.
    pub fn is_replaying(&self) -> bool {
        self.active + 1 < self.history.generations.len()
    }

    /// Whether the stretch after `from` and through `through` is processed by what is at work.
    pub fn upcoming(&self, source: &dyn SourceFactory, from: &Position, through: &Position) -> Upcoming {
        let Some(next) = self.history.generations.get(self.active + 1) else { return Upcoming::Nothing };
        match next.from() {
            None => Upcoming::Nothing,
            Some(at) if !is_before(source.compare(from, &at)) => Upcoming::Now(Box::new(next.clone())),
            Some(at) if is_before(source.compare(&at, through)) => Upcoming::At(at),
            Some(_) => Upcoming::Nothing,
        }
    }

    /// The next generation is at work from now on.
    pub fn step(&mut self) {
        self.active += 1;
    }

    /// Records a successor from `from` on, at work at once if `now`. What no replay needs any more, since even the
    /// lowest stored checkpoint is past it, is let go. Durable when the journal's gate opens. Not while
    /// [`Lineage::is_replaying`].
    ///
    /// # Errors
    ///
    /// When a replay may need too many generations already, or the store cannot be read. Nothing has changed then.
    pub async fn record(
        &mut self,
        plan: &PipelinePlan,
        services: &Services,
        journal: &Journal,
        new: Successor,
        from: Option<&Position>,
        now: bool,
    ) -> Result<Recorded, Failure> {
        let mut history = self.history.clone();
        if history.generations.len() >= PRUNED_FROM {
            let lowest = super::lowest_checkpoint(plan, services).await?;
            let ended =
                history.at(lowest.as_ref(), |a, b| plan.source.factory.compare(a, b)).min(self.active);
            history.retire_first(ended);
        }
        // What did worse is put back whatever there is: it comes once for each swap that was taken.
        if new.instead_of.is_none() && history.is_full() {
            return Err(self.full(history.generations.len()));
        }
        let previous = self.now().clone();
        // What takes the place of itself has nothing to be judged by, once it has proved itself.
        let is_judged = previous.probation > 0
            || previous.version.digest != new.version.digest
            || previous.config != new.spec.config;
        let current = Generation {
            probation: if is_judged { new.probation } else { 0 },
            instead_of: new.instead_of,
            ..generation(history.newest() + 1, &new.spec, new.version, from, new.note)
        };
        if now && previous.from == current.from {
            // Nothing has passed the previous version.
            if let Some(unused) = history.generations.pop() {
                history.retire(unused);
            }
        }
        history.generations.push(current.clone());
        let own = (current.note.by == BY_ITSELF).then(|| self.own_swap(&previous, &current));
        journal.write(history.records(&self.key, own.as_ref())?, own.is_some()).await;
        // What is at work until then stands before it.
        self.active = history.generations.len() - if now { 1 } else { 2 };
        self.history = history;
        Ok(Recorded { previous, current })
    }

    fn full(&self, needed: usize) -> Failure {
        let id = &self.spec.id;
        Failure {
            code: "too_many_generations".to_owned(),
            message: format!(
                "{id}: a replay may still need {needed} generations, since a sink's checkpoint stays behind, and no more \
                 than {MOST_NEEDED} or 8 MiB of them are kept: look at GET /pipelines/{}/checkpoints, and try again \
                 when that sink has caught up",
                self.spec.pipeline
            ),
            retriable: true,
        }
    }

    fn own_swap(&self, previous: &Generation, current: &Generation) -> OwnSwap {
        let StageSpec { tenant, pipeline, id, .. } = &self.spec;
        let part = match self.part {
            Part::Stage => id,
            Part::Envelope => id.strip_suffix(".envelope").unwrap_or(id),
        };
        OwnSwap {
            at_ms: current.at_ms,
            tenant: tenant.clone(),
            pipeline: pipeline.clone(),
            part: part.to_owned(),
            previous: previous.version.plugin.clone(),
            current: current.version.plugin.clone(),
            digest: current.version.digest.clone(),
            generation: current.generation,
            instead_of: current.instead_of,
            why: current.note.why.clone(),
        }
    }

    /// One batch less that what is at work is judged by. Durable when the journal's gate opens. Answers how many are left.
    pub async fn passed(&mut self, journal: &Journal) -> Result<u32, StateError> {
        let now = &mut self.history.generations[self.active];
        now.probation = now.probation.saturating_sub(1);
        journal.write(self.history.records(&self.key, None)?, false).await;
        Ok(self.now().probation)
    }

    /// What is at work, for people to see.
    pub fn status(&self, secrets: &Secrets) -> StageStatus {
        let now = self.now();
        StageStatus {
            id: self.spec.id.clone(),
            part: self.part,
            plugin: now.version.plugin.clone(),
            digest: now.version.digest.clone(),
            generation: now.generation,
            position: now.from.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()),
            since_ms: now.at_ms,
            probation: now.probation,
            rolled_back: now
                .instead_of
                .map(|generation| RolledBack { generation, why: secrets.hide(&now.note.why) }),
            refuses_all: None,
            code: StageCode::of_text(&now.code),
            config: now.config.clone(),
        }
    }
}

impl Opening {
    /// Goes on with what was built: the generation that it was, or a new one where it is something else.
    pub async fn settle(self, store: &dyn StateStore, version: StageVersion) -> Result<Lineage, StateError> {
        let Self { part, key, planned, block, history, active, is_pruned, resume, spec, recorded, is_edited } =
            self;
        let is_another = |history: &History| {
            is_edited || recorded.is_none() && history.generations[active].version.digest != version.digest
        };
        let (history, active) = match history {
            None => {
                let note = Note::new("configuration", "the first start");
                let first = generation(1, &spec, version, None, note);
                let history = History { block, generations: vec![first], past: Vec::new() };
                if part == Part::Envelope && matches!(spec.code, StageCode::Builtin(_)) {
                    // Nothing to remember: it is what the document says, until it is swapped.
                    return Ok(Lineage { part, key, spec: planned, history, active: 0 });
                }
                (history, 0)
            }
            Some(mut history) if is_another(&history) => {
                let number = history.newest() + 1;
                let before = history.generations.last().unwrap_or(&history.generations[active]);
                if !is_edited || before.kind() == Some(SwapKind::Start) {
                    info!(
                        stage = spec.id,
                        generation = number,
                        "the stage changed since it last ran; it takes over at the checkpoint"
                    );
                } else {
                    let (was, now) = (&before.version.plugin, &version.plugin);
                    warn!(
                        stage = spec.id,
                        generation = number,
                        was,
                        now,
                        "the stage's block was edited since a swap, and counts from here on: what was swapped in is not run any more"
                    );
                }
                for ended in std::mem::take(&mut history.generations) {
                    history.retire(ended);
                }
                let why =
                    if is_edited { "the stage's block was edited" } else { "the plugin's file changed" };
                let note = Note::new("configuration", why);
                history.generations.push(generation(number, &spec, version, resume.as_ref(), note));
                history.block = block;
                (history, 0)
            }
            Some(history) => {
                // What is past is let go with the next record, where it cannot be now.
                if is_pruned && let Err(error) = history.save(store, &key).await {
                    debug!(stage = spec.id, %error, "what is past of the history is not let go");
                }
                return Ok(Lineage { part, key, spec: planned, history, active });
            }
        };
        history.save(store, &key).await?;
        Ok(Lineage { part, key, spec: planned, history, active })
    }
}

/// The spec that a recorded generation was built from.
pub(crate) fn spec_of(planned: &StageSpec, generation: &Generation) -> StageSpec {
    let code = StageCode::of_text(&generation.code);
    StageSpec { code, config: generation.config.clone(), ..planned.clone() }
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
