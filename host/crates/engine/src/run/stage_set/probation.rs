//! The first batches of a new version: judged before anything of them leaves.
//!
//! The measure is what ran before. Only where something went wrong with the new version, or it dropped most of the
//! events, of a few all, does the old one get the same batch; if it did better, its result goes on, and so does it, from the position
//! where the batch begins. So an event that fails by itself, on any version, brings no version down.

use deltaforge_model::{Batch, Position};
use metrics::counter;
use tracing::warn;

use super::{NewStage, Slot, StageSet};
use crate::run::ROLLED_BACK;
use crate::run::lineage::Successor;
use crate::stage::{StageAction, StageError};
use crate::stages::{Rests, RunningStage, Toll};
use crate::status::Failure;
use crate::swap::{BY_ITSELF, Generation, Note};

/// Of fewer events nobody can say that a version drops most; only that it lets none through.
const MANY: u64 = 20;

/// What a version made of a batch.
type Attempt = (Result<Batch, StageError>, Toll);

impl StageSet {
    /// Whether some stage runs a version that is yet to be judged.
    pub fn is_on_probation(&self) -> bool {
        self.slots.iter().any(|slot| slot.running.on_probation)
    }

    /// Runs the batch after `from` through a version on probation, and through the one before it if need be.
    pub(super) async fn try_out(
        &mut self,
        index: usize,
        batch: Batch,
        from: &Position,
    ) -> Result<Batch, Failure> {
        let mut attempt = self.slots[index].running.attempt(batch.clone()).await;
        if !self.slots[index].running.saw_rows || attempt.1.shown == 0 {
            let (result, toll) = attempt;
            self.slots[index].running.count(toll);
            return Ok(result?);
        }
        if is_waiting(&attempt) {
            // A command, which may mend that, waits for it: the batch comes again afterwards.
            return Ok(attempt.0?);
        }
        if is_in_doubt(&attempt) {
            match self.build_before(index).await {
                Some((previous, mut old)) => {
                    old.is_compared = true;
                    // The command waits for what it makes of the batch.
                    old.rests = Rests::never();
                    let before = old.attempt(batch.clone()).await;
                    if is_waiting(&before) {
                        // Nobody can say what it would have made of the batch, with which it would have waited.
                        return Ok(before.0?);
                    }
                    if attempt.0.is_err() && (before.0.is_err() || before.1.failed > 0) {
                        // Which rows each of them fails on makes the difference.
                        attempt = self.attempt_in_full(index, batch).await;
                        if is_waiting(&attempt) {
                            return Ok(attempt.0?);
                        }
                    }
                    if let Some(why) = worse(&attempt, &before) {
                        self.put_back(index, previous, old, from, why).await?;
                        let (result, toll) = before;
                        self.slots[index].running.count(toll);
                        return Ok(result?);
                    }
                }
                // There is nothing better: `on_error` decides, as ever.
                None if attempt.0.is_err() => attempt = self.attempt_in_full(index, batch).await,
                None => {}
            }
        }
        let (result, toll) = attempt;
        let batch = result?;
        self.passed(index).await?;
        self.slots[index].running.count(toll);
        Ok(batch)
    }

    /// Runs a batch through a version on probation as if it were on none.
    async fn attempt_in_full(&mut self, index: usize, batch: Batch) -> Attempt {
        let running = &mut self.slots[index].running;
        running.on_probation = false;
        let attempt = running.attempt(batch).await;
        running.on_probation = true;
        attempt
    }

    /// The version before the one on probation, in an instance of its own.
    async fn build_before(&mut self, index: usize) -> Option<(Generation, RunningStage)> {
        let plan = self.plan.stages[index].clone();
        let lineage = &self.slots[index].lineage;
        let previous = lineage.before()?.clone();
        let spec = lineage.spec_of(&previous);
        match self.make(&spec, Some(&previous.version)).await {
            Ok((stage, version)) => {
                let running = self.running(&plan, stage, version, &previous);
                Some((previous, running))
            }
            Err(error) => {
                warn!(stage = plan.spec.id, code = error.code, error = %error,
                    "what ran before the new version cannot be built, so nothing can be put back");
                None
            }
        }
    }

    /// One batch less to be judged by; nothing of it leaves before that is stored, so that a replay judges no batch again
    /// that some sink has had.
    async fn passed(&mut self, index: usize) -> Result<(), Failure> {
        let Slot { running, lineage } = &mut self.slots[index];
        let left = lineage.passed(&self.journal).await?;
        running.on_probation = left > 0;
        let generation = lineage.now().generation;
        tracing::info!(
            stage = running.id,
            generation,
            left,
            "the new version got through a batch no worse than the one before it"
        );
        Ok(())
    }

    async fn put_back(
        &mut self,
        index: usize,
        previous: Generation,
        old: RunningStage,
        from: &Position,
        why: String,
    ) -> Result<(), Failure> {
        let plan = self.plan.stages[index].clone();
        let lineage = &self.slots[index].lineage;
        let bad = lineage.now().clone();
        let spec = lineage.spec_of(&previous);
        let mask = match self.services.hides(&spec) {
            true => Some(self.make(&spec, Some(&previous.version)).await?.0),
            false => None,
        };
        let why = self.plan.secrets.hide(&why);
        warn!(
            stage = plan.spec.id,
            failed = bad.version.plugin,
            generation = bad.generation,
            back_to = previous.version.plugin,
            position = from.readable(),
            why,
            "the new version did worse than the one before it, which is put back; nothing of it was delivered"
        );
        counter!(ROLLED_BACK, "pipeline" => self.plan.name.clone(), "processor" => plan.spec.id.clone())
            .increment(1);
        let new = NewStage {
            successor: Successor {
                note: Note::new(BY_ITSELF, why),
                probation: 0,
                instead_of: Some(bad.generation),
                spec,
                version: old.version,
            },
            stage: old.stage,
            mask,
        };
        self.swap(new, Some(from), true).await?;
        Ok(())
    }
}

/// Whether the version before has to say what the batch is like.
fn is_in_doubt((result, toll): &Attempt) -> bool {
    result.is_err() || toll.failed > 0 || toll.rejected > 0 || drops_most(toll)
}

/// Whether a version said to the end that what it needs is not available now.
fn is_waiting((result, _): &Attempt) -> bool {
    matches!(result, Err(error) if error.action == StageAction::Retry)
}

/// Whether a version drops so much of a batch that it may be no good.
fn drops_most(toll: &Toll) -> bool {
    match toll.shown {
        shown if shown >= MANY => toll.dropped * 2 > shown,
        // The rest of the stream would be lost with them, and what is taken back in error loses nothing.
        _ => lets_none_through(toll),
    }
}

fn lets_none_through(toll: &Toll) -> bool {
    toll.left == toll.passed_by
}

/// In what the new version did worse than the one before it.
fn worse(new: &Attempt, old: &Attempt) -> Option<String> {
    let (Ok(_), was) = old else { return None };
    let (result, is) = new;
    let shown = is.shown;
    if let Err(error) = result {
        return Some(format!("it failed on the first batch: {}: {error}", error.code));
    }
    if is.failed > was.failed {
        return Some(format!(
            "it failed on {} of {shown} events, the version before on {}",
            is.failed, was.failed
        ));
    }
    if is.rejected > was.rejected {
        return Some(format!(
            "it rejected {} of {shown} events, the version before {}",
            is.rejected, was.rejected
        ));
    }
    let jump = is.dropped.saturating_sub(was.dropped);
    if drops_most(is) && jump * 2 > shown {
        return Some(format!(
            "it dropped {} of {shown} events, the version before {}; if that is meant, swap with probation 0",
            is.dropped, was.dropped
        ));
    }
    // What it drops besides those that neither can do anything with may be all that there was of any use.
    (lets_none_through(is) && !lets_none_through(was)).then(|| {
        format!(
            "it let none of {shown} events through, the version before {}; if that is meant, swap with probation 0",
            was.left - was.passed_by
        )
    })
}
