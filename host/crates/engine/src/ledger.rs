//! Which batches each sink has made durable, and up to where the source may forget.
//!
//! Pure bookkeeping, ordered by `seq`; positions are carried along and never compared.

use std::collections::VecDeque;

use deltaforge_model::{Boundary, Position};

/// When a batch counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitPolicy {
    /// Every sink has it.
    All,
    /// Every sink with `required: true` has it.
    Required,
    /// So many of the sinks with `required: true` have it.
    Quorum(usize),
}

/// Where a sink stands after a batch: what its checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// A restart reads from here. Never inside a transaction.
    pub resume: Position,
    /// Inside a transaction that begins at `resume`: its id and the rows of it that are delivered.
    pub inside: Option<(String, u64)>,
}

impl Mark {
    /// Where a sink stands that has everything of a batch that ends there.
    pub fn of(through: &Position, boundary: &Boundary) -> Self {
        let inside = match boundary {
            Boundary::Transaction => None,
            // Its rows are counted from `through` on, not from where the batch begins: what had no rows then may have some
            // when it is read again, a heartbeat at least.
            Boundary::Inside { transaction, rows_done } => Some((transaction.clone(), *rows_done)),
        };
        Self { resume: through.clone(), inside }
    }
}

/// The batches on their way, and how far each sink is.
#[derive(Debug)]
pub struct Ledger {
    policy: CommitPolicy,
    required: Vec<bool>,
    /// Per sink: everything up to this `seq` is checkpointed as durable.
    durable: Vec<u64>,
    /// Per sink: everything up to this `seq` is durable, safe in its spill, or in a recorded gap.
    safe: Vec<u64>,
    /// Batches not yet confirmed, oldest first.
    open: VecDeque<(u64, Mark)>,
}

impl Ledger {
    /// A ledger for sinks that are each `required` or not. Batches are numbered from 1.
    pub fn new(policy: CommitPolicy, required: Vec<bool>) -> Self {
        let sinks = required.len();
        Self { policy, required, durable: vec![0; sinks], safe: vec![0; sinks], open: VecDeque::new() }
    }

    /// A batch is on its way. Batches are opened in `seq` order.
    pub fn open(&mut self, seq: u64, through: &Position, boundary: &Boundary) {
        self.open.push_back((seq, Mark::of(through, boundary)));
    }

    /// What the checkpoint of a sink that is durable through `seq` says; `None` when the batch is confirmed already.
    pub fn mark(&self, seq: u64) -> Option<&Mark> {
        let at = self.open.partition_point(|(open, _)| *open <= seq);
        at.checked_sub(1).map(|at| &self.open[at].1)
    }

    /// A sink's checkpoint at `seq` is stored.
    pub fn checkpointed(&mut self, sink: usize, seq: u64) {
        self.durable[sink] = self.durable[sink].max(seq);
        self.safe[sink] = self.safe[sink].max(seq);
    }

    /// Everything up to `seq` is in the sink's fsynced spill or a recorded gap.
    pub fn spilled(&mut self, sink: usize, seq: u64) {
        self.safe[sink] = self.safe[sink].max(seq);
    }

    /// The highest `seq` that may be confirmed: the policy holds, and every other sink is safe.
    fn confirmable(&self) -> u64 {
        let required = || self.required.iter().zip(&self.durable).filter(|(r, _)| **r).map(|(_, seq)| *seq);
        let by_policy = match self.policy {
            CommitPolicy::All => self.durable.iter().copied().min().unwrap_or(0),
            CommitPolicy::Required => required().min().unwrap_or(0),
            CommitPolicy::Quorum(n) => {
                let mut seqs: Vec<u64> = required().collect();
                seqs.sort_unstable_by(|a, b| b.cmp(a));
                n.checked_sub(1).and_then(|at| seqs.get(at)).copied().unwrap_or(0)
            }
        };
        by_policy.min(self.safe.iter().copied().min().unwrap_or(0))
    }

    /// The position the source may be told, when it has moved; the batches up to it are closed.
    pub fn take_confirmed(&mut self) -> Option<Position> {
        let through = self.confirmable();
        let mut confirmed = None;
        while self.open.front().is_some_and(|(seq, _)| *seq <= through) {
            confirmed = self.open.pop_front().map(|(_, mark)| mark.resume);
        }
        confirmed
    }

    /// How many batches are not yet confirmed.
    pub fn open_batches(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Position {
        Position::new(n.to_string())
    }

    fn ledger(policy: CommitPolicy, required: &[bool], batches: u64) -> Ledger {
        let mut ledger = Ledger::new(policy, required.to_vec());
        for seq in 1..=batches {
            ledger.open(seq, &at(seq), &Boundary::Transaction);
        }
        ledger
    }

    #[test]
    fn all_waits_for_every_sink() {
        let mut ledger = ledger(CommitPolicy::All, &[true, false], 3);
        ledger.checkpointed(0, 3);
        assert_eq!(ledger.take_confirmed(), None);
        ledger.checkpointed(1, 2);
        assert_eq!(ledger.take_confirmed(), Some(at(2)));
        assert_eq!(ledger.take_confirmed(), None);
    }

    #[test]
    fn required_waits_for_the_others_to_be_safe() {
        let mut ledger = ledger(CommitPolicy::Required, &[true, false], 3);
        ledger.checkpointed(0, 3);
        assert_eq!(ledger.take_confirmed(), None, "the optional sink has nothing yet");
        ledger.spilled(1, 2);
        assert_eq!(ledger.take_confirmed(), Some(at(2)));
    }

    #[test]
    fn an_optional_sink_alone_confirms_nothing() {
        let mut ledger = ledger(CommitPolicy::Required, &[true, false], 3);
        ledger.checkpointed(1, 3);
        assert_eq!(ledger.take_confirmed(), None);
    }

    #[test]
    fn quorum_takes_the_nth_highest_of_the_required() {
        let mut ledger = ledger(CommitPolicy::Quorum(2), &[true, true, true], 5);
        ledger.checkpointed(0, 5);
        ledger.checkpointed(1, 3);
        ledger.spilled(2, 5);
        assert_eq!(ledger.take_confirmed(), Some(at(3)));
    }

    #[test]
    fn inside_a_transaction_the_resume_position_stays_at_its_start() {
        let mut ledger = Ledger::new(CommitPolicy::All, vec![true]);
        let inside = Boundary::Inside { transaction: "t".into(), rows_done: 7 };
        ledger.open(1, &at(9), &inside);
        assert_eq!(ledger.mark(1), Some(&Mark { resume: at(9), inside: Some(("t".into(), 7)) }));
    }
}
