//! What a pipeline says about itself. Everything the API shows comes from here, and nothing here is hoped.

mod failure;
mod metrics;
mod shown;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use self::failure::{Failure, with_causes};
use self::metrics::PipelineMetrics;
pub use self::shown::{Gap, PipelineStatus, RolledBack, SinkStatus, StageStatus, State, position_json};
use crate::anew::BegunAnew;
use crate::error::Next;
use crate::halt::Halt;
use crate::narrate::{self, Episode};
use crate::plan::PipelinePlan;
use crate::secrets::Secrets;
use crate::sink::SinkError;
use crate::spill::Spill;
use crate::stage::StageError;
use crate::stages::GivenUp;
use crate::tap::Taps;
use crate::waits::{Waits, ms_until};

/// A sink of the commit policy that fails for longer than this makes the pipeline count as failed.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(10);

/// A spill's files, held by whoever is at work on them.
pub(crate) type SpillFiles = Arc<Mutex<Spill>>;

/// The state that tasks write and the API reads.
pub struct Shared {
    inner: Mutex<Inner>,
    waits: Waits,
    halt: Halt,
    taps: Taps,
    secrets: Secrets,
    gaps: tokio::sync::Mutex<()>,
    /// Per sink: its spill, as it was opened last.
    spills: Mutex<Vec<Option<SpillFiles>>>,
    /// Per sink whose envelope fails on events that are then dropped: those, for the log.
    skipped: Mutex<BTreeMap<String, GivenUp>>,
    /// Metrics with their labels made once.
    pub(crate) metrics: PipelineMetrics,
}

/// A pipeline that has run for so long has caught up with what its failure held up, or shows it as under way.
const WELL_AFTER: Duration = Duration::from_secs(30);

struct Inner {
    name: String,
    tenant: String,
    state: State,
    error: Option<Failure>,
    retry_at: Option<Instant>,
    running_since: Option<Instant>,
    /// It has failed, and delivered nothing since.
    behind_since: Option<Instant>,
    /// What ended it at work and only a person can mend. Trying again does not make it well, getting on does.
    stuck: Option<Stuck>,
    /// The sink whose failure ends the attempt.
    culprit: Option<usize>,
    /// It reads nothing, as an operator wants.
    paused_since: Option<tokio::time::Instant>,
    sinks: Vec<SinkStatus>,
    /// Per sink: what the log tells of its failures.
    episodes: Vec<Option<Episode>>,
    stages: Vec<StageStatus>,
    /// Per batch on its way: seq, newest commit time, when it was opened.
    open: std::collections::VecDeque<(u64, i64, Instant)>,
    durable: Vec<u64>,
    policy: Vec<bool>,
    /// How many sinks of the policy it does without.
    slack: usize,
    dead_letters_lost: u64,
    begun_anew: Vec<BegunAnew>,
    /// Rows that were read before this attempt, or have been through the stages in it.
    processed: u64,
    /// An attempt ended before what it had read was delivered and checkpointed, and nothing has been since.
    undrained: bool,
}

/// What a pipeline cannot get past.
struct Stuck {
    failure: Failure,
    /// The sink that failed; `None`: something else did.
    sink: Option<usize>,
}

impl Inner {
    /// A sink of the commit policy that has held the pipeline up for so long that it counts as failed while it runs.
    fn stalled_sink(&self) -> Option<&SinkStatus> {
        let stalled =
            |sink: &SinkStatus| sink.failing_since.is_some_and(|since| since.elapsed() > STALLED_AFTER);
        let policy = self.sinks.iter().zip(&self.policy).filter(|(_, policy)| **policy);
        let mut stalled = policy.map(|(sink, _)| sink).filter(|sink| stalled(sink));
        if self.is_at_work() { stalled.nth(self.slack) } else { None }
    }

    /// A paused pipeline still delivers what it has read.
    fn is_at_work(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    /// What a pipeline that is held up shows: one that an operator paused is paused, and need not get on.
    fn state_held_up(&self) -> State {
        if self.state == State::Paused { State::Paused } else { State::Failed }
    }

    fn is_stalled(&self) -> bool {
        self.stalled_sink().is_some()
    }

    /// Of what it cannot read it cannot know how old that is; it may be as old as what holds it up.
    fn is_well(&self) -> bool {
        self.running_since.is_some_and(|since| since.elapsed() > WELL_AFTER)
    }

    /// What it failed of for want of a person and may fail of again, while it is tried once more. A source that has nothing to read
    /// may have been mended all the same.
    fn still_stuck(&self) -> Option<&Failure> {
        let idles = self.is_well() && self.open.is_empty();
        self.stuck.as_ref().filter(|_| self.is_at_work() && !idles).map(|stuck| &stuck.failure)
    }

    /// A sink has all of a batch, which may be nothing.
    fn passes(&mut self, sink: usize, seq: u64) {
        self.durable[sink] = self.durable[sink].max(seq);
        // By now it has met what it failed of.
        if self.is_well() {
            self.gets_on(sink);
        }
    }

    fn gets_on(&mut self, sink: usize) {
        self.stuck.take_if(|stuck| stuck.sink.is_none_or(|stuck| stuck == sink));
    }

    /// Where nothing is left of what it failed of, it does not come again with the next failure.
    fn forget_if_idle(&mut self) {
        if self.is_at_work() && self.still_stuck().is_none() {
            self.stuck = None;
        }
    }

    /// What a metric shows for it: one that failed and begins again is no better for that yet.
    fn state_shown(&self) -> State {
        let begins_again = self.state == State::Starting && self.error.is_some();
        let is_failed = begins_again || self.is_stalled() || self.still_stuck().is_some();
        if is_failed { self.state_held_up() } else { self.state }
    }

    /// What holds a pipeline up for so long that it counts as failed while it runs, and when it is tried again.
    fn held_up(&self, waits: &Waits) -> Option<(Failure, Option<u64>)> {
        if let Some(sink) = self.stalled_sink() {
            return sink.error.clone().map(|error| (error, sink.retry_at.map(ms_until)));
        }
        waits.overdue().filter(|_| self.is_at_work())
    }
}

impl Shared {
    /// The status of a pipeline that has not begun.
    pub fn new(plan: &PipelinePlan) -> Self {
        let sinks: Vec<SinkStatus> = plan
            .sinks
            .iter()
            .map(|sink| SinkStatus {
                id: sink.id.clone(),
                required: sink.required,
                error: None,
                errors: 0,
                checkpoint: None,
                checkpoint_ms: None,
                spill_bytes: 0,
                gaps: Vec::new(),
                envelope: None,
                retry_in_ms: None,
                failing_since: None,
                retry_at: None,
            })
            .collect();
        let all = matches!(plan.policy, crate::ledger::CommitPolicy::All);
        let policy: Vec<bool> = plan.sinks.iter().map(|sink| all || sink.required).collect();
        let slack = match plan.policy {
            crate::ledger::CommitPolicy::Quorum(n) => {
                policy.iter().filter(|policy| **policy).count().saturating_sub(n)
            }
            _ => 0,
        };
        Self {
            metrics: PipelineMetrics::new(plan),
            waits: Waits::default(),
            halt: Halt::default(),
            taps: Taps::default(),
            secrets: plan.secrets.clone(),
            gaps: tokio::sync::Mutex::new(()),
            spills: Mutex::new(vec![None; plan.sinks.len()]),
            skipped: Mutex::default(),
            inner: Mutex::new(Inner {
                name: plan.name.clone(),
                tenant: plan.tenant.clone(),
                state: State::Starting,
                error: None,
                retry_at: None,
                running_since: None,
                behind_since: None,
                stuck: None,
                culprit: None,
                paused_since: None,
                durable: vec![0; sinks.len()],
                episodes: sinks.iter().map(|_| None).collect(),
                sinks,
                stages: Vec::new(),
                open: std::collections::VecDeque::new(),
                policy,
                slack,
                dead_letters_lost: 0,
                begun_anew: Vec::new(),
                processed: 0,
                undrained: false,
            }),
        }
    }

    /// What the pipeline waits for that it should not have to wait for.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// That another host does its work.
    pub(crate) fn halt(&self) -> &Halt {
        &self.halt
    }

    /// Who wants copies of what enters its stages and envelopes.
    pub(crate) fn taps(&self) -> &Taps {
        &self.taps
    }

    pub(crate) fn set_state(&self, state: State) {
        let mut inner = self.inner.lock();
        inner.state = state;
        if state != State::Failed {
            inner.retry_at = None;
        }
        if matches!(state, State::Paused | State::Stopped) {
            inner.error = None;
            inner.stuck = None;
        }
        if state == State::Starting {
            inner.processed = self.metrics.events_read();
            inner.running_since = None;
            inner.culprit = None;
        }
        self.metrics.state(inner.state_shown());
    }

    /// Whether something was read that was neither delivered and checkpointed, nor has been since.
    pub(crate) fn is_undrained(&self) -> bool {
        self.inner.lock().undrained
    }

    pub(crate) fn undrained(&self) {
        self.inner.lock().undrained = true;
    }

    /// The attempt has ended well.
    pub(crate) fn drained(&self) {
        self.inner.lock().undrained = false;
    }

    /// The attempt is at work; `paused`: but reads nothing.
    pub(crate) fn running(&self, paused: bool) {
        let mut inner = self.inner.lock();
        inner.running_since = Some(Instant::now());
        inner.paused_since = paused.then(tokio::time::Instant::now);
        inner.open.clear();
        inner.durable.iter_mut().for_each(|seq| *seq = 0);
        if inner.state == State::Starting || inner.state == State::Failed {
            inner.state = if paused { State::Paused } else { State::Running };
            inner.error = None;
            inner.retry_at = None;
            self.metrics.state(inner.state_shown());
        }
    }

    /// An operator paused or resumed it. What is not at work stays what it is until it is.
    pub(crate) fn pause(&self, paused: bool) {
        let (from, to) =
            if paused { (State::Running, State::Paused) } else { (State::Paused, State::Running) };
        let mut inner = self.inner.lock();
        inner.paused_since = paused.then(|| inner.paused_since.unwrap_or_else(tokio::time::Instant::now));
        if inner.state == from {
            inner.state = to;
            self.metrics.state(inner.state_shown());
        }
    }

    /// Whether it runs, also if that is a try at what it failed of before.
    pub(crate) fn is_tried(&self) -> bool {
        let inner = self.inner.lock();
        inner.state == State::Running && inner.held_up(&self.waits).is_none()
    }

    /// Somebody has it tried again, or swapped a part of it, and may have mended it.
    pub(crate) fn unstick(&self) {
        self.inner.lock().stuck = None;
    }

    /// `retry_in`: `None` where it is not tried again by itself.
    pub(crate) fn failed(&self, failure: Failure, retry_in: Option<Duration>) {
        let mut inner = self.inner.lock();
        inner.forget_if_idle();
        inner.state = State::Failed;
        inner.undrained |= !inner.open.is_empty() || self.metrics.events_read() > inner.processed;
        if inner.running_since.is_some() && !failure.retriable {
            inner.stuck = Some(Stuck { failure: failure.clone(), sink: inner.culprit });
        }
        inner.error = Some(failure);
        inner.retry_at = retry_in.map(|pause| Instant::now() + pause);
        inner.running_since = None;
        let undelivered = inner.open.front().map(|(_, _, opened)| *opened);
        inner.behind_since.get_or_insert(undelivered.unwrap_or_else(Instant::now));
        self.metrics.state(State::Failed);
    }

    pub(crate) fn set_stages(&self, stages: Vec<StageStatus>) {
        let mut inner = self.inner.lock();
        if inner.stages != stages {
            inner.stages = stages;
        }
    }

    pub(crate) fn set_envelopes(&self, envelopes: Vec<StageStatus>) {
        let mut inner = self.inner.lock();
        for (sink, envelope) in inner.sinks.iter_mut().zip(envelopes) {
            sink.envelope = Some(envelope);
        }
    }

    pub(crate) fn sink_ok(&self, sink: usize) {
        let mut inner = self.inner.lock();
        inner.sinks[sink].error = None;
        inner.sinks[sink].retry_at = None;
        if inner.sinks[sink].failing_since.take().is_some() {
            self.metrics.state(inner.state_shown());
        }
    }

    /// A sink ends the attempt.
    pub(crate) fn sink_ends(&self, sink: usize) {
        self.inner.lock().culprit.get_or_insert(sink);
    }

    /// A sink was given something, and it is durable.
    pub(crate) fn sink_gets_on(&self, sink: usize) {
        self.inner.lock().gets_on(sink);
    }

    /// Whether a sink's last word was a failure.
    pub(crate) fn sink_fails(&self, sink: usize) -> bool {
        self.inner.lock().sinks[sink].error.is_some()
    }

    /// Answers whether the log has not told of such a failure yet, since the sink worked for a while.
    pub(crate) fn sink_failed(&self, sink: usize, code: &str, error: &SinkError) -> bool {
        let mut inner = self.inner.lock();
        let is_news = inner.episodes[sink].get_or_insert_default().goes_on(code);
        let status = &mut inner.sinks[sink];
        status.errors += 1;
        status.failing_since.get_or_insert_with(tokio::time::Instant::now);
        status.retry_at = None;
        let retriable = matches!(error, SinkError::Failed { next: Next::Retry, .. });
        let message = self.secrets.hide(&with_causes(error));
        status.error = Some(Failure { code: code.to_owned(), message, retriable });
        self.metrics.sinks[sink].errors.increment(1);
        self.metrics.state(inner.state_shown());
        is_news
    }

    /// A sink that keeps its position itself is not opened while another one of them has the pipeline stand still. Answers whether
    /// it did not show that yet.
    pub(crate) fn sink_held(&self, sink: usize, why: &Failure) -> bool {
        let mut inner = self.inner.lock();
        let status = &mut inner.sinks[sink];
        if status.error.as_ref().is_some_and(|error| error.code == why.code) {
            return false;
        }
        let message = format!(
            "it is not opened, as another exactly-once sink of the pipeline is shut out: whoever has that one may have this one too. {}",
            why.message
        );
        status.failing_since.get_or_insert_with(tokio::time::Instant::now);
        status.retry_at = None;
        status.error = Some(Failure { message: self.secrets.hide(&message), ..why.clone() });
        self.metrics.state(inner.state_shown());
        true
    }

    /// A sink that failed is tried again after so long.
    pub(crate) fn sink_tries_in(&self, sink: usize, pause: Duration) {
        self.inner.lock().sinks[sink].retry_at = Some(tokio::time::Instant::now() + pause);
    }

    /// The sinks that work again, after having failed for so long; once.
    pub(crate) fn recovered_sinks(&self) -> Vec<(String, Duration)> {
        let mut inner = self.inner.lock();
        let Inner { sinks, episodes, .. } = &mut *inner;
        let mut recovered = Vec::new();
        for (sink, episode) in sinks.iter().zip(episodes) {
            match (&sink.error, episode.as_mut()) {
                (Some(error), Some(episode)) => drop(episode.goes_on(&error.code)),
                _ => recovered.extend(narrate::end(episode).map(|lasted| (sink.id.clone(), lasted))),
            }
        }
        recovered
    }

    /// What holds a pipeline up for so long that it counts as failed while it runs.
    pub(crate) fn held_up(&self) -> Option<Failure> {
        self.inner.lock().held_up(&self.waits).map(|(failure, _)| failure)
    }

    pub(crate) fn spill(&self, sink: usize, bytes: u64) {
        self.inner.lock().sinks[sink].spill_bytes = bytes;
    }

    /// The files of a sink's spill that were in use before, which `now` takes the place of.
    pub(crate) fn spill_files(&self, sink: usize, now: Option<SpillFiles>) -> Option<SpillFiles> {
        let mut spills = self.spills.lock();
        match now {
            None => spills[sink].clone(),
            now => std::mem::replace(&mut spills[sink], now),
        }
    }

    /// The turn to change what is recorded of gaps.
    pub(crate) async fn changing_gaps(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.gaps.lock().await
    }

    pub(crate) fn gaps(&self, sink: usize, gaps: Vec<Gap>) {
        self.inner.lock().sinks[sink].gaps = gaps;
    }

    /// Events that a sink's envelope fails on are dropped, as its `on_error` says.
    pub(crate) fn skipped(&self, sink: &str, events: usize, error: &StageError) {
        let mut skipped = self.skipped.lock();
        let given_up =
            skipped.entry(sink.to_owned()).or_insert_with(|| GivenUp::new(&format!("{sink}.envelope")));
        given_up.add(events, error, self.secrets.hide(&error.message));
    }

    /// How often the stream began anew, all that is on record.
    pub(crate) fn begun_anew(&self, all: Vec<BegunAnew>) {
        self.inner.lock().begun_anew = all;
    }

    pub(crate) fn dead_letters_lost(&self, entries: u64) {
        self.inner.lock().dead_letters_lost += entries;
    }

    pub(crate) fn opened(&self, seq: u64, newest_us: i64, rows: u64, at: Instant) {
        let mut inner = self.inner.lock();
        inner.processed += rows;
        inner.forget_if_idle();
        inner.open.push_back((seq, newest_us, at));
    }

    pub(crate) fn durable(&self, sink: usize, seq: u64) {
        let mut inner = self.inner.lock();
        inner.passes(sink, seq);
        self.metrics.sinks[sink].batches.increment(1);
        let mut policy: Vec<u64> =
            inner.durable.iter().zip(&inner.policy).filter(|(_, p)| **p).map(|(seq, _)| *seq).collect();
        policy.sort_unstable();
        let through = policy.get(inner.slack).copied();
        while let Some((seq, newest_us, opened)) = inner.open.front().copied() {
            if through.is_none_or(|through| seq > through) {
                break;
            }
            inner.open.pop_front();
            inner.behind_since = None;
            inner.undrained = false;
            self.metrics.stage_commit.record(opened.elapsed().as_secs_f64());
            if newest_us > 0 {
                self.metrics.e2e.record((now_us() - newest_us).max(0) as f64 / 1e6);
            }
        }
    }

    pub(crate) fn checkpointed(&self, sink: usize, resume: &str, at_ms: u64) {
        let mut inner = self.inner.lock();
        inner.sinks[sink].checkpoint = serde_json::from_str(resume).ok();
        inner.sinks[sink].checkpoint_ms = Some(at_ms);
        self.metrics.checkpoints.increment(1);
        self.metrics.sinks[sink].last_checkpoint.set(at_ms as f64 / 1000.0);
    }

    /// What the API shows.
    pub fn snapshot(&self) -> PipelineStatus {
        let waits = self.waits.list();
        let inner = self.inner.lock();
        let (status, error, retry_in_ms) = match inner.held_up(&self.waits) {
            Some((failure, retry_in_ms)) => (inner.state_held_up(), Some(failure), retry_in_ms),
            None => {
                let left = |at: Instant| at.saturating_duration_since(Instant::now()).as_millis() as u64;
                let (state, error) = match inner.still_stuck() {
                    Some(failure) => (inner.state_held_up(), Some(failure)),
                    None => (inner.state, inner.error.as_ref()),
                };
                (state, error.cloned(), inner.retry_at.map(left))
            }
        };
        self.metrics.state(if status == State::Starting { inner.state_shown() } else { status });
        let behind = inner.behind_since.filter(|_| !inner.is_well()).map(|since| since.elapsed());
        let paused = inner.paused_since.filter(|_| inner.state == State::Paused).map(|since| since.elapsed());
        let held_up = behind.max(paused).max(self.waits.longest()).map(|behind| behind.as_secs_f64());
        let under_way = inner.running_since.map(|_| match inner.open.front() {
            Some((_, newest_us, _)) if *newest_us > 0 => (now_us() - newest_us).max(0) as f64 / 1e6,
            _ => 0.0,
        });
        let lag_seconds = match (under_way, held_up) {
            (Some(lag), Some(held_up)) => Some(lag.max(held_up)),
            (lag, held_up) => lag.or(held_up),
        };
        if let Some(lag) = lag_seconds {
            self.metrics.lag.set(lag);
        }
        PipelineStatus {
            name: inner.name.clone(),
            tenant: inner.tenant.clone(),
            status,
            waits: waits.clone(),
            degraded: !waits.is_empty()
                || inner.dead_letters_lost > 0
                || inner.stages.iter().any(|stage| stage.refuses_all.is_some())
                || inner.sinks.iter().any(|sink| {
                    sink.error.is_some()
                        || sink.spill_bytes > 0
                        || sink.gaps.iter().any(|gap| !gap.acknowledged)
                }),
            error,
            retry_in_ms,
            uptime_seconds: inner.running_since.map_or(0.0, |since| since.elapsed().as_secs_f64()),
            lag_seconds,
            events: self.metrics.events_read(),
            dead_letters_lost: inner.dead_letters_lost,
            begun_anew: inner.begun_anew.clone(),
            sinks: inner
                .sinks
                .iter()
                .map(|sink| SinkStatus { retry_in_ms: sink.retry_at.map(ms_until), ..sink.clone() })
                .collect(),
            stages: inner.stages.clone(),
        }
    }
}

fn now_us() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_micros() as i64
}

#[cfg(test)]
mod tests;
