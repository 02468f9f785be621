//! Transactions of a sink that keeps its position: how much of one is held for another try, and what happens without that.
//!
//! Little of it is: the sink tries again by itself. What a larger one holds is in the source as well, and is read from there again,
//! from where the sink says that it stands. So a transaction may be larger than what a pipeline may hold. While a sink is in
//! trouble all is held, and transactions are smaller: else each further failure would have the pipeline begin again.

use super::feed::FeedItem;
use super::sink::SinkTask;
use crate::status::{Failure, Shared};

/// What is held of a transaction that is to be tried again from memory, as the budget counts.
const KEPT: usize = 4 << 20;
/// Where all of it is held it ends here.
const HELD: usize = 24 << 20;

impl SinkTask {
    /// Gives back what the sink has taken, once that is much.
    pub(super) fn lighten(&mut self, shared: &Shared) {
        let is_much = || self.has_let_go() || self.holds() > KEPT.min(self.context.budget.limit() / 8);
        if !self.holds_all(shared) && is_much() {
            let taken = self.pending.iter_mut().take(self.written);
            taken.filter(|item| item.let_go.is_none()).for_each(FeedItem::let_go);
        }
    }

    /// Whether no more may be held of a transaction. What is in it only in part is to be in it whole.
    pub(super) fn is_laden(&self, shared: &Shared) -> bool {
        let is_torn = || self.pending.get(self.written).is_some_and(|item| item.delivery.done > 0);
        let most = || HELD.min(self.context.budget.limit() / 4);
        self.keeps.is_some() && self.holds_all(shared) && self.holds() >= most() && !is_torn()
    }

    /// The sink is open anew, and cannot have again what is not held any more: the pipeline begins again.
    pub(super) fn can_go_on(&self) -> Result<(), Failure> {
        if self.drain.is_some() || !self.has_let_go() {
            return Ok(());
        }
        let text = format!(
            "the open transaction of sink {} failed, and was too large to be kept in memory; the pipeline begins again from where \
             the sink stands",
            self.plan.id
        );
        Err(Failure { code: "transaction_lost".into(), message: text, retriable: true })
    }

    /// Whether nothing is let go: it does not keep its position, has its spill, or is in trouble.
    fn holds_all(&self, shared: &Shared) -> bool {
        self.keeps.is_none() || self.drain.is_some() || shared.sink_in_trouble(self.index)
    }

    /// Bytes that are held of what the sink has taken.
    fn holds(&self) -> usize {
        let held = |item: &FeedItem| item.held.as_ref().as_ref().map_or(0, |held| held.bytes());
        self.pending.iter().take(self.written).map(held).sum()
    }
}
