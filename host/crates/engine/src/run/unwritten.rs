//! Events that no message could be made of.

use deltaforge_model::Batch;

use crate::compose::Unwritten;
use crate::dlq::{Dlq, Letter};
use crate::failpoint;
use crate::status::{Failure, Shared};

/// They go to the dead-letter queue, once for each of `sinks`, before their batch can count as durable there. Without
/// a queue the first one ends the attempt.
pub(crate) async fn send(
    dlq: Option<&Dlq>,
    shared: &Shared,
    batch: &Batch,
    sinks: &[&str],
    unwritten: &[Unwritten],
) -> Result<(), Failure> {
    let Some(first) = unwritten.first() else { return Ok(()) };
    let Some(dlq) = dlq else {
        let text = format!("event {}: {}", batch.event(first.row).id(), first.reason);
        return Err(Failure::operator(first.code, text));
    };
    let letters: Vec<Letter<'_>> = sinks
        .iter()
        .flat_map(|sink_id| {
            unwritten.iter().map(|one| Letter {
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
