//! What a sink has had already of what is read once more.

use deltaforge_model::position::Order;
use deltaforge_model::{Batch, Boundary, LogSpan, Position, SourceBatch};

use super::inside::{Part, id_of};
use super::is_before;
use super::mark::Start;
use crate::source::SourceFactory;
use crate::status::Failure;

/// What a sink has had already, at the beginning of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Skip {
    until: Option<Position>,
    /// Rows after `until` that it has had too.
    part: Option<Part>,
    /// The sink, where nothing may come to it twice.
    strict: Option<String>,
}

/// Whether a position has all of a batch that ends before it. A piece of a transaction ends where that begins, and on another
/// server that may be one which the position does not have.
pub(super) fn has_all(at: &Position, boundary: &Boundary, source: &dyn SourceFactory) -> bool {
    match boundary {
        Boundary::Transaction => true,
        Boundary::Inside { transaction, .. } => source.has(at, id_of(transaction)).unwrap_or(true),
    }
}

/// Whether something of what a position has stands behind something that it does not have.
pub(super) fn is_mixed(batch: &Batch, at: &Position, source: &dyn SourceFactory) -> bool {
    let mut last = None;
    (source.rows_through(batch, at)..batch.len()).any(|row| {
        let event = batch.event(row);
        let before = std::mem::replace(&mut last, event.transaction_index());
        let next = event.transaction().filter(|_| last != before);
        next.is_some_and(|transaction| source.has(at, &transaction.id) == Some(true))
    })
}

impl Skip {
    pub fn of(sink: &str, start: &Start) -> Self {
        Self {
            until: start.resume.clone(),
            part: Part::of(sink, start),
            strict: start.keeps.then(|| sink.to_owned()),
        }
    }

    /// Up to here the sink has had everything before this run; `None`: nothing, or it is past that.
    pub fn had(&self) -> Option<&Position> {
        self.until.as_ref()
    }

    /// Whether the sink has had a part of a transaction whose rest is yet to come.
    pub fn is_inside(&self) -> bool {
        self.part.is_some()
    }

    /// Looks whether what the sink has had comes before what it has not, in a batch as the source handed it out. Another server
    /// may have the same transactions in another order. Where a sink may have them twice, what follows the first one that
    /// it has not had comes to it.
    ///
    /// # Errors
    ///
    /// When it does not, and the sink may have nothing twice: past the first one that it has not had, no position says what it
    /// has.
    pub fn check(&self, factory: &dyn SourceFactory, source: &SourceBatch) -> Result<(), Failure> {
        let (Some(sink), Some(until)) = (&self.strict, &self.until) else { return Ok(()) };
        let SourceBatch { batch, covers: LogSpan { from, through }, boundary } = source;
        if !is_before(factory.compare(from, until)) {
            return Ok(());
        }
        let is_in_order = match factory.compare(through, until) {
            Order::Before => has_all(until, boundary, factory),
            Order::Same => true,
            Order::After => !is_mixed(batch, until, factory),
            Order::Unrelated => false,
        };
        if is_in_order {
            return Ok(());
        }
        let (until, from) = (until.readable(), from.readable());
        Err(Failure::operator(
            "source_reordered",
            format!(
                "sink {sink} has had everything up to ({until}), and behind ({from}) the source has these transactions in another order \
                 than the server that they were read from before: some of them would come to the sink twice. Let the source read a \
                 server that has them in the order of before, until the pipeline's sinks are level"
            ),
        ))
    }

    /// Whether the sink's own checkpoint covers everything up to `through`: nothing is left to do for it.
    pub fn covers(&self, factory: &dyn SourceFactory, through: &Position, boundary: &Boundary) -> bool {
        self.until.as_ref().is_some_and(|until| match factory.compare(through, until) {
            Order::Before => has_all(until, boundary, factory),
            Order::Same => self.part.is_none() && *boundary == Boundary::Transaction,
            _ => false,
        })
    }

    /// The first `source_row` of the batch that the sink has not had; `batch` is as the source handed it out.
    ///
    /// # Errors
    ///
    /// When that cannot be told.
    pub fn first_row(
        &mut self,
        factory: &dyn SourceFactory,
        batch: &Batch,
        from: &Position,
        through: &Position,
        boundary: &Boundary,
    ) -> Result<u32, Failure> {
        let Some(until) = &self.until else { return Ok(0) };
        let mut rows = match factory.compare(through, until) {
            Order::Before if has_all(until, boundary, factory) => return Ok(u32::MAX),
            // A piece of a large transaction ends where that began, and is not covered by what came before it.
            Order::Same if *boundary == Boundary::Transaction => return Ok(u32::MAX),
            _ if is_before(factory.compare(from, until)) => factory.rows_through(batch, until),
            _ => 0,
        };
        if rows < batch.len() {
            self.part = match self.part.take() {
                Some(mut part) if part.comes(&batch.event(rows))? => {
                    let more = part.rows.min((batch.len() - rows) as u64);
                    part.rows -= more;
                    rows += more as usize;
                    Some(part).filter(|part| part.rows > 0)
                }
                _ => None,
            };
        }
        if self.part.is_none() {
            self.until = None;
        }
        Ok(if rows < batch.len() { batch.event(rows).source_row() } else { u32::MAX })
    }
}

#[cfg(test)]
pub(super) mod tests;
