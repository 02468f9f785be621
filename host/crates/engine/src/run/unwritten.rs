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
/// there; nowhere, and are counted; or the first one ends the attempt, as it does without a queue. A sink is told of none
/// before its first row: it has had them, and was told then.
pub(crate) async fn send(
    dlq: Option<&Dlq>,
    shared: &Shared,
    batch: &Batch,
    sinks: &[(&str, u32)],
    unwritten: &[Unwritten],
) -> Result<(), Failure> {
    let concerns = |one: &Unwritten, (_, first): &(&str, u32)| batch.event(one.row).source_row() >= *first;
    let (skipped, kept): (Vec<_>, Vec<_>) = unwritten
        .iter()
        .filter(|one| sinks.iter().any(|sink| concerns(one, sink)))
        .partition(|one| one.on_error == OnError::Skip);
    let dlq = dlq.filter(|_| kept.iter().all(|one| one.on_error == OnError::Dlq));
    if let (Some(first), None) = (kept.first(), dlq) {
        let text = format!("event {}: {}", batch.event(first.row).id(), first.reason);
        return Err(Failure::operator(first.code, text));
    }
    for sink in sinks {
        let skipped: Vec<_> = skipped.iter().filter(|one| concerns(one, sink)).collect();
        let Some(first) = skipped.first() else { continue };
        let error = StageError::isolate(first.code, first.reason.clone());
        let labels = [("pipeline", batch.info().pipeline.clone()), ("sink", sink.0.to_owned())];
        counter!("deltaforge_sink_skipped_total", &labels).increment(skipped.len() as u64);
        shared.skipped(sink.0, skipped.len(), &error);
    }
    let (Some(dlq), false) = (dlq, kept.is_empty()) else { return Ok(()) };
    let letters: Vec<Letter<'_>> = sinks
        .iter()
        .flat_map(|sink| {
            kept.iter().filter(|one| concerns(one, sink)).map(|one| Letter {
                event: batch.event(one.row),
                hide: false,
                sink_id: sink.0,
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
