//! What sinks may have had of a stream since the host began, checkpointed or not.
//!
//! A checkpoint stands behind whole batches. When an attempt ends in the middle of one, some of its events are out, and
//! the next attempt begins before them: they must pass the version that they have passed.

use deltaforge_model::position::Order;
use deltaforge_model::{Boundary, Position};
use parking_lot::Mutex;

use super::is_before;

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

    fn is_less_than(&self, other: &Self, compare: impl Fn(&Position, &Position) -> Order) -> bool {
        match compare(&self.through, &other.through) {
            Order::Before => true,
            Order::Same => !self.inside && other.inside,
            Order::After | Order::Unrelated => false,
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
    pub fn extend(
        &self,
        sink: usize,
        reach: &Reach,
        compare: impl Fn(&Position, &Position) -> Order,
    ) -> Option<Reach> {
        let known = &mut self.0.lock()[sink];
        match known {
            Some(known) if reach.is_less_than(known, &compare) => Some(known.clone()),
            known => known.replace(reach.clone()),
        }
    }

    /// The sink had nothing of that batch after all.
    pub fn take_back(&self, sink: usize, before: Option<Reach>) {
        self.0.lock()[sink] = before;
    }

    /// The highest position up to which one of these sinks may have had everything.
    pub fn through(
        &self,
        sinks: impl Fn(usize) -> bool,
        compare: impl Fn(&Position, &Position) -> Order,
    ) -> Option<Position> {
        let known = self.0.lock();
        let of_these = known.iter().enumerate().filter(|(sink, _)| sinks(*sink));
        let positions = of_these.filter_map(|(_, reach)| Some(reach.as_ref()?.through.clone()));
        positions.reduce(|a, b| if is_before(compare(&a, &b)) { b } else { a })
    }

    /// Whether some sink may have had a part of a transaction whose rest comes after `at`.
    pub fn is_inside(&self, at: Option<&Position>, compare: impl Fn(&Position, &Position) -> Order) -> bool {
        let is_past = |reach: &Reach| {
            at.is_some_and(|at| !matches!(compare(at, &reach.through), Order::Before | Order::Same))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Position {
        Position::new(n.to_string())
    }

    fn compare(a: &Position, b: &Position) -> Order {
        let number = |p: &Position| p.as_str().parse::<u64>().ok();
        match number(a).zip(number(b)).map(|(a, b)| a.cmp(&b)) {
            Some(std::cmp::Ordering::Less) => Order::Before,
            Some(std::cmp::Ordering::Equal) => Order::Same,
            Some(std::cmp::Ordering::Greater) => Order::After,
            None => Order::Unrelated,
        }
    }

    fn inside() -> Boundary {
        Boundary::Inside { transaction: "t".into(), rows_done: 7 }
    }

    #[test]
    fn a_replay_takes_nothing_away() {
        let handed = HandedOut::nothing(2);
        let through = |sink| handed.through(|one| one == sink, compare);
        for n in [10, 30, 20] {
            handed.extend(0, &Reach::of(&at(n), &Boundary::Transaction), compare);
        }
        assert_eq!((through(0), through(1)), (Some(at(30)), None));
        let had = handed.extend(1, &Reach::of(&at(40), &Boundary::Transaction), compare);
        assert_eq!(handed.through(|_| true, compare), Some(at(40)), "the furthest");
        handed.take_back(1, had);
        assert_eq!(handed.through(|_| true, compare), Some(at(30)));
        handed.forget(Some(0));
        assert_eq!(handed.through(|_| true, compare), None);
    }

    #[test]
    fn a_part_of_a_transaction_is_out_until_its_rest_is() {
        let handed = HandedOut::nothing(1);
        let extend = |n, boundary: &Boundary| handed.extend(0, &Reach::of(&at(n), boundary), compare);
        let is_inside = |n| handed.is_inside(Some(&at(n)), compare);
        extend(10, &Boundary::Transaction);
        assert!(!is_inside(5) && !handed.is_inside(None, compare), "a swap can take over at 10");
        extend(10, &inside());
        assert!(is_inside(5) && is_inside(10) && !is_inside(20) && handed.is_inside(None, compare));
        extend(10, &Boundary::Transaction);
        assert!(is_inside(10), "a replay has come to the beginning of it");
        extend(20, &Boundary::Transaction);
        assert!(!is_inside(5) && !is_inside(10));
    }

    #[test]
    fn another_history_of_the_source_is_not_behind_this_one() {
        let handed = HandedOut::nothing(1);
        handed.extend(0, &Reach::of(&at(10), &inside()), compare);
        let new = Position::new("another");
        assert!(!handed.is_inside(Some(&new), compare));
        handed.extend(0, &Reach::of(&new, &Boundary::Transaction), compare);
        assert_eq!(handed.through(|_| true, compare), Some(new));
    }
}
