//! Whether a stage lets anything through: one that refuses every row it sees is no part of a stream that is well.

use std::time::{Duration, Instant};

use serde::Serialize;
use tracing::{info, warn};

use super::Toll;
use crate::narrate::help;
use crate::run::now_ms;

/// The code of a stage that lets nothing through.
pub const REFUSES_ALL: &str = "processor_refuses_all";
/// So many rows one after the other are no accident.
const MANY: u64 = 20;
/// Nor are fewer, over so long a time.
const LONG: Duration = Duration::from_secs(60);

/// A stage that has let none of the newest rows through that it was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusesAll {
    /// How many rows, one after the other.
    pub rows: u64,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The code of the newest refusal.
    pub code: String,
    /// What was wrong with that row, in the words of the stage.
    pub message: String,
}

/// Watches what becomes of the rows of one stage.
#[derive(Default)]
pub struct Refusals {
    rows: u64,
    since: Option<(Instant, u64)>,
    newest: (String, String),
    is_told: bool,
}

impl Refusals {
    /// These rows were refused, with this code and for this reason, which says nothing that it must not.
    pub(super) fn newest(&mut self, code: &str, reason: String) {
        self.newest = (code.to_owned(), reason);
    }

    /// What became of a batch.
    pub(super) fn count(&mut self, stage: &str, toll: &Toll) {
        let refused = toll.failed + toll.rejected;
        if toll.shown == 0 {
            return;
        }
        if refused < toll.shown {
            if self.is_told {
                info!(stage, refused = self.rows, "stage lets rows through again");
            }
            *self = Self::default();
            return;
        }
        self.rows += refused;
        let (since, _) = *self.since.get_or_insert_with(|| (Instant::now(), now_ms()));
        let is_long = self.rows > toll.shown && since.elapsed() >= LONG;
        if !self.is_told && (self.rows >= MANY || is_long) {
            self.is_told = true;
            let (code, error) = &self.newest;
            warn!(
                stage,
                code,
                rows = self.rows,
                error,
                help = help(REFUSES_ALL),
                "stage lets no row through"
            );
        }
    }

    /// That the stage lets nothing through, if so.
    pub(crate) fn all(&self) -> Option<RefusesAll> {
        let (_, since_ms) = self.since.filter(|_| self.is_told)?;
        let (code, message) = self.newest.clone();
        Some(RefusesAll { rows: self.rows, since_ms, code, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusing_is_told_of_many_rows_or_of_some_over_a_long_time() {
        let toll = |shown, rejected, failed| Toll { shown, rejected, failed, ..Toll::default() };
        let mut refusals = Refusals::default();
        refusals.newest("plugin_rejected", "no such customer".to_owned());
        refusals.count("mask", &toll(10, 4, 6));
        refusals.count("mask", &toll(0, 0, 0));
        assert_eq!(refusals.all(), None, "ten rows may be an accident");
        refusals.count("mask", &toll(10, 10, 0));
        let all = refusals.all().map(|all| (all.rows, all.code, all.message));
        assert_eq!(all, Some((20, "plugin_rejected".to_owned(), "no such customer".to_owned())));
        refusals.count("mask", &toll(100, 99, 0));
        assert_eq!(refusals.all(), None, "one got through");

        let ago = |secs| Instant::now().checked_sub(Duration::from_secs(secs)).map(|at| (at, 7));
        for (secs, told) in [(59, None), (61, Some((2, 7)))] {
            let mut refusals = Refusals { rows: 1, since: ago(secs), ..Refusals::default() };
            refusals.count("mask", &toll(1, 1, 0));
            assert_eq!(refusals.all().map(|all| (all.rows, all.since_ms)), told, "{secs} s");
        }
    }
}
