//! Rests of a stage that computes for nothing, on a host that other tenants use too.
//!
//! A core that one of them keeps busy costs the others some of their latency, however low its threads' priority is. A stage
//! that computes to some end has a right to that. One that runs into its limits at every call has none: it rests most of
//! the time, until it lets rows through again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::tenants::Tenants;
use crate::waits::Waiting;

/// So many failed calls in a row, which took so long together, may happen to anybody: one bad row is found by a dozen.
const MANY: u32 = 20;
const LONG: Duration = Duration::from_secs(1);
/// So many times as long as a failed call the stage rests behind it.
pub(super) const TIMES: u32 = 199;
/// And no longer than this.
const AT_MOST: Duration = Duration::from_secs(30);

/// What a stage has computed for nothing since it let a row through.
pub struct Rests {
    tenants: Option<Arc<Tenants>>,
    began: Option<Instant>,
    failed: u32,
    took: Duration,
    due: Duration,
    /// What the newest failure was.
    newest: String,
    /// Where it is shown that the stage rests, until a call goes well.
    shown: Option<Waiting>,
}

impl Rests {
    /// Nothing yet, beside these tenants.
    pub fn beside(tenants: Arc<Tenants>) -> Self {
        Self { tenants: Some(tenants), ..Self::never() }
    }

    /// It never rests.
    pub(super) fn never() -> Self {
        Self {
            tenants: None,
            began: None,
            failed: 0,
            took: Duration::ZERO,
            due: Duration::ZERO,
            newest: String::new(),
            shown: None,
        }
    }

    /// A call begins.
    pub(super) fn begins(&mut self) {
        self.began = Some(Instant::now());
    }

    /// It has ended well.
    pub(super) fn went_well(&mut self) {
        (self.failed, self.took, self.shown) = (0, Duration::ZERO, None);
    }

    /// It has failed, with these words.
    pub(super) fn failed(&mut self, why: impl FnOnce() -> String) {
        let took = self.began.take().map_or(Duration::ZERO, |began| began.elapsed());
        self.failed_after(took);
        if !self.due.is_zero() && self.shown.is_none() {
            self.newest = why();
        }
    }

    fn failed_after(&mut self, took: Duration) {
        self.failed = self.failed.saturating_add(1);
        self.took = self.took.saturating_add(took);
        let is_due = self.failed > MANY && self.took > LONG;
        self.due = if is_due { took.saturating_mul(TIMES).min(AT_MOST) } else { Duration::ZERO };
    }

    /// Where it is shown that it rests: `begin` tells, with the words of the newest failure.
    pub(super) fn shown(&mut self, begin: impl FnOnce(&str) -> Waiting) -> &Waiting {
        self.shown.get_or_insert_with(|| begin(&self.newest))
    }

    /// Nothing waits for it now.
    pub(super) fn batch_ended(&self) {
        if let Some(shown) = &self.shown {
            shown.holds_up(false);
        }
    }

    /// How long to rest before the next call, once. Who is alone need not.
    pub(super) fn due(&mut self) -> Option<Duration> {
        let due = std::mem::take(&mut self.due);
        let is_shared = self.tenants.as_ref().is_some_and(|tenants| tenants.are_many());
        (!due.is_zero() && is_shared).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenants::TenantLimits;

    const CALL: Duration = Duration::from_millis(100);

    fn beside(others: &[&str]) -> (Rests, Vec<impl Sized>) {
        let tenants = Tenants::new(TenantLimits::default(), 2);
        let others = others.iter().map(|tenant| tenants.run(tenant, std::future::pending::<()>()));
        let others = others.collect();
        (Rests::beside(tenants), others)
    }

    #[test]
    fn only_who_computes_for_nothing_again_and_again_rests() {
        let (mut rests, _others) = beside(&["acme", "globex"]);
        for _ in 0..MANY {
            rests.failed_after(CALL);
            assert_eq!(rests.due(), None);
        }
        rests.failed_after(CALL);
        assert_eq!(rests.due(), Some(CALL * TIMES));
        assert_eq!(rests.due(), None, "it has rested");
        rests.failed_after(Duration::from_secs(60));
        assert_eq!(rests.due(), Some(AT_MOST));
        rests.went_well();
        rests.failed_after(Duration::from_secs(60));
        assert_eq!(rests.due(), None, "a row was let through");
    }

    #[test]
    fn who_fails_at_once_rests_when_that_has_come_to_a_second() {
        let (mut rests, _others) = beside(&["acme", "globex"]);
        for _ in 0..1_000 {
            rests.failed_after(Duration::from_millis(1));
            assert_eq!(rests.due(), None);
        }
        rests.failed_after(Duration::from_millis(1));
        assert_eq!(rests.due(), Some(Duration::from_millis(1) * TIMES));
    }

    #[test]
    fn nobody_rests_alone() {
        let (mut rests, _others) = beside(&["acme"]);
        for _ in 0..100 {
            rests.failed_after(CALL);
            assert_eq!(rests.due(), None);
        }
    }
}
