//! Events that no message could be made of.

use deltaforge_model::Batch;
use metrics::counter;

use crate::compose::Unwritten;
use crate::dlq::{Dlq, Letter};
use crate::failpoint;
use crate::stage::StageError;
use crate::stages::OnError;
use crate::status::{Failure, Shared};

/// They go where they say: to the dead-letter queue, once for each of `sinks`, before their batch can count as durable
/// there; nowhere, and are counted; or the first one ends the attempt, as it does without a queue.
pub(crate) async fn send(
    dlq: Option<&Dlq>,
    shared: &Shared,
    batch: &Batch,
    sinks: &[&str],
    unwritten: &[Unwritten],
) -> Result<(), Failure> {
    let (skipped, kept): (Vec<_>, Vec<_>) = unwritten.iter().partition(|one| one.on_error == OnError::Skip);
    let dlq = dlq.filter(|_| kept.iter().all(|one| one.on_error == OnError::Dlq));
    if let (Some(first), None) = (kept.first(), dlq) {
        let text = format!("event {}: {}", batch.event(first.row).id(), first.reason);
        return Err(Failure::operator(first.code, text));
    }
    if let Some(first) = skipped.first() {
        let error = StageError::isolate(first.code, first.reason.clone());
        for sink in sinks {
            let labels = [("pipeline", batch.info().pipeline.clone()), ("sink", (*sink).to_owned())];
            counter!("deltaforge_sink_skipped_total", &labels).increment(skipped.len() as u64);
            shared.skipped(sink, skipped.len(), &error);
        }
    }
    let (Some(dlq), false) = (dlq, kept.is_empty()) else { return Ok(()) };
    let letters: Vec<Letter<'_>> = sinks
        .iter()
        .flat_map(|sink_id| {
            kept.iter().map(|one| Letter {
                event: batch.event(one.row),
                hide: false,
                sink_id,
                stage_id: "",
                kind: one.kind,
                code: one.code,
                message: &one.reason,
                attempts: 1,
            })
        })
        .collect();
    shared.dead_letters_lost(dlq.put(&letters).await?);
    failpoint::hit("dlq.stored");
    Ok(())
}
