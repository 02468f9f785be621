//! What a sink outside the commit policy has not had yet, when it cannot keep up: batches on disk.
//!
//! The sink is fed from its queue while it keeps up. Once the queue is full everything goes to the spill, in
//! order, until the sink has drained it. Past the spill's bound a gap is recorded, and shown, before the stream
//! goes on: the sink never skips unseen.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use deltaforge_model::position::Order;
use deltaforge_model::{Batch, Boundary, Position};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::gaps::Gaps;
use super::mark::Start;
use crate::budget::{Budget, Reservation};
use crate::failpoint;
use crate::ledger::{CommitPolicy, Mark};
use crate::plan::{PipelinePlan, Services, SinkPlan};
use crate::source::SourceFactory;
use crate::span::blocking;
use crate::spill::{Pushed, Record, Spill, SpillError, SpillLimits, spill_dir};
use crate::state::StateStore;
use crate::status::{Failure, Gap, STALLED_AFTER, Shared};

/// What a spilled batch is stored with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// The run of the pipeline that spilled it, and the batch's number in that run.
    run: String,
    pub seq: u64,
    /// Where it begins. Empty: it was stored by a build that did not say.
    #[serde(default)]
    from: String,
    through: String,
    resume: String,
    inside: Option<(String, u64)>,
    /// Rows of the batch before this one the sink has had.
    pub first_row: u32,
}

impl Meta {
    pub fn new(
        run: &str,
        seq: u64,
        first_row: u32,
        from: &Position,
        through: &Position,
        boundary: &Boundary,
    ) -> Self {
        let mark = Mark::of(through, boundary);
        Self {
            run: run.to_owned(),
            seq,
            from: from.as_str().to_owned(),
            through: through.as_str().to_owned(),
            resume: mark.resume.as_str().to_owned(),
            inside: mark.inside,
            first_row,
        }
    }

    pub fn mark(&self) -> Mark {
        Mark { resume: Position::new(self.resume.as_str()), inside: self.inside.clone() }
    }

    /// Where it begins.
    pub fn from(&self) -> Position {
        Position::new(self.from.as_str())
    }

    /// Where it ends.
    pub fn through(&self) -> Position {
        Position::new(self.through.as_str())
    }

    /// The batch's number, when this run spilled it.
    pub fn seq_of(&self, run: &str) -> Option<u64> {
        (self.run == run).then_some(self.seq)
    }

    pub fn boundary(&self) -> Boundary {
        match self.inside.clone() {
            None => Boundary::Transaction,
            Some((transaction, rows_done)) => Boundary::Inside { transaction, rows_done },
        }
    }
}

/// A sink's spill with its gaps. Shared by the worker, which fills it, and the sink, which drains it.
#[derive(Clone)]
pub(crate) struct Backlog {
    /// What is known of it. Held for moments only, also on async threads.
    inner: Arc<Mutex<Inner>>,
    /// The files. Held for as long as the disk takes, so only on threads that may block; taken before `inner`.
    spill: Arc<Mutex<Spill>>,
    filled: Arc<Notify>,
    /// Held from the oldest batch to the newest that goes to disk: their order there is the stream's.
    pushing: Arc<tokio::sync::Mutex<()>>,
    store: Arc<dyn StateStore>,
    gaps: Gaps,
    pub sink: String,
    source: Arc<dyn SourceFactory>,
    index: usize,
    budget: Budget,
    pub shared: Arc<Shared>,
    /// The attempt is to end, well or not: nothing is waited for any more.
    winding_down: CancellationToken,
}

struct Inner {
    /// Where the files are to be read from next, if not where the last read ended.
    read_from: Option<u64>,
    /// The newest batch that was put there.
    newest: Option<Meta>,
    /// What was read last: its number, and through where it goes. At first where the checkpoint is.
    passed: Option<(u64, Position)>,
    /// The damage up to this batch is recorded.
    told: u64,
    /// The newest batch that lay there from before this run, while the sink is not done with it.
    left: Option<u64>,
    /// What the source gave once more meanwhile that the sink has had, or has there: everything up to this batch of
    /// this run.
    had: u64,
    /// Whether new batches go to the spill.
    spilling: bool,
    /// Whether the last batch went into a gap, so that the next one extends it.
    in_gap: bool,
    /// A sink that counts for the commit policy has no gaps: it holds the stream back instead.
    may_gap: bool,
    /// What the queue was given and no stored checkpoint covers yet, oldest first. A spill begins with these: a
    /// restart goes on after the newest spilled batch, so nothing older may be in memory only.
    queued: VecDeque<Queued>,
    /// A batch found no room while the attempt wound down. Nothing after it may go to disk, else a restart would pass
    /// it by.
    given_up: bool,
    /// The attempt is over; another one may have the spill open.
    closed: bool,
}

impl Inner {
    /// The oldest of the queued batches is taken care of.
    fn leave_queue(&mut self, seq: u64) {
        if self.queued.front().is_some_and(|first| first.meta.seq == seq) {
            self.queued.pop_front();
        }
    }
}

/// What became of a batch that was to be kept.
enum Placed {
    /// It is on disk, or recorded as missing.
    Safe,
    /// It was taken care of meanwhile.
    Settled,
    /// There is no room, and the sink may miss nothing.
    NoRoom,
}

/// What was read from the spill.
pub(crate) struct Ahead {
    pub number: u64,
    pub meta: Meta,
    /// With what is reserved for it and its messages. `None`: it is damaged, and nothing of it is delivered.
    pub batch: Option<(Arc<Batch>, Reservation)>,
}

/// A batch costs about this many times its size until its messages are delivered: its bytes or its messages, with all
/// that is on the way between, and itself.
const ESTIMATE: usize = 3;

/// A batch on its way to the spill.
struct Encoded {
    meta: Meta,
    record: Record,
    _held: Reservation,
}

#[allow(clippy::large_enum_variant, reason = "it lives for one turn of the loop")]
enum Read {
    Batch(Ahead),
    Damaged(RangeInclusive<u64>),
    NoRoom,
    Nothing,
}

/// Closes the spills of an attempt when that ends, however it does: what it began on other threads begins nothing new.
/// Whoever opens the files next waits for that.
pub(crate) struct Closing(pub Vec<Option<Backlog>>);

impl Drop for Closing {
    fn drop(&mut self) {
        for backlog in self.0.iter().flatten() {
            backlog.inner.lock().closed = true;
        }
    }
}

/// A batch in the sink's queue, or on its way to or from there.
#[derive(Clone)]
pub(crate) struct Queued {
    pub meta: Meta,
    pub from: Position,
    pub through: Position,
    pub batch: Arc<Batch>,
    pub _held: Arc<Option<Reservation>>,
}

fn failed(sink: &str, what: &str, error: impl std::error::Error) -> Failure {
    Failure { code: "spill_failed".into(), message: format!("sink {sink}: {what}: {error}"), retriable: true }
}

impl Backlog {
    /// Opens a sink's backlog, and moves its start to the end of what lies there: the source need not read
    /// that again.
    ///
    /// Nothing is passed by in silence, whatever the disk gave back. A batch may be unreadable
    ///
    /// * at the end, as its write never became durable: then the source was never told that it may forget it, since
    ///   that takes a durable spill, and no later batch and no gap stands behind it. The sink starts before it, and the
    ///   source gives it again;
    /// * at the end although it was durable, as the disk is bad: that looks the same, and the source is asked for it. If
    ///   it has forgotten it, it says so, and the pipeline stops with that;
    /// * with later batches behind it: it was durable. It is recorded as a gap, and delivered around;
    /// * with a gap behind it, which was recorded after the spill had taken all before: as well. The sink starts after
    ///   the gap, and the stretch that nothing covers is recorded as a gap too.
    pub async fn open(
        index: usize,
        plan: &PipelinePlan,
        services: &Services,
        budget: Budget,
        shared: Arc<Shared>,
        winding_down: CancellationToken,
        start: &mut Start,
    ) -> Result<Self, Failure> {
        let sink = &plan.sinks[index];
        let gaps = Gaps::of(plan, index);
        let dir = spill_dir(&services.spill_dir, &plan.tenant, &plan.name, &sink.id);
        let limits = SpillLimits { max_bytes: sink.spill_max_bytes, ..SpillLimits::default() };
        let (source, at) = (plan.source.factory.clone(), start.clone());
        let disk = services.spill_disk.clone();
        let before = shared.spill_files(index, None);
        let opened = blocking(move || {
            // Of an attempt that ended while the disk was at work for it.
            drop(before.as_ref().map(|before| before.lock()));
            let mut acked = at.spill_acked;
            let mut spill = Spill::open(disk, dir, limits, acked)?;
            let read =
                |meta: Option<Vec<u8>>| meta.and_then(|meta| serde_json::from_slice::<Meta>(&meta).ok());
            let newest = read(spill.newest_meta()?);
            let had = newest.as_ref().is_some_and(|newest| at.is_past(newest, &*source));
            if let Some(number) = spill.newest().filter(|_| had || at.is_back) {
                // It went on without its spill for a while: nothing of that is due any more. Or the source gives all of it
                // again, after what comes before it.
                spill.ack(number)?;
                acked = number;
            }
            // It had them out of memory, and was not told any more that they lie there too.
            while let Some(oldest) = spill.oldest() {
                if !read(spill.meta(oldest)?).is_some_and(|meta| at.is_past(&meta, &*source)) {
                    break;
                }
                spill.had(oldest);
                acked = oldest;
            }
            Ok((spill, newest, acked))
        });
        let (spill, newest, acked) = opened
            .await
            .map_err(|error| Failure::internal(error.to_string()))?
            .map_err(|error: SpillError| failed(&sink.id, "open the spill", error))?;
        start.spill_acked = acked;
        shared.spill(index, spill.bytes());
        let lost = spill.lost().to_vec();
        let inner = Inner {
            spilling: !spill.is_empty(),
            read_from: None,
            newest: newest.clone(),
            passed: start.resume.clone().map(|resume| (acked, resume)),
            told: acked,
            left: spill.newest(),
            had: 0,
            in_gap: false,
            may_gap: !sink.required && plan.policy != CommitPolicy::All,
            queued: VecDeque::new(),
            given_up: false,
            closed: false,
        };
        let files = Arc::new(Mutex::new(spill));
        shared.spill_files(index, Some(files.clone()));
        let own = Self {
            inner: Arc::new(Mutex::new(inner)),
            spill: files,
            filled: Arc::default(),
            pushing: Arc::default(),
            store: services.store.clone(),
            gaps,
            sink: sink.id.clone(),
            source: plan.source.factory.clone(),
            index,
            budget,
            shared,
            winding_down,
        };
        for lost in lost {
            own.tell_damage(lost).await?;
        }
        if let Some(newest) = newest.as_ref().filter(|_| !start.is_back) {
            start.pass(newest, &*own.source);
        }
        own.start_after_gaps(start).await?;
        Ok(own)
    }

    fn is_ahead(&self, now: Option<&Position>, later: &Position) -> bool {
        now.is_none_or(|now| self.source.compare(now, later) == Order::Before)
    }

    /// Moves a sink's start behind its gaps. Where something lies before a gap that was neither delivered nor is in the
    /// spill, that was lost.
    async fn start_after_gaps(&self, start: &mut Start) -> Result<(), Failure> {
        let recorded = self.gaps.load(&*self.store, &self.shared).await?;
        if start.is_back {
            return Ok(());
        }
        let mut stretches: Vec<_> = recorded.iter().filter_map(Gap::stretch).collect();
        loop {
            stretches.retain(|(_, to)| self.is_ahead(start.resume.as_ref(), to));
            let first = stretches.iter().reduce(|a, b| if self.is_ahead(Some(&b.0), &a.0) { b } else { a });
            let Some((from, to)) = first else { return Ok(()) };
            if let Some(now) = start.resume.as_ref().filter(|now| self.is_ahead(Some(now), from)) {
                self.record_damage(Some(now), Some(from)).await?;
            }
            start.resume = Some(to.clone());
            start.inside = None;
        }
    }

    /// Spilled batches cannot be read: records what the sink misses.
    async fn tell_damage(&self, lost: RangeInclusive<u64>) -> Result<(), Failure> {
        if *lost.end() <= self.inner.lock().told {
            return Ok(());
        }
        let own = self.clone();
        let (first, last) = (*lost.start(), *lost.end());
        let around = blocking(move || {
            let mut spill = own.spill.lock();
            let mut meta = |number| {
                let meta = spill.meta(number).ok().flatten()?;
                serde_json::from_slice::<Meta>(&meta).ok()
            };
            let (before, after) = (meta(first - 1), meta(last + 1));
            let newest_number = spill.newest();
            let inner = own.inner.lock();
            let passed = inner.passed.as_ref().filter(|(number, _)| *number == first - 1);
            let from = passed.map(|(_, at)| at.as_str().to_owned()).or(before.map(|meta| meta.through));
            let to = match after {
                Some(after) => Some(after.from).filter(|from| !from.is_empty()),
                None if newest_number == Some(last) => inner.newest.clone().map(|meta| meta.through),
                None => None,
            };
            (from.map(Position::new), to.map(Position::new))
        });
        let (from, to) = around.await.map_err(|error| Failure::internal(error.to_string()))?;
        let delivered = match (&from, &to) {
            // The sink had them from its queue.
            (Some(from), Some(to)) => self.is_ahead(Some(to), from),
            _ => false,
        };
        if !delivered {
            self.record_damage(from.as_ref(), to.as_ref()).await?;
        }
        self.inner.lock().told = last;
        Ok(())
    }

    async fn record_damage(&self, from: Option<&Position>, to: Option<&Position>) -> Result<(), Failure> {
        if self.gaps.record_damage(&*self.store, &self.shared, from, to).await? {
            error!(
                sink = self.sink,
                from = from.map(Position::as_str),
                to = to.map(Position::as_str),
                "spilled batches are damaged; their events are missing at this sink, as recorded"
            );
        }
        Ok(())
    }

    /// Whether new batches go here and not to the queue.
    pub fn is_spilling(&self) -> bool {
        self.inner.lock().spilling
    }

    /// The source gave a batch once more that the sink had before this run. Answers whether a stored checkpoint says so:
    /// it may have it in its spill only, or on its way from there.
    pub fn is_covered(&self, seq: u64) -> bool {
        let mut inner = self.inner.lock();
        if inner.left.is_some() {
            inner.had = seq;
        }
        inner.left.is_none()
    }

    /// The checkpoint that says a spilled batch is delivered is stored. Answers up to which batch of this run it covers
    /// what the sink had before, where nothing of that is left in the spill.
    pub fn covered_by(&self, number: u64) -> Option<u64> {
        let mut inner = self.inner.lock();
        inner.left.take_if(|left| *left <= number).map(|_| inner.had).filter(|had| *had > 0)
    }

    /// Sends a batch to the queue and keeps note of it, unless batches go to disk or the queue is full.
    pub fn queue(&self, queued: &Queued, send: impl FnOnce() -> bool) -> bool {
        let mut inner = self.inner.lock();
        if inner.spilling || !send() {
            return false;
        }
        // The sink task cannot have told of it yet: that takes this lock.
        inner.queued.push_back(queued.clone());
        true
    }

    /// Reads the spill from this batch on again.
    pub fn rewind_to(&self, number: u64) {
        self.inner.lock().read_from = Some(number);
    }

    /// A stored checkpoint covers the queue's batches up to `seq`.
    pub fn settled(&self, seq: u64) {
        let mut inner = self.inner.lock();
        let settled = inner.queued.partition_point(|queued| queued.meta.seq <= seq);
        inner.queued.drain(..settled);
    }

    /// Puts what the queue was given on disk, as far as there is room, and everything after it too; what finds no room
    /// goes into a gap where the sink may have one. Answers the newest batch that is taken care of, and whether all are.
    ///
    /// None is when the worker is doing that at this moment: it may be waiting for room in the spill, which only the
    /// sink can make, so the sink does not wait for the worker.
    pub async fn keep_queued(&self) -> Result<(Option<u64>, bool), Failure> {
        let Ok(_turn) = self.pushing.try_lock() else { return Ok((None, false)) };
        {
            let mut inner = self.inner.lock();
            if inner.given_up {
                return Ok((None, false));
            }
            inner.spilling = true;
        }
        let mut newest = None;
        loop {
            let first = self.inner.lock().queued.front().cloned();
            let Some(queued) = first else { return Ok((newest, true)) };
            match self.place(&queued, true).await? {
                Placed::Safe => newest = Some(queued.meta.seq),
                Placed::Settled => {}
                Placed::NoRoom => return Ok((newest, false)),
            }
        }
    }

    /// Keeps a batch for later, after those that the queue still holds. Answers whether it is safe: it is not where the
    /// attempt ends before there is room, and is read again then.
    pub async fn push(&self, new: Queued) -> Result<bool, Failure> {
        let _turn = self.pushing.lock().await;
        loop {
            let first = self.inner.lock().queued.front().cloned();
            let Some(queued) = first else { break };
            if !self.place_in_time(&queued, true).await? {
                return Ok(false);
            }
        }
        self.place_in_time(&new, false).await
    }

    /// Waits for room where a batch needs it.
    async fn place_in_time(&self, one: &Queued, queued: bool) -> Result<bool, Failure> {
        let mut waiting = None;
        loop {
            if self.inner.lock().given_up {
                return Ok(false);
            }
            if !matches!(self.place(one, queued).await?, Placed::NoRoom) {
                return Ok(true);
            }
            if self.winding_down.is_cancelled() {
                self.inner.lock().given_up = true;
                return Ok(false);
            }
            waiting.get_or_insert_with(|| {
                let text = format!(
                    "sink {} does not keep up and its spill is full; the pipeline waits for it, since its commit \
                     policy counts it",
                    self.sink
                );
                self.shared.waits().begin(Failure::operator("spill_full", text), Some(STALLED_AFTER))
            });
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
                () = self.winding_down.cancelled() => {}
            }
        }
    }

    /// Puts a batch on disk, or where there is no room into a gap. It leaves the `queued` ones at that moment and no
    /// earlier: also where this fails, or is not waited for, none behind it may go to disk first.
    async fn place(&self, one: &Queued, queued: bool) -> Result<Placed, Failure> {
        let record = self.encode(&one.meta, &one.batch).await?;
        let pushed = self.push_record(&record, queued).await?;
        // Others may wait for its memory.
        drop(record);
        match pushed {
            None => return Ok(Placed::Settled),
            Some(Pushed::As(_)) => failpoint::hit("spill.pushed"),
            Some(Pushed::Full) => {
                if !self.inner.lock().may_gap {
                    return Ok(Placed::NoRoom);
                }
                let extends = std::mem::replace(&mut self.inner.lock().in_gap, true);
                let (span, events) = ((&one.from, &one.through), one.batch.len() as u64);
                self.gaps.record(&*self.store, &self.shared, span, events, extends).await?;
                if queued {
                    self.inner.lock().leave_queue(one.meta.seq);
                }
            }
        }
        self.filled.notify_one();
        Ok(Placed::Safe)
    }

    /// A batch as it is stored. Its bytes count in the budget, and wait for no room there: that comes only when the
    /// batches that others hold leave the memory, and this is how they do, one after the other.
    async fn encode(&self, meta: &Meta, batch: &Arc<Batch>) -> Result<Arc<Encoded>, Failure> {
        // Its images are packed first, and then stand behind all the rest.
        let mut held = self.budget.take_in_turn(batch.byte_size() * 2).await;
        let (meta, batch) = (meta.clone(), batch.clone());
        let encoded = blocking(move || {
            let mut payload = Vec::with_capacity(batch.byte_size());
            batch.write_durable(&mut payload);
            held.resize(payload.capacity());
            let record = Record { meta: serde_json::to_vec(&meta).expect("plain JSON"), payload };
            Arc::new(Encoded { meta, record, _held: held })
        });
        encoded.await.map_err(|error| Failure::internal(error.to_string()))
    }

    /// Writes a record. `None`: it is no longer the oldest of the `queued` ones, and has no business here.
    async fn push_record(&self, encoded: &Arc<Encoded>, queued: bool) -> Result<Option<Pushed>, Failure> {
        let (own, encoded) = (self.clone(), encoded.clone());
        let pushed = blocking(move || {
            let mut spill = own.spill.lock();
            {
                let mut inner = own.inner.lock();
                own.check_open(&inner)?;
                if queued && inner.queued.front().is_none_or(|first| first.meta.seq != encoded.meta.seq) {
                    return Ok(None);
                }
                if !inner.spilling {
                    warn!(sink = own.sink, "sink does not keep up; batches for it go to disk");
                    inner.spilling = true;
                }
            }
            let pushed = spill.push(&encoded.record);
            if let Ok(Pushed::As(_)) = &pushed {
                let mut inner = own.inner.lock();
                inner.newest = Some(encoded.meta.clone());
                inner.in_gap = false;
                if queued {
                    inner.leave_queue(encoded.meta.seq);
                }
            }
            own.shared.spill(own.index, spill.bytes());
            pushed.map(Some).map_err(|error| failed(&own.sink, "write to the spill", error))
        });
        pushed.await.map_err(|error| Failure::internal(error.to_string()))?
    }

    fn check_open(&self, inner: &Inner) -> Result<(), Failure> {
        if inner.closed {
            return Err(Failure::internal(format!(
                "sink {}: the attempt that used its spill has ended",
                self.sink
            )));
        }
        Ok(())
    }

    /// The next batch to deliver; `None`: the sink has caught up, and new batches go to its queue again, or there is no
    /// memory for it yet. Where the sink is `idle` memory is not waited for: nothing of its own would give any back.
    pub async fn next(&self, idle: bool) -> Result<Option<Ahead>, Failure> {
        loop {
            let own = self.clone();
            let read = blocking(move || own.read_next(idle)).await;
            match read.map_err(|error| Failure::internal(error.to_string()))?? {
                Read::Nothing | Read::NoRoom => return Ok(None),
                Read::Batch(ahead) => return Ok(Some(ahead)),
                Read::Damaged(lost) => {
                    let number = *lost.end();
                    self.tell_damage(lost).await?;
                    let own = self.clone();
                    let passed = blocking(move || {
                        let mut spill = own.spill.lock();
                        spill.pass(number);
                        spill.newest() == Some(number)
                    });
                    let is_newest = passed.await.map_err(|error| Failure::internal(error.to_string()))?;
                    if is_newest && let Some(meta) = self.inner.lock().newest.clone() {
                        return Ok(Some(Ahead { number, meta, batch: None }));
                    }
                }
            }
        }
    }

    fn read_next(&self, idle: bool) -> Result<Read, Failure> {
        let mut spill = self.spill.lock();
        {
            let mut inner = self.inner.lock();
            self.check_open(&inner)?;
            if !inner.spilling {
                return Ok(Read::Nothing);
            }
            if let Some(number) = inner.read_from.take() {
                spill.rewind();
                spill.pass(number.saturating_sub(1));
            }
        }
        let bytes = spill.next_bytes() as usize * ESTIMATE;
        let mut held = match self.budget.try_reserve(bytes) {
            Some(held) => held,
            None if idle => self.budget.take(bytes),
            None => return Ok(Read::NoRoom),
        };
        let (number, record) = match spill.read_next() {
            Ok(Some(read)) => read,
            Ok(None) => {
                info!(sink = self.sink, "sink has caught up");
                let mut inner = self.inner.lock();
                inner.spilling = false;
                inner.in_gap = false;
                return Ok(Read::Nothing);
            }
            Err(SpillError::Damaged { lost }) => return Ok(Read::Damaged(lost)),
            Err(error) => return Err(failed(&self.sink, "read the spill", error)),
        };
        let meta: Meta = serde_json::from_slice(&record.meta)
            .map_err(|error| failed(&self.sink, "read the spill", error))?;
        let batch = Batch::read_durable(&record.payload)
            .map_err(|error| failed(&self.sink, "read the spill", error))?;
        held.resize(batch.byte_size() * ESTIMATE);
        self.inner.lock().passed = Some((number, Position::new(meta.through.as_str())));
        Ok(Read::Batch(Ahead { number, meta, batch: Some((Arc::new(batch), held)) }))
    }

    /// Waits until something may be there to read.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// The checkpoint that says a spilled batch is delivered is stored: it may be forgotten.
    pub fn ack(&self, number: u64) {
        let own = self.clone();
        blocking(move || {
            let mut spill = own.spill.lock();
            if own.inner.lock().closed {
                // The stored checkpoint tells the next start.
                return;
            }
            if let Err(error) = spill.ack(number) {
                warn!(sink = own.sink, %error, "the spill could not be shortened; it will be with the next batch");
            }
            own.shared.spill(own.index, spill.bytes());
        });
    }
}

/// Whether a sink may be fed from disk: the commit policy does not wait for it alone.
pub(crate) fn may_spill(plan: &PipelinePlan, sink: &SinkPlan) -> bool {
    match plan.policy {
        CommitPolicy::All => false,
        CommitPolicy::Quorum(_) => true,
        CommitPolicy::Required => !sink.required,
    }
}

/// Whether a sink has something in its spill, whether or not it may have more.
pub(crate) async fn is_left(plan: &PipelinePlan, services: &Services, sink: &SinkPlan) -> bool {
    let dir = spill_dir(&services.spill_dir, &plan.tenant, &plan.name, &sink.id);
    let Ok(mut files) = tokio::fs::read_dir(dir).await else { return false };
    files.next_entry().await.is_ok_and(|file| file.is_some())
}
