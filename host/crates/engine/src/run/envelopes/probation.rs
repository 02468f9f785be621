//! The first batch of a new envelope: judged before anything of it leaves, by what the one before makes of it.

use std::sync::Arc;

use deltaforge_model::{Batch, Boundary, Position};
use metrics::counter;
use tracing::{info, warn};

use super::{Composer, Envelopes, Made, Successor};
use crate::compose::Unwritten;
use crate::message::MessageBatch;
use crate::run::ROLLED_BACK;
use crate::stage::{StageAction, StageError, StageVersion};
use crate::status::Failure;
use crate::swap::{BY_ITSELF, Generation, Note};

/// What an envelope made of a batch.
type Attempt = Result<(MessageBatch, Vec<Unwritten>), StageError>;

impl Envelopes {
    /// Makes the messages of the batch after `from` for a sink whose envelope is on probation; by the envelope before it
    /// if that does better.
    pub(super) async fn try_out(
        &mut self,
        sink: usize,
        batch: &Arc<Batch>,
        boundary: &Boundary,
        from: &Position,
        first_row: u32,
    ) -> Result<Made, Failure> {
        let mut attempt = self.on_probation(sink).try_whole(batch, boundary, first_row).await;
        let made = |(messages, unwritten)| Made {
            messages: Arc::new(messages),
            unwritten,
            sinks: vec![sink],
            first_row,
        };
        if matches!(&attempt, Ok((messages, unwritten)) if messages.is_empty() && unwritten.is_empty()) {
            return Ok(made(attempt?));
        }
        if failures(&attempt) > 0
            && let Some((previous, (mut composer, version))) = self.before(sink).await
            && let Ok(before) = composer.compose(batch, boundary, first_row).await
        {
            if attempt.is_err() && !before.1.is_empty() {
                // Which events each of them fails on makes the difference.
                attempt = self.on_probation(sink).compose(batch, boundary, first_row).await;
            }
            if before.1.len() < failures(&attempt) {
                let why = worse(&attempt, &before);
                self.put_back(sink, &previous, version, composer, from, why).await?;
                return Ok(made(before));
            }
        }
        let attempt = match attempt {
            // There is nothing better: `on_error` decides, as ever.
            Err(error) if error.action == StageAction::Isolate => {
                self.on_probation(sink).compose(batch, boundary, first_row).await?
            }
            attempt => attempt?,
        };
        // Nothing of it leaves before that is stored, so that a replay judges no batch again that the sink has had.
        let lineage = &mut self.lineages[sink];
        lineage.passed(&self.journal).await?;
        let generation = lineage.now().generation;
        self.told[sink].send_replace(lineage.generations().into());
        info!(
            sink = self.plan.sinks[sink].id,
            generation, "the new envelope got through a batch no worse than the one before it"
        );
        self.regroup(Vec::new()).await?;
        Ok(made(attempt))
    }

    /// The envelope that is judged.
    fn on_probation(&mut self, sink: usize) -> &mut Composer {
        let group = self.groups.iter_mut().find(|group| group.wish.on_probation == Some(sink));
        &mut group.expect("what is on probation has a group of its own").composer
    }

    /// The envelope before the one on probation, in an instance of its own.
    async fn before(&mut self, sink: usize) -> Option<(Generation, (Composer, StageVersion))> {
        let previous = self.lineages[sink].before()?.clone();
        match self.composer_of(sink, &previous).await {
            Ok(built) => Some((previous, built)),
            Err(error) => {
                warn!(sink = self.plan.sinks[sink].id, code = error.code, error = %error,
                    "what ran before the new envelope cannot be built, so nothing can be put back");
                None
            }
        }
    }

    async fn put_back(
        &mut self,
        sink: usize,
        previous: &Generation,
        version: StageVersion,
        composer: Composer,
        from: &Position,
        why: String,
    ) -> Result<(), Failure> {
        let (plan, bad) = (self.plan.sinks[sink].clone(), self.lineages[sink].now().clone());
        let why = self.plan.secrets.hide(&why);
        warn!(
            sink = plan.id,
            failed = bad.version.plugin,
            generation = bad.generation,
            back_to = previous.version.plugin,
            position = from.readable(),
            why,
            "the new envelope did worse than the one before it, which is put back; nothing of it was delivered"
        );
        let labels = [("pipeline", self.plan.name.clone()), ("processor", plan.envelope.id.clone())];
        counter!(ROLLED_BACK, &labels).increment(1);
        let successor = Successor {
            note: Note::new(BY_ITSELF, why),
            probation: 0,
            instead_of: Some(bad.generation),
            spec: self.lineages[sink].spec_of(previous),
            version,
        };
        self.record(sink, successor, Some(from), true).await?;
        self.regroup(vec![(self.wish(sink), composer)]).await
    }
}

/// How many events it made no message of; more than there are if it failed as a whole.
fn failures(attempt: &Attempt) -> usize {
    attempt.as_ref().map_or(usize::MAX, |(_, unwritten)| unwritten.len())
}

/// In what the new envelope did worse than the one before it.
fn worse(new: &Attempt, (_, was): &(MessageBatch, Vec<Unwritten>)) -> String {
    match new {
        Err(error) => format!("it failed on the first batch: {}: {error}", error.code),
        Ok((made, unwritten)) => format!(
            "it could not write {} of {} events, the envelope before {}",
            unwritten.len(),
            made.len() + unwritten.len(),
            was.len()
        ),
    }
}
