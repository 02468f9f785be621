//! Stages and encoding, in order, away from the I/O threads.

use std::sync::Arc;

use deltaforge_model::{Batch, Boundary, Event, LogSpan, Position, SourceBatch};
use tokio::sync::mpsc;

use super::again::Recipe;
use super::commit::Progress;
use super::envelopes::{Envelopes, Made};
use super::feed::{Feed, FeedItem, Offer, Origin};
use super::handed::{HandedOut, Reach};
use super::journal::Journal;
use super::mark::Beginnings;
use super::reader::Held;
use super::skip::{Skip, is_mixed};
use super::stage_set::StageSet;
use super::swaps::{Swap, SwapRequest, Swaps};
use super::unwritten;
use super::{earliest, is_before};
use crate::budget::Reservation;
use crate::dlq::{Dlq, Letter};
use crate::failpoint;
use crate::ledger::Mark;
use crate::plan::PipelinePlan;
use crate::share::give_way;
use crate::sink::Delivery;
use crate::status::{Failure, Shared};
use crate::tap::Place;

pub(crate) struct Worker {
    pub plan: Arc<PipelinePlan>,
    pub shared: Arc<Shared>,
    pub stages: StageSet,
    pub envelopes: Envelopes,
    pub feeds: Vec<Feed>,
    pub skips: Vec<Skip>,
    pub beginnings: Beginnings,
    pub dlq: Option<Dlq>,
    pub events: mpsc::Sender<Progress>,
    pub swaps: Arc<Swaps>,
    pub journal: Arc<Journal>,
    pub seq: u64,
    /// Everything up to here has been through the stages.
    pub through: Option<Position>,
    /// Up to here some sink has had everything before this run.
    pub had: Option<Position>,
    /// What sinks may have had besides, of this run and those before it.
    pub handed: Arc<HandedOut>,
    /// The last batch ended inside a transaction.
    pub inside: bool,
}

impl Worker {
    pub async fn run(mut self, mut batches: mpsc::Receiver<Held>) -> Result<(), Failure> {
        let swaps = self.swaps.clone();
        let _turn = swaps.turn().await;
        loop {
            // A stretch that was processed before is processed by what is recorded for it; a swap comes after that, and
            // where a replay can begin.
            let may_swap = !self.is_replaying() && !self.is_inside();
            self.shared.waits().set_takes_commands(may_swap);
            tokio::select! {
                biased;
                swap = swaps.next(), if may_swap => self.swap(swap).await,
                held = batches.recv() => match held {
                    None => return Ok(()),
                    Some((batch, held)) => {
                        self.take(batch, held).await?;
                        give_way().await;
                    }
                },
            }
        }
    }

    async fn swap(&mut self, request: SwapRequest) {
        if request.reply.is_closed() {
            // Whoever asked went away while it waited: it must not come as a surprise later.
            return;
        }
        // What a sink has had before this run, or a part of, keeps its version, also where another sink has not had it yet.
        let factory = self.plan.source.factory.clone();
        let compare = |a: &Position, b: &Position| factory.compare(a, b);
        let (had, handed) = match &request.swap {
            Swap::Stage(_) => (self.had.clone(), self.handed.through(|_| true, compare)),
            Swap::Envelope(new) => {
                (self.skips[new.sink].had().cloned(), self.handed.through(|sink| sink == new.sink, compare))
            }
        };
        let is_behind = |had: &Position| match &self.through {
            None => true,
            Some(through) => is_before(compare(through, had)),
        };
        let behind = had.into_iter().chain(handed).filter(is_behind);
        let behind = behind.reduce(|a, b| if is_before(compare(&a, &b)) { b } else { a });
        let (from, now) = (behind.as_ref().or(self.through.as_ref()), behind.is_none());
        let result = match request.swap {
            Swap::Stage(new) => self.stages.swap(new, from, now).await,
            Swap::Envelope(new) => self.envelopes.swap(new, from, now).await,
        };
        self.tell();
        match result {
            Ok(swapped) => self.journal.answer(request.reply, swapped),
            // Whoever asked may have gone.
            Err(refused) => drop(request.reply.send(Err(refused))),
        }
    }

    /// Whether a part of a transaction has been processed, or some sink has had one, whose rest is yet to come.
    fn is_inside(&self) -> bool {
        let source = &*self.plan.source.factory;
        self.inside
            || self.skips.iter().any(Skip::is_inside)
            || self.handed.is_inside(self.through.as_ref(), |a, b| source.compare(a, b))
    }

    fn is_replaying(&self) -> bool {
        self.stages.is_replaying() || self.envelopes.is_replaying()
    }

    /// Shows what runs where.
    fn tell(&self) {
        self.shared.set_stages(self.stages.describe());
        self.shared.set_envelopes(self.envelopes.describe());
    }

    /// Puts to work what is recorded to take over by `from`. Answers the first position after it and before `through` at
    /// which something else does.
    async fn advance(&mut self, from: &Position, through: &Position) -> Result<Option<Position>, Failure> {
        let stages = self.stages.advance(from, through).await?;
        let envelopes = self.envelopes.advance(from, through).await?;
        Ok(match envelopes {
            Some(at) => Some(earliest(stages, at, &*self.plan.source.factory)),
            None => stages,
        })
    }

    /// Takes a batch, in pieces where a recorded swap lies inside it.
    async fn take(&mut self, batch: SourceBatch, held: Reservation) -> Result<(), Failure> {
        self.skips.iter().try_for_each(|skip| skip.check(&*self.plan.source.factory, &batch))?;
        let mut rest = batch;
        let mut held = Some(held);
        while let Some(cut) = self.advance(&rest.covers.from, &rest.covers.through).await? {
            let factory = &*self.plan.source.factory;
            if is_mixed(&rest.batch, &cut, factory) {
                // Another server has what came before the swap in another order: nowhere in here a sink has just that.
                break;
            }
            let at = factory.rows_through(&rest.batch, &cut);
            let tail = rest.batch.split_off(at);
            let covers = LogSpan { from: rest.covers.from, through: cut.clone() };
            let piece = SourceBatch { batch: rest.batch, covers, boundary: Boundary::Transaction };
            self.process(piece, None).await?;
            rest = SourceBatch {
                batch: tail,
                covers: LogSpan { from: cut, through: rest.covers.through },
                boundary: rest.boundary,
            };
        }
        self.tell();
        self.process(rest, held.take()).await?;
        if self.is_replaying()
            && let Some(through) = self.through.clone()
        {
            self.advance(&through, &through).await?;
            self.tell();
        }
        Ok(())
    }

    async fn process(&mut self, source: SourceBatch, mut held: Option<Reservation>) -> Result<(), Failure> {
        let SourceBatch { batch, covers, boundary } = source;
        let factory = &*self.plan.source.factory;
        let had: Vec<bool> =
            self.skips.iter().map(|skip| skip.covers(factory, &covers.through, &boundary)).collect();
        let first_rows: Vec<u32> = self
            .skips
            .iter_mut()
            .map(|skip| skip.first_row(factory, &batch, &covers.from, &covers.through, &boundary))
            .collect::<Result<_, _>>()?;
        let rows = batch.len() as u64;
        let newest_us = batch.len().checked_sub(1).map_or(0, |last| batch.event(last).ts_us());
        let from = (!self.inside).then_some(&covers.from);
        let probation = self.stages.is_on_probation() || self.envelopes.is_on_probation();
        let refusing = self.stages.refusing();
        let mut batch = self.stages.run(batch, from).await?;
        if self.stages.refusing() != refusing {
            self.tell();
        }
        self.inside = boundary != Boundary::Transaction;
        failpoint::hit("stage.applied");
        self.send_rejects(&mut batch).await?;
        let batch = Arc::new(batch);
        for (index, sink) in self.plan.sinks.iter().enumerate() {
            let admits = |event: &Event<'_>| sink.filter.admits(event);
            self.shared.taps().enter(Place::Envelope(index), &batch, admits);
        }

        let made = self.envelopes.compose(&batch, &boundary, from, &first_rows).await?;
        if probation {
            self.tell();
        }
        for Made { unwritten, sinks, .. } in &made {
            let of = |sink: &usize| (self.plan.sinks[*sink].id.as_str(), first_rows[*sink]);
            let sinks: Vec<_> = sinks.iter().map(of).collect();
            if !unwritten.is_empty() {
                self.journal.settled().await?;
            }
            unwritten::send(self.dlq.as_ref(), &self.shared, &batch, &sinks, unwritten).await?;
        }
        // The batch stays until the sinks are done where one of them may reject a message, or fall behind so that
        // the batch goes to disk; or where messages that are larger can be made of it again.
        let stays = self.dlq.is_some() || self.feeds.iter().any(Feed::may_spill);
        let messages: usize = made.iter().map(|made| made.messages.byte_size()).sum();
        let is_recipe = |feed: &Feed| feed.keeps && (stays || batch.byte_size() < messages);
        let kept = stays.then(|| batch.clone());
        if let Some(held) = &mut held {
            let stays = stays || self.feeds.iter().any(is_recipe);
            held.resize(messages + if stays { batch.byte_size() } else { 0 });
        }
        let held = Arc::new(held);

        self.seq += 1;
        let LogSpan { from, through } = covers;
        self.through = Some(through.clone());
        self.beginnings.store(&from, self.shared.waits()).await?;
        let opened = Progress::Opened {
            seq: self.seq,
            through: through.clone(),
            boundary: boundary.clone(),
            newest_us,
            rows,
        };
        if self.events.send(opened).await.is_err() {
            return Ok(());
        }
        if self.feeds.iter().any(Feed::may_spill) {
            // On disk it would be out of the host's hands.
            self.journal.settled().await?;
        }
        let gate = self.journal.gate();
        let mut items = Vec::with_capacity(self.feeds.len());
        for (index, feed) in self.feeds.iter().enumerate().filter(|(index, _)| !had[*index]) {
            let made = made.iter().find(|made| made.sinks.contains(&index));
            let Made { messages, first_row, .. } = made.expect("messages are made for every sink");
            let recipe = is_recipe(feed).then(|| Recipe {
                batch: batch.clone(),
                from: from.clone(),
                boundary: boundary.clone(),
                first_row: *first_row,
                outline: 0,
            });
            let messages = messages.clone();
            let indexes: Arc<[u32]> = (0..messages.len() as u32)
                .filter(|at| messages.get(*at as usize).meta.source_row >= first_rows[index])
                .collect();
            items.push(FeedItem {
                wanted: indexes.clone(),
                delivery: Delivery::of(messages, indexes),
                origin: Origin::Queue {
                    seq: self.seq,
                    reach: Reach::of(&through, &boundary),
                    mark: Mark::of(&through, &boundary),
                },
                batch: kept.clone(),
                taken_at: std::time::Instant::now(),
                held: held.clone(),
                gate: gate.clone(),
                recipe,
                gone: None,
            });
        }
        // Each sink gives them back as it is done with them.
        drop((made, held));
        let mut items = items.into_iter().peekable();
        for (index, feed) in self.feeds.iter_mut().enumerate() {
            let Some(item) = items.next_if(|_| !had[index]) else {
                feed.covered(self.seq).await;
                continue;
            };
            let (seq, first_row) = (self.seq, first_rows[index]);
            let offer = Offer {
                item,
                batch: &batch,
                seq,
                first_row,
                from: &from,
                through: &through,
                boundary: &boundary,
            };
            feed.offer(offer).await?;
        }
        Ok(())
    }

    /// Rejected events go to the dead-letter queue before their batch can count as durable anywhere.
    async fn send_rejects(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        if batch.rejects().len() == 0 {
            return Ok(());
        }
        let Some(dlq) = self.dlq.clone() else {
            let reason = batch.rejects().next().map(|(_, reject)| reject.reason.clone()).unwrap_or_default();
            return Err(Failure::operator(
                "poison_event",
                format!("an event was rejected and there is no dead-letter queue: {reason}"),
            ));
        };
        self.journal.settled().await?;
        let masked = self.stages.mask_rows(batch.rejects_as_batch()).await;
        let letters: Vec<Letter<'_>> = batch
            .rejects()
            .enumerate()
            .map(|(at, (event, reject))| Letter {
                event: masked.as_ref().map_or(event, |masked| masked.event(at)),
                hide: masked.is_none(),
                sink_id: "",
                stage_id: &reject.stage,
                kind: "processor",
                code: &reject.code,
                message: &reject.reason,
                attempts: 1,
            })
            .collect();
        self.shared.dead_letters_lost(dlq.put(&letters).await?);
        failpoint::hit("dlq.stored");
        drop(letters);
        batch.clear_rejects();
        Ok(())
    }
}
