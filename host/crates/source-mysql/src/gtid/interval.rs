//! Sets of transaction numbers as runs.

use std::fmt;

/// A run of transaction numbers, both ends in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    /// The first number, at least 1.
    pub first: u64,
    /// The last number, at most [`Interval::MAX`].
    pub last: u64,
}

impl Interval {
    /// The greatest transaction number: servers keep the number behind a run's end in an `i64`.
    pub const MAX: u64 = i64::MAX as u64 - 1;

    /// The run from `first` to `last`; `None` when that is empty or not of transaction numbers.
    pub fn new(first: u64, last: u64) -> Option<Self> {
        (1 <= first && first <= last && last <= Self::MAX).then_some(Self { first, last })
    }

    /// How many numbers it has.
    pub fn count(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// A set of transaction numbers: runs in order that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Intervals {
    runs: Vec<Interval>,
}

impl Intervals {
    /// The runs in order.
    pub fn runs(&self) -> &[Interval] {
        &self.runs
    }

    /// Whether it has no number.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many numbers it has.
    pub fn count(&self) -> u64 {
        // Runs lie apart within 1..=MAX, so this does not overflow.
        self.runs.iter().map(Interval::count).sum()
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u64) -> bool {
        let at = self.runs.partition_point(|run| run.last < number);
        self.runs.get(at).is_some_and(|run| run.first <= number)
    }

    /// Adds a run. Cheap at the end, where transactions arrive.
    pub fn insert(&mut self, run: Interval) {
        // `last + 1` and `first` cannot overflow: MAX is below i64::MAX.
        let from = self.runs.partition_point(|known| known.last + 1 < run.first);
        let to = from + self.runs[from..].partition_point(|known| known.first <= run.last + 1);
        let Some(touched) = self.runs.get(from..to).filter(|touched| !touched.is_empty()) else {
            self.runs.insert(from, run);
            return;
        };
        let first = touched[0].first.min(run.first);
        let last = touched[touched.len() - 1].last.max(run.last);
        self.runs[from] = Interval { first, last };
        self.runs.drain(from + 1..to);
    }

    /// Takes a run away.
    pub fn remove(&mut self, run: Interval) {
        let from = self.runs.partition_point(|known| known.last < run.first);
        let to = from + self.runs[from..].partition_point(|known| known.first <= run.last);
        let Some(touched) = self.runs.get(from..to).filter(|touched| !touched.is_empty()) else { return };
        let (low, high) = (touched[0], touched[touched.len() - 1]);
        let left = (low.first < run.first).then(|| Interval { first: low.first, last: run.first - 1 });
        let right = (high.last > run.last).then(|| Interval { first: run.last + 1, last: high.last });
        self.runs.splice(from..to, left.into_iter().chain(right));
    }

    /// Adds all numbers of another set.
    pub fn union(&mut self, other: &Self) {
        if other.runs.len() == 1 {
            return self.insert(other.runs[0]);
        }
        let mut all = Vec::with_capacity(self.runs.len() + other.runs.len());
        let (mut left, mut right) = (self.runs.iter().peekable(), other.runs.iter().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.first <= b.first => left.next(),
                (_, Some(_)) => right.next(),
                (Some(_), None) => left.next(),
                (None, None) => break,
            };
            let Some(&run) = next else { break };
            match all.last_mut() {
                Some(Interval { last, .. }) if run.first <= *last + 1 => *last = run.last.max(*last),
                _ => all.push(run),
            }
        }
        self.runs = all;
    }

    /// Takes all numbers of another set away.
    pub fn subtract(&mut self, other: &Self) {
        let mut kept = Vec::with_capacity(self.runs.len());
        let mut cuts = other.runs.iter().peekable();
        for run in &self.runs {
            let mut first = run.first;
            while let Some(cut) = cuts.peek() {
                if cut.first > run.last {
                    break;
                }
                if cut.first > first {
                    kept.push(Interval { first, last: cut.first - 1 });
                }
                first = first.max(cut.last + 1);
                if cut.last > run.last {
                    break;
                }
                cuts.next();
            }
            if first <= run.last {
                kept.push(Interval { first, last: run.last });
            }
        }
        self.runs = kept;
    }

    /// Whether every number is in `other` too.
    pub fn is_subset(&self, other: &Self) -> bool {
        let mut around = other.runs.iter();
        let mut outer = around.next();
        for run in &self.runs {
            while outer.is_some_and(|outer| outer.last < run.first) {
                outer = around.next();
            }
            if !outer.is_some_and(|outer| outer.first <= run.first && run.last <= outer.last) {
                return false;
            }
        }
        true
    }
}

impl FromIterator<Interval> for Intervals {
    fn from_iter<T: IntoIterator<Item = Interval>>(runs: T) -> Self {
        let mut all: Vec<Interval> = runs.into_iter().collect();
        all.sort_unstable_by_key(|run| run.first);
        let mut set = Self::default();
        for run in all {
            set.insert(run);
        }
        set
    }
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, run) in self.runs.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            if run.first == run.last {
                write!(f, "{colon}{}", run.first)?;
            } else {
                write!(f, "{colon}{}-{}", run.first, run.last)?;
            }
        }
        Ok(())
    }
}
