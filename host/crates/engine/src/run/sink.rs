//! One task for each sink: its own queue, retry and checkpoint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::backlog::Backlog;
use super::commit::Progress;
use super::drain::Drain;
use super::envelopes::LateEnvelope;
use super::feed::{Feed, FeedItem, Origin};
use super::handed::HandedOut;
use super::hearing::Hearing;
use super::mark::Start;
use super::standing::{self, Opened};
use super::unload::UNLOADS_AFTER;
use crate::budget::Budget;
use crate::dlq::Dlq;
use crate::error::Next;
use crate::narrate::help;
use crate::plan::{PipelinePlan, Services, SinkPlan};
use crate::retry::{Backoff, Hurry, Pauses};
use crate::secrets::Secrets;
use crate::sink::{Listener, Sink, SinkContext, SinkError, Trouble, Wants};
use crate::source::SourceFactory;
use crate::status::{Failure, Shared, with_causes};

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What all sinks of an attempt share.
pub(crate) struct SinkShared {
    pub plan: Arc<PipelinePlan>,
    pub services: Services,
    pub dlq: Option<Dlq>,
    pub progress: mpsc::Sender<Progress>,
    pub run: Arc<str>,
    pub hurry: Hurry,
    /// The attempt is to end well.
    pub drain: CancellationToken,
    pub handed: Arc<HandedOut>,
    pub budget: Budget,
}

impl SinkShared {
    /// What a sink is opened with.
    pub fn context(&self, index: usize, state: Option<Vec<u8>>, trouble: Trouble) -> SinkContext {
        SinkContext {
            pipeline: self.plan.name.clone(),
            tenant: self.plan.tenant.clone(),
            sink_id: self.plan.sinks[index].id.clone(),
            state,
            base_dir: self.services.base_dir.clone(),
            trouble,
            hurry: self.hurry.clone(),
            budget: self.budget.clone(),
        }
    }
}

/// Makes a sink's queue and task.
pub(crate) fn start(
    index: usize,
    shared: &SinkShared,
    start: &Start,
    backlog: Option<Backlog>,
    envelope: LateEnvelope,
    opened: Option<Opened>,
) -> (Feed, SinkTask) {
    let SinkShared { plan, services, dlq, progress, run, hurry, drain: leave, handed, .. } = shared;
    let sink = &plan.sinks[index];
    let (keeps, max_inflight) = (opened.is_some(), plan.max_inflight.max(1));
    // What it has taken it holds as rows, so what waits in front of it as messages would be most of its memory.
    let waiting = if keeps && backlog.is_none() { 1 } else { max_inflight.div_ceil(2) };
    let (queue, items) = mpsc::channel(waiting);
    let ended = CancellationToken::new();
    let drain = backlog.clone().map(|backlog| Drain {
        backlog,
        run: run.clone(),
        dlq: dlq.clone().map(Dlq::patient),
        ahead: None,
    });
    let task = SinkTask {
        index,
        plan: sink.clone(),
        context: shared.context(index, start.state.clone(), Trouble::default()),
        keeps: keeps.then(|| plan.source.id.clone()),
        envelope,
        opened,
        max_inflight,
        // It has its spill, and holds nobody up.
        dlq: dlq.clone().map(|dlq| if backlog.is_some() { dlq.patient() } else { dlq }),
        progress: progress.clone(),
        run: run.clone(),
        items,
        drain,
        taken: 0,
        pending: VecDeque::new(),
        written: 0,
        queued_through: 0,
        queue_done: 0,
        spill_done: start.spill_acked,
        leaving: Leaving { leave: leave.clone(), ended: ended.clone(), grace: services.shutdown_timeout / 3 },
        tried: CancellationToken::new(),
        pauses: hurry.pauses(),
        secrets: plan.secrets.clone(),
        handed: handed.clone(),
        source: plan.source.factory.clone(),
    };
    let _ended = ended.drop_guard();
    (Feed { index, run: run.clone(), queue, backlog, keeps, progress: progress.clone(), _ended }, task)
}

pub(crate) struct SinkTask {
    pub(super) index: usize,
    pub(super) plan: SinkPlan,
    pub(super) context: SinkContext,
    /// The source whose positions it keeps itself.
    pub(super) keeps: Option<String>,
    /// For what comes from its spill, or is to be made again.
    pub(super) envelope: LateEnvelope,
    /// It is open already.
    opened: Option<Opened>,
    max_inflight: usize,
    pub(super) dlq: Option<Dlq>,
    pub(super) progress: mpsc::Sender<Progress>,
    pub(super) run: Arc<str>,
    pub(super) items: mpsc::Receiver<FeedItem>,
    pub(super) drain: Option<Drain>,
    /// Deliveries taken so far.
    taken: u64,
    /// Deliveries that are not durable, oldest first.
    pub(super) pending: VecDeque<FeedItem>,
    /// How many of them the open sink has taken.
    pub(super) written: usize,
    /// The newest batch of this run that came through the queue.
    pub(super) queued_through: u64,
    /// The newest of those that is durable.
    pub(super) queue_done: u64,
    /// The newest batch of its spill that is durable: the spill itself learns of it when a checkpoint says so.
    pub(super) spill_done: u64,
    leaving: Leaving,
    /// It was opened, or could not be opened now.
    tried: CancellationToken,
    /// Between its tries.
    pub(super) pauses: Pauses,
    secrets: Secrets,
    pub(super) handed: Arc<HandedOut>,
    pub(super) source: Arc<dyn SourceFactory>,
}

/// When a sink that has a spill stops trying: what it has not delivered stays on disk for the next start, and a
/// sink that is dead does not hold up the end of a pipeline that does without it.
#[derive(Clone)]
struct Leaving {
    leave: CancellationToken,
    ended: CancellationToken,
    grace: Duration,
}

impl Leaving {
    /// Nothing more comes, and the attempt is to end.
    async fn began(&self) {
        self.ended.cancelled().await;
        self.leave.cancelled().await;
    }

    /// That, and the sink has had some time for what it holds.
    async fn due(self) {
        self.began().await;
        tokio::time::sleep(self.grace).await;
    }
}

/// Whether there is something to deliver.
#[allow(clippy::large_enum_variant, reason = "it lives for one turn of the loop")]
enum Take {
    Item(FeedItem),
    Nothing,
    Ended,
}

/// What ended a stretch of work on an open sink.
enum End {
    /// Nothing more will come, and everything is durable.
    Finished,
    /// The sink failed; it is opened anew.
    Failed(SinkError),
    /// It failed while nothing was asked of it, and has said so; it is opened anew.
    Stale,
    /// It is opened anew as it wants to be, and has nothing that is not durable.
    Anew,
}

impl SinkTask {
    /// What happens once the sink was opened, or could not be opened for now. `None`: nobody waits for this sink.
    pub fn tried(&self) -> Option<CancellationToken> {
        self.drain.is_none().then(|| self.tried.clone())
    }

    pub async fn run(self, shared: Arc<Shared>) -> Result<(), Failure> {
        let index = self.index;
        let ended = self.work_until_ended(&shared).await;
        if ended.is_err() {
            shared.sink_ends(index);
        }
        ended
    }

    async fn work_until_ended(mut self, shared: &Arc<Shared>) -> Result<(), Failure> {
        let mut backoff = Backoff::new(FIRST_PAUSE, Duration::from_secs(30));
        let may_leave = self.drain.is_some();
        let leaving = self.leaving.clone();
        let hearing = self.opened.as_ref().map(|opened| opened.hearing.clone());
        let hearing = hearing.unwrap_or_else(|| {
            Arc::new(Hearing::new(self.index, &self.plan.id, shared.clone(), self.secrets.clone()))
        });
        self.context.trouble = Trouble::new(hearing.clone());
        let mut failures = 0;
        loop {
            let (end, progressed) = tokio::select! {
                end = self.turn(shared, &hearing) => end?,
                () = leaving.clone().due(), if may_leave => return self.leave().await,
            };
            if progressed {
                backoff.reset();
                failures = 0;
            }
            let error = match end {
                End::Finished => return Ok(()),
                End::Failed(error) => error,
                End::Anew => continue,
                End::Stale => {
                    tokio::select! {
                        _ = self.pauses.pause(backoff.next()) => continue,
                        () = leaving.clone().due(), if may_leave => return self.leave().await,
                    }
                }
            };
            if self.has_let_go() {
                self.read_again();
            } else {
                self.rewind();
            }
            failures = if progressed { 0 } else { failures + 1 };
            if failures >= 2 {
                self.unload().await?;
            }
            let (next, wait, learned) = match &error {
                SinkError::Failed { next, wait, learned, .. } => (*next, *wait, *learned),
                SinkError::Rejected { .. } => (Next::Operator, None, false),
            };
            if error.is_halt() {
                // Before it shows: whoever sees it may resume at once.
                shared.halt().begin(Failure::of_sink(&self.plan.id, &error));
            }
            let code = error.code();
            let is_news = shared.sink_failed(self.index, code, &error);
            // A quorum does without it.
            if next == Next::Operator && self.plan.required && !may_leave {
                return Err(Failure::of_sink(&self.plan.id, &error));
            }
            self.tried.cancel();
            let pause = match next {
                Next::Stop => Duration::MAX,
                Next::Retry | Next::Operator if learned => FIRST_PAUSE,
                Next::Retry | Next::Operator => backoff.next().max(wait.unwrap_or_default()),
            };
            if next != Next::Stop {
                shared.sink_tries_in(self.index, pause);
            }
            if is_news {
                let (error, help) = (self.secrets.hide(&with_causes(&error)), help(code));
                let retry_in_ms = (next != Next::Stop).then_some(pause.as_millis() as u64);
                warn!(sink = self.plan.id, code, error, help, retry_in_ms, "sink failed");
            }
            tokio::select! {
                hurried = self.pauses.pause(pause) => if hurried { backoff.reset() },
                () = leaving.began(), if may_leave => return self.leave().await,
            }
        }
    }

    /// Opens the sink and works on it.
    async fn turn(&mut self, shared: &Shared, hearing: &Hearing) -> Result<(End, bool), Failure> {
        let (plan, context) = (self.plan.clone(), self.context.clone());
        self.pauses.trying();
        if self.keeps.is_some() && self.opened.is_none() {
            // Opening this one would shut out the host that has another one of them.
            if let Some(why) = shared.halt().why()
                && shared.sink_held(self.index, &why)
            {
                warn!(
                    sink = self.plan.id,
                    code = why.code,
                    help = help(&why.code),
                    "sink waits for an operator, as another one does"
                );
            }
            self.patiently(None, shared.halt().over()).await?;
        }
        let opened = match self.opened.take() {
            Some(opened) => Ok(opened.sink),
            None => self.patiently(Some(hearing), plan.factory.open(&plan.config, context)).await?,
        };
        match opened {
            Ok(sink) => {
                let moved = self.stands(sink.stands(), shared).await?;
                self.tried.cancel();
                let spilling = self.drain.as_ref().is_some_and(|drain| drain.backlog.is_spilling());
                if self.pending.is_empty() && !spilling {
                    // Nothing is waiting to prove that it works; otherwise only progress does.
                    shared.sink_ok(self.index);
                }
                let (end, progressed) = self.work(sink, shared, hearing).await?;
                Ok((end, progressed || moved))
            }
            Err(error) => Ok((End::Failed(error), false)),
        }
    }

    /// Works on an open sink until it fails or nothing more comes. Also tells whether anything became durable.
    async fn work(
        &mut self,
        mut sink: Box<dyn Sink>,
        shared: &Shared,
        hearing: &Hearing,
    ) -> Result<(End, bool), Failure> {
        let mut progressed = false;
        let mut open = true;
        loop {
            let gate = self.pending.get(self.written).and_then(FeedItem::shut);
            if let Some(gate) = &gate
                && self.written == 0
            {
                gate.opened().await?;
                continue;
            }
            let wants = sink.wants();
            if wants == Some(Wants::Anew) && self.written == 0 && (open || !self.pending.is_empty()) {
                return Ok((End::Anew, progressed));
            }
            let is_full =
                self.written > 0 && (matches!(wants, Some(Wants::Enough | Wants::Anew)) || self.is_laden());
            if gate.is_none() && !is_full && self.written < self.pending.len() {
                match self.write(&mut *sink, shared, hearing).await? {
                    Some(error) => {
                        // What got through before it need not be sent again, but where a part of what failed would be
                        // kept in one with it. The error counts, not this one's.
                        if self.written > 0
                            && self.keeps.is_none()
                            && self.await_durable(&mut *sink, shared, hearing).await?.is_ok()
                        {
                            progressed |= self.written == 0;
                        }
                        return Ok((End::Failed(error), progressed));
                    }
                    None => continue,
                }
            }
            // Nothing comes after what can only be read again from disk.
            if open && self.has_room(&*sink) && !self.has_let_go() {
                match self.take().await? {
                    Take::Item(item) => {
                        self.accept(item);
                        continue;
                    }
                    Take::Ended => open = false,
                    Take::Nothing => {
                        if let Some(until) = self.waits_until(&*sink)
                            && let Ok(came) = timeout_at(until, self.wait(hearing)).await
                        {
                            match came {
                                Some(item) => self.accept(item),
                                None => open = !self.items.is_closed() || !self.items.is_empty(),
                            }
                            continue;
                        }
                    }
                }
            }
            if self.pending.is_empty() {
                if open {
                    if shared.sink_fails(self.index) {
                        // It failed while nobody called it, and says nothing more by itself.
                        return Ok((End::Stale, progressed));
                    }
                    match self.wait(hearing).await {
                        Some(item) => self.accept(item),
                        None => open = !self.items.is_closed() || !self.items.is_empty(),
                    }
                    continue;
                }
                if let Err(error) = sink.close().await {
                    let text = self.secrets.hide(&with_causes(&error));
                    error!(sink = self.plan.id, error = text, "sink could not be closed; nothing is lost");
                }
                info!(sink = self.plan.id, "sink closed");
                return Ok((End::Finished, progressed));
            }
            match self.await_durable(&mut *sink, shared, hearing).await? {
                Ok(asked) => {
                    progressed = true;
                    if self.drain.is_none() {
                        self.envelope.rest();
                    }
                    if asked {
                        shared.sink_ok(self.index);
                    }
                }
                Err(error) => return Ok((End::Failed(error), progressed)),
            }
        }
    }

    /// Whether one more delivery may be taken.
    fn has_room(&self, sink: &dyn Sink) -> bool {
        match sink.wants() {
            None => self.pending.len() < self.max_inflight,
            Some(wants) => matches!(wants, Wants::More(_)) && !self.is_laden(),
        }
    }

    /// Until when more is waited for before the sink is asked what is durable.
    fn waits_until(&self, sink: &dyn Sink) -> Option<Instant> {
        match sink.wants() {
            Some(Wants::More(until)) if !self.pending.is_empty() && until > Instant::now() => Some(until),
            _ => None,
        }
    }

    /// The next open sink gets everything again that is not durable. Where whole deliveries are sent again, what
    /// comes after them is too, also if it got through: else an old state of a row would be its last one.
    fn rewind(&mut self) {
        let was_written = self.pending.iter().take(self.written).any(|item| !item.wanted.is_empty());
        // What one has that keeps its position counts from the end of a delivery on.
        if was_written || self.keeps.is_some() {
            for item in &mut self.pending {
                item.delivery.indexes = item.wanted.clone();
                item.delivery.done = 0;
            }
        }
        self.written = 0;
    }

    fn accept(&mut self, mut item: FeedItem) {
        if let Origin::Queue { seq, .. } = item.origin {
            self.queued_through = seq;
        }
        self.taken += 1;
        item.delivery.seq = self.taken;
        item.delivery.stands = self.keeps.as_ref().map(|source| standing::tell(source, &item.origin.mark()));
        self.pending.push_back(item);
    }

    /// What comes next, without waiting for the worker: what is queued is older than what was spilled.
    async fn take(&mut self) -> Result<Take, Failure> {
        match self.items.try_recv() {
            Ok(item) => return Ok(Take::Item(item)),
            // What is in the spill stays there for the next run.
            Err(mpsc::error::TryRecvError::Disconnected) => return Ok(Take::Ended),
            Err(mpsc::error::TryRecvError::Empty) => {}
        }
        let idle = self.pending.is_empty();
        let Some(drain) = &mut self.drain else { return Ok(Take::Nothing) };
        if !drain.look_ahead(idle).await? {
            return Ok(Take::Nothing);
        }
        // What was queued before the spill began may have come in between, and is older.
        if let Ok(item) = self.items.try_recv() {
            return Ok(Take::Item(item));
        }
        let item = drain.take(&mut self.envelope, self.queued_through, idle).await?;
        Ok(item.map_or(Take::Nothing, Take::Item))
    }

    /// Waits for the worker. `None`: there may be something in the spill, the sink has said something, or nothing more
    /// will come.
    async fn wait(&mut self, hearing: &Hearing) -> Option<FeedItem> {
        let backlog = self.drain.as_ref().map(|drain| drain.backlog.clone());
        let filled = async {
            match &backlog {
                None => std::future::pending().await,
                Some(backlog) => backlog.filled().await,
            }
        };
        tokio::select! {
            item = self.items.recv() => item,
            () = filled => None,
            () = hearing.told.notified() => None,
        }
    }

    /// Waits for an answer of the sink, or for something else that it needs (`hearing`: `None`). While none comes, a sink
    /// with a spill holds no more memory than what that needs, and one that says nothing for long shows that as its
    /// failure.
    pub(super) async fn patiently<T>(
        &mut self,
        hearing: Option<&Hearing>,
        answer: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        tokio::pin!(answer);
        if let Some(hearing) = hearing {
            hearing.works();
        }
        let mut unload_at = Some(tokio::time::Instant::now() + UNLOADS_AFTER);
        loop {
            let unload = async {
                match unload_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                () = unload => {
                    let done = self.unload_rest().await?;
                    unload_at = (!done).then(|| tokio::time::Instant::now() + UNLOADS_AFTER);
                }
                () = Hearing::silent(hearing) => {}
            }
        }
    }
}
