//! The envelopes of a pipeline's sinks, each on the generation that its position asks for, and the messages that they
//! make.

use std::sync::Arc;
use std::time::Instant;

use deltaforge_model::{Batch, Boundary, Position};
use serde_json::Value;
use tokio::sync::watch;

use super::earliest;
use super::journal::Journal;
use super::lineage::{Lineage, Recorded, Stretch, Successor, Upcoming, spec_of};
use super::mark::Start;
use super::stage_set::Swapped;
use crate::compose::{Composer, SinkFilter, Unwritten};
use crate::message::{Formatter, MessageBatch};
use crate::plan::{PipelinePlan, Services, SinkPlan};
use crate::sink::Addressing;
use crate::stage::{StageError, StageSpec, StageVersion};
use crate::stages::OnError;
use crate::status::{Failure, StageStatus};
use crate::swap::{Generation, Swappable, generation_at};

mod probation;

/// The envelopes of all sinks. Sinks that want the same messages share them.
pub(crate) struct Envelopes {
    plan: Arc<PipelinePlan>,
    services: Services,
    journal: Arc<Journal>,
    /// Of each sink.
    lineages: Vec<Lineage>,
    /// Of each sink: its generations, for what is shaped late.
    told: Vec<watch::Sender<Arc<[Generation]>>>,
    groups: Vec<Group>,
}

/// Sinks that want the same messages.
struct Group {
    wish: Wish,
    composer: Composer,
    sinks: Vec<usize>,
}

/// What messages a sink wants.
#[derive(Debug, Clone, PartialEq)]
struct Wish {
    /// SHA-256 of the formatter's code.
    digest: String,
    config: Value,
    limits: String,
    addressing: Addressing,
    filter: SinkFilter,
    on_error: OnError,
    /// The sink whose new envelope is on probation: it is judged by itself.
    on_probation: Option<usize>,
}

/// Messages of one batch, and who wants them.
pub(crate) struct Made {
    pub messages: Arc<MessageBatch>,
    pub unwritten: Vec<Unwritten>,
    pub sinks: Vec<usize>,
    /// They are of what comes from here on.
    pub first_row: u32,
}

/// What a swap of an envelope puts in place: built and checked before the stream waits for it.
pub(crate) struct NewEnvelope {
    pub sink: usize,
    pub successor: Successor,
    pub formatter: Box<dyn Formatter>,
}

impl Envelopes {
    /// Builds every envelope on the generation that the first batch after `resume` needs. `starts`: what each sink's own
    /// checkpoint says.
    pub async fn build(
        plan: &Arc<PipelinePlan>,
        services: &Services,
        journal: &Arc<Journal>,
        resume: Option<&Position>,
        starts: &[Start],
    ) -> Result<Self, Failure> {
        let mut set = Self {
            plan: plan.clone(),
            services: services.clone(),
            journal: journal.clone(),
            lineages: Vec::new(),
            told: Vec::new(),
            groups: Vec::new(),
        };
        let mut ready = Vec::new();
        for (sink, start) in plan.sinks.iter().zip(starts) {
            let spec = &sink.envelope;
            let block = spec.code.block(&spec.config);
            // Its spill may hold what comes before where the source resumes.
            let stretch = Stretch { lowest: start.resume.as_ref(), resume };
            let source = &*plan.source.factory;
            let what = Swappable::Envelope(&sink.id);
            let opening = Lineage::open(what, spec, block, services, source, stretch).await?;
            plan.secrets.learn(&opening.spec);
            let (formatter, version) =
                formatter(sink, services, &opening.spec, opening.recorded.as_ref()).await?;
            let lineage = opening.settle(&*services.store, version).await?;
            set.told.push(watch::Sender::new(lineage.generations().into()));
            set.lineages.push(lineage);
            let wish = set.wish(set.lineages.len() - 1);
            if !ready.iter().any(|(known, _)| *known == wish) {
                ready.push((wish, composer(sink, formatter)?));
            }
        }
        set.regroup(ready).await?;
        Ok(set)
    }

    /// What the sink wants now.
    fn wish(&self, index: usize) -> Wish {
        let (sink, now) = (&self.plan.sinks[index], self.lineages[index].now());
        let StageSpec { limits, grants, .. } = &sink.envelope;
        Wish {
            digest: format!("{} {}", now.version.plugin, now.version.digest),
            config: now.config.clone(),
            limits: format!("{limits:?} {grants:?}"),
            addressing: sink.factory.addressing(&sink.config),
            filter: sink.filter.clone(),
            on_error: sink.on_error,
            on_probation: (now.probation > 0).then_some(index),
        }
    }

    /// Makes groups of the sinks by what they want now, from the composers at work and from those that are `ready`.
    async fn regroup(&mut self, mut ready: Vec<(Wish, Composer)>) -> Result<(), Failure> {
        ready.extend(std::mem::take(&mut self.groups).into_iter().map(|group| (group.wish, group.composer)));
        for index in 0..self.lineages.len() {
            let wish = self.wish(index);
            if let Some(group) = self.groups.iter_mut().find(|group| group.wish == wish) {
                group.sinks.push(index);
                continue;
            }
            let at = ready.iter().position(|(known, _)| *known == wish);
            let composer = match at {
                Some(at) => ready.swap_remove(at).1,
                None => {
                    let now = self.lineages[index].now().clone();
                    self.composer_of(index, &now).await?.0
                }
            };
            self.groups.push(Group { wish, composer, sinks: vec![index] });
        }
        Ok(())
    }

    /// A composer of one of a sink's generations.
    async fn composer_of(
        &mut self,
        index: usize,
        generation: &Generation,
    ) -> Result<(Composer, StageVersion), Failure> {
        let spec = self.lineages[index].spec_of(generation);
        let sink = &self.plan.sinks[index];
        let (formatter, version) = formatter(sink, &self.services, &spec, Some(&generation.version)).await?;
        Ok((composer(sink, formatter)?, version))
    }

    /// Whether generations are recorded for positions that are yet to come: a restart began before them.
    pub fn is_replaying(&self) -> bool {
        self.lineages.iter().any(Lineage::is_replaying)
    }

    /// The first position after `from` and before `through` at which a recorded generation takes over. Those at or before
    /// `from` take over now.
    pub async fn advance(
        &mut self,
        from: &Position,
        through: &Position,
    ) -> Result<Option<Position>, Failure> {
        let source = self.plan.source.factory.clone();
        let mut cut: Option<Position> = None;
        let mut changed = false;
        for lineage in &mut self.lineages {
            loop {
                match lineage.upcoming(&*source, from, through) {
                    Upcoming::Nothing => break,
                    Upcoming::At(at) => {
                        cut = Some(earliest(cut, at, &*source));
                        break;
                    }
                    Upcoming::Now(_) => {
                        lineage.step();
                        changed = true;
                    }
                }
            }
        }
        if changed {
            self.regroup(Vec::new()).await?;
        }
        Ok(cut)
    }

    /// Makes the messages of a batch for every sink, of what comes from its first row on. It begins after `from`; `None`:
    /// inside a transaction, where nothing can take over.
    pub async fn compose(
        &mut self,
        batch: &Arc<Batch>,
        boundary: &Boundary,
        from: Option<&Position>,
        first_rows: &[u32],
    ) -> Result<Vec<Made>, Failure> {
        let mut all = Vec::with_capacity(self.groups.len());
        if let Some(from) = from {
            for (sink, first_row) in first_rows.iter().copied().enumerate() {
                // Not where another generation follows it: its time to be judged is past.
                let lineage = &self.lineages[sink];
                if lineage.now().probation > 0 && !lineage.is_replaying() && first_row < u32::MAX {
                    all.push(self.try_out(sink, batch, boundary, from, first_row).await?);
                }
            }
        }
        let judged: Vec<usize> = all.iter().flat_map(|made: &Made| made.sinks.clone()).collect();
        for group in &mut self.groups {
            let others = group.sinks.iter().filter(|sink| !judged.contains(sink));
            let sinks: Vec<usize> = others.copied().collect();
            if !sinks.is_empty() {
                let first_row = sinks.iter().map(|sink| first_rows[*sink]).min().unwrap_or(0);
                let (messages, unwritten) = group.composer.compose(batch, boundary, first_row).await?;
                all.push(Made { messages: Arc::new(messages), unwritten, sinks, first_row });
            }
        }
        Ok(all)
    }

    /// Whether some sink's envelope is yet to be judged.
    pub fn is_on_probation(&self) -> bool {
        self.lineages.iter().any(|lineage| lineage.now().probation > 0)
    }

    /// Puts a new envelope in place from `from` on, at work once the stream is there (`now`); what comes of it leaves when
    /// that is stored. Not while [`Envelopes::is_replaying`].
    pub async fn swap(
        &mut self,
        new: NewEnvelope,
        from: Option<&Position>,
        now: bool,
    ) -> Result<Swapped, Failure> {
        let began = Instant::now();
        let NewEnvelope { sink, successor, formatter } = new;
        let composer = composer(&self.plan.sinks[sink], formatter)?;
        let Recorded { previous, current } = self.record(sink, successor, from, now).await?;
        if now {
            self.regroup(vec![(self.wish(sink), composer)]).await?;
        } else {
            self.journal.keep(composer);
        }
        Ok(Swapped { previous, current, pause: began.elapsed() })
    }

    async fn record(
        &mut self,
        sink: usize,
        successor: Successor,
        from: Option<&Position>,
        now: bool,
    ) -> Result<Recorded, Failure> {
        let lineage = &mut self.lineages[sink];
        let recorded =
            lineage.record(&self.plan, &self.services, &self.journal, successor, from, now).await?;
        self.told[sink].send_replace(lineage.generations().into());
        Ok(recorded)
    }

    /// What is at work for each sink.
    pub fn describe(&self) -> Vec<StageStatus> {
        self.lineages.iter().map(|lineage| lineage.status(&self.plan.secrets)).collect()
    }

    /// The envelope of a sink for what is shaped late.
    pub fn late(&self, sink: usize) -> LateEnvelope {
        LateEnvelope {
            plan: self.plan.clone(),
            sink,
            services: self.services.clone(),
            generations: self.told[sink].subscribe(),
            at_work: None,
        }
    }
}

/// A sink's envelope for what comes from its spill, and for what is shaped once more: each batch by the generation that it
/// was read under, whatever runs by now. It computes on its tenant's account, as the worker does.
pub(crate) struct LateEnvelope {
    plan: Arc<PipelinePlan>,
    sink: usize,
    services: Services,
    generations: watch::Receiver<Arc<[Generation]>>,
    at_work: Option<(u64, Composer)>,
}

impl LateEnvelope {
    /// Makes the messages of a batch that begins after `from`, of what comes from its first row on.
    pub async fn compose(
        &mut self,
        batch: &Arc<Batch>,
        from: &Position,
        boundary: &Boundary,
        first_row: u32,
    ) -> Result<(MessageBatch, Vec<Unwritten>), Failure> {
        let generations = self.generations.borrow().clone();
        let source = &self.plan.source.factory;
        let at = generation_at(&generations, Some(from), |a, b| source.compare(a, b));
        let now = generations[at].generation;
        let at_work = self.at_work.take().filter(|(generation, _)| *generation == now);
        let (plan, index, services) = (self.plan.clone(), self.sink, self.services.clone());
        let (batch, boundary) = (batch.clone(), boundary.clone());
        let work = async move {
            let mut composer = match at_work {
                Some((_, composer)) => composer,
                None => {
                    let (sink, wanted) = (&plan.sinks[index], &generations[at]);
                    let spec = spec_of(&sink.envelope, wanted);
                    let (formatter, _) = formatter(sink, &services, &spec, Some(&wanted.version)).await?;
                    composer(sink, formatter)?
                }
            };
            let made = composer.compose(&batch, &boundary, first_row).await;
            Ok::<_, Failure>(((now, composer), made))
        };
        let Services { tenants, compute, .. } = &self.services;
        let (at_work, made) = tenants.run_demotable_on(compute, &self.plan.tenant, work).await?;
        self.at_work = Some(at_work);
        Ok(made?)
    }

    /// Nothing is to be shaped for now: what it was built of goes.
    pub fn rest(&mut self) {
        self.at_work = None;
    }
}

/// Builds a formatter for a sink.
async fn formatter(
    sink: &SinkPlan,
    services: &Services,
    spec: &StageSpec,
    recorded: Option<&StageVersion>,
) -> Result<(Box<dyn Formatter>, StageVersion), Failure> {
    let factory = services.formatter_factory(spec).ok_or_else(|| {
        let text = format!("sink {}: nothing builds the envelope {}", sink.id, spec.code.text());
        StageError::stop("unknown_envelope", text)
    })?;
    Ok(factory.build(spec, recorded).await?)
}

fn composer(sink: &SinkPlan, formatter: Box<dyn Formatter>) -> Result<Composer, Failure> {
    let taken = sink.factory.takes(&sink.config, formatter.content_type());
    taken.map_err(|error| Failure::of_sink(&sink.id, &error))?;
    Composer::new(formatter, &sink.factory.addressing(&sink.config), sink.filter.clone())
        .map(|composer| composer.on_error(sink.on_error))
        .map_err(|error| Failure::operator("bad_template", format!("sink {}: {error}", sink.id)))
}
