//! Sinks that have a part of a transaction: which part, while what is read of it may be something else now.

use deltaforge_model::Event;
use tracing::warn;

use super::mark::Start;
use crate::status::Failure;

/// The part of a transaction that a sink has had.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    sink: String,
    /// As [`Boundary::Inside`](deltaforge_model::Boundary::Inside) names it.
    transaction: String,
    /// Rows of it that are yet to come by.
    pub rows: u64,
    /// None of them may come twice.
    strict: bool,
}

/// The id of a transaction that [`Boundary::Inside`](deltaforge_model::Boundary::Inside) names.
pub(crate) fn id_of(transaction: &str) -> &str {
    transaction.split(' ').next().unwrap_or_default()
}

impl Part {
    pub fn of(sink: &str, start: &Start) -> Option<Self> {
        let (transaction, rows) = start.inside.clone().filter(|(_, rows)| *rows > 0)?;
        Some(Self { sink: sink.to_owned(), transaction, rows, strict: start.keeps })
    }

    fn id(&self) -> &str {
        id_of(&self.transaction)
    }

    /// When it was committed; `None`: nothing else can have its id.
    fn committed_us(&self) -> Option<i64> {
        let (said, _) = self.transaction.split_once(' ')?.1.split_once(' ')?;
        said.parse().ok()
    }

    /// Whether these rows come by now, with this event. Where they do not the sink is to have all that comes.
    ///
    /// # Errors
    ///
    /// When it may not have any of it twice.
    pub fn comes(&self, event: &Event<'_>) -> Result<bool, Failure> {
        let why = match event.transaction() {
            Some(transaction) if transaction.id == self.id() => {
                if self.committed_us().is_none_or(|committed| committed == event.ts_us()) {
                    return Ok(true);
                }
                "it is from another time: its server rolled it back, and another one has its name now"
                    .to_owned()
            }
            Some(transaction) => format!("the source reads another one first ({})", transaction.id),
            None => "the source copies rows first".to_owned(),
        };
        // What is copied comes before the log or after it as it happens.
        let retriable = event.transaction().is_none();
        self.cannot_tell(&why).map(|()| false).map_err(|failure| Failure { retriable, ..failure })
    }

    fn cannot_tell(&self, why: &str) -> Result<(), Failure> {
        let Self { sink, rows, strict, .. } = self;
        let id = self.id();
        if *strict {
            return Err(Failure::operator(
                "half_delivered",
                format!("sink {sink} has the first {rows} rows of transaction {id}, and {why}"),
            ));
        }
        warn!(sink, transaction = id, rows, why, "what a sink had of a transaction comes to it again");
        Ok(())
    }
}

/// Looks whether the transaction that a sink has a part of is still counted as it was. Where it is not it comes again from its
/// beginning.
///
/// # Errors
///
/// When it may not.
pub(crate) fn settle(
    start: &mut Start,
    sink: &str,
    is_counted_alike: impl Fn(&str) -> bool,
) -> Result<(), Failure> {
    let Some(part) = Part::of(sink, start).filter(|part| !is_counted_alike(&part.transaction)) else {
        return Ok(());
    };
    // By what its rows are counted stands behind the id.
    let why = match part.transaction.contains(' ') {
        true => {
            "which rows those are cannot be told any more, as what the source captures was changed since; put `tables` back until \
             the sink has all of it"
        }
        false => {
            "an older version of DeltaForge counted them, and did not say by which `tables`. Run that version again, with the `tables` \
             that it had, until the sink has all of the transaction (its `lag_seconds` is small again), then stop the pipeline and \
             start this one; or set `exactly_once: false` at the sink, let it deliver something, and set it to `true` again: the \
             transaction comes from its beginning, with those rows twice"
        }
    };
    part.cannot_tell(why)?;
    start.inside = None;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
