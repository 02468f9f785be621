//! What sinks may have had of a stream since the host began, checkpointed or not.
//!
//! A checkpoint stands behind whole batches. When an attempt ends in the middle of one, some of its events are out, and
//! the next attempt begins before them: they must pass the version that they have passed.

use std::cmp::Ordering;

use deltaforge_model::position::Order;
use deltaforge_model::{Boundary, Position};
use parking_lot::Mutex;

use super::is_before;
use crate::source::SourceFactory;

/// Up to where a sink may have had the stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reach {
    /// Everything up to here.
    through: Position,
    /// And a part of the transaction that begins there.
    inside: bool,
}

impl Reach {
    /// Of a sink that may have had something of a batch.
    pub fn of(through: &Position, boundary: &Boundary) -> Self {
        Self { through: through.clone(), inside: *boundary != Boundary::Transaction }
    }

    fn compare(&self, other: &Self, source: &dyn SourceFactory) -> Option<Ordering> {
        match source.compare(&self.through, &other.through) {
            Order::Before => Some(Ordering::Less),
            Order::Same => Some(self.inside.cmp(&other.inside)),
            Order::After => Some(Ordering::Greater),
            Order::Unrelated => None,
        }
    }
}

/// The reach of each sink of a pipeline, over its attempts.
pub(crate) struct HandedOut(Mutex<Vec<Option<Reach>>>);

impl HandedOut {
    /// Nothing, for so many sinks.
    pub fn nothing(sinks: usize) -> Self {
        Self(Mutex::new(vec![None; sinks]))
    }

    /// A sink may have something of a batch from now on. Answers what was known before.
    pub fn extend(&self, sink: usize, reach: &Reach, source: &dyn SourceFactory) -> Option<Reach> {
        let known = &mut self.0.lock()[sink];
        let before = known.clone();
        let is_more = before.as_ref().is_none_or(|before| reach.compare(before, source) != Some(Ordering::Less));
        if is_more {
            *known = Some(reach.clone());
        }
        before
    }

    /// The sink had nothing of that batch after all.
    pub fn take_back(&self, sink: usize, before: Option<Reach>) {
        self.0.lock()[sink] = before;
    }

    /// The highest position up to which one of these sinks may have had everything.
    pub fn through(&self, sinks: impl Fn(usize) -> bool, source: &dyn SourceFactory) -> Option<Position> {
        let known = self.0.lock();
        let of_these = known.iter().enumerate().filter(|(sink, _)| sinks(*sink));
        let positions = of_these.filter_map(|(_, reach)| Some(reach.as_ref()?.through.clone()));
        positions.reduce(|a, b| if is_before(source.compare(&a, &b)) { b } else { a })
    }

    /// Whether some sink may have had a part of a transaction whose rest comes after `at`.
    pub fn is_inside(&self, at: Option<&Position>, source: &dyn SourceFactory) -> bool {
        let is_past = |reach: &Reach| {
            at.is_some_and(|at| !matches!(source.compare(at, &reach.through), Order::Before | Order::Same))
        };
        self.0.lock().iter().flatten().any(|reach| reach.inside && !is_past(reach))
    }

    /// A sink begins anew; `None`: all of them.
    pub fn forget(&self, sink: Option<usize>) {
        for (index, reach) in self.0.lock().iter_mut().enumerate() {
            if sink.is_none_or(|sink| sink == index) {
                *reach = None;
            }
        }
    }
}
