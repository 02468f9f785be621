//! Rests of a stage that computes for nothing, on a host that other tenants use too.
//!
//! A core that one of them keeps busy costs the others some of their latency, however low its threads' priority is. A stage
//! that computes to some end has a right to that. One that runs into its limits at every call has none: it rests most of
//! the time, until it lets rows through again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::tenants::{Resting, Tenants};
use crate::waits::Waiting;

/// So many failed calls in a row, which took so long together, may happen to anybody: one bad row is found by a dozen.
const MANY: u32 = 20;
const LONG: Duration = Duration::from_secs(1);
/// So many times as long as a failed call the stage rests behind it, for each stage of its tenant and each tenant that does so now:
/// together they take a hundredth of a core.
const TIMES: u32 = 99;
/// And no longer than this for each stage of its tenant: others cannot make it rest for hours.
const AT_MOST: Duration = Duration::from_secs(30);

/// What a stage has computed for nothing since it let a row through.
pub struct Rests {
    tenants: Option<(Arc<Tenants>, Arc<str>)>,
    began: Option<Instant>,
    failed: u32,
    took: Duration,
    /// What the newest failed call took, for which it has not rested yet.
    due: Duration,
    /// It is one of those that rest now.
    resting: Option<Resting>,
    /// What the newest failure was.
    newest: String,
    /// Where it is shown that the stage rests, until a call goes well.
    shown: Option<Waiting>,
}

impl Rests {
    /// Nothing yet, of a tenant beside others.
    pub fn beside(tenants: Arc<Tenants>, tenant: &str) -> Self {
        Self { tenants: Some((tenants, tenant.into())), ..Self::never() }
    }

    /// It never rests.
    pub(crate) fn never() -> Self {
        Self {
            tenants: None,
            began: None,
            failed: 0,
            took: Duration::ZERO,
            due: Duration::ZERO,
            resting: None,
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
        (self.failed, self.took) = (0, Duration::ZERO);
        (self.resting, self.shown) = (None, None);
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
        self.due = if self.is_futile() { took } else { Duration::ZERO };
    }

    /// Whether all calls fail, by all that is known, and take long to.
    pub(super) fn is_futile(&self) -> bool {
        self.failed > MANY && self.took > LONG
    }

    /// Where it is shown that it rests: `begin` tells, with the words of the newest failure.
    pub(super) fn shown(&mut self, begin: impl FnOnce(&str) -> Waiting) -> &Waiting {
        self.shown.get_or_insert_with(|| begin(&self.newest))
    }

    /// Nothing waits for it now.
    pub(super) fn batch_ended(&mut self) {
        self.resting = None;
        if let Some(shown) = &self.shown {
            shown.holds_up(false);
        }
    }

    /// How long to rest before the next call, once. Who is alone need not.
    pub(super) fn due(&mut self) -> Option<Duration> {
        let took = std::mem::take(&mut self.due);
        let (tenants, tenant) =
            self.tenants.as_ref().filter(|(tenants, _)| !took.is_zero() && tenants.are_many())?;
        let (own, all) = self.resting.get_or_insert_with(|| tenants.rest(tenant)).counted();
        let times = TIMES.saturating_mul(own).saturating_mul(all);
        Some(took.saturating_mul(times).min(AT_MOST.saturating_mul(own)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tenants::TenantLimits;

    const CALL: Duration = Duration::from_millis(100);

    fn beside(others: &[&str]) -> (Rests, Vec<impl Sized>) {
        let tenants = Tenants::new(TenantLimits::default(), 2);
        let others = others.iter().map(|tenant| tenants.run(tenant, std::future::pending::<()>()));
        let others = others.collect();
        (Rests::beside(tenants, "acme"), others)
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
        assert!(!rests.is_futile());
        rests.failed_after(Duration::from_secs(60));
        assert_eq!(rests.due(), None, "a row was let through");
    }

    #[test]
    fn those_that_rest_take_a_hundredth_of_a_core_together() {
        let (mut acme, _others) = beside(&["acme", "globex"]);
        let (tenants, _) = acme.tenants.clone().unwrap();
        let [mut second, mut globex] =
            ["acme", "globex"].map(|tenant| Rests::beside(tenants.clone(), tenant));
        let fail = |rests: &mut Rests| {
            (0..=MANY).for_each(|_| rests.failed_after(CALL));
            rests.due()
        };
        assert_eq!(fail(&mut acme), Some(CALL * 99));
        assert_eq!(fail(&mut globex), Some(CALL * 198));
        assert_eq!(fail(&mut second), Some(CALL * 396), "as one of two of one of two");
        assert_eq!(fail(&mut globex), Some(CALL * 198), "whatever the other has");
        assert_eq!(fail(&mut acme), Some(CALL * 396));
        for rests in [&mut acme, &mut globex] {
            rests.failed_after(Duration::from_secs(60));
        }
        assert_eq!((acme.due(), globex.due()), (Some(AT_MOST * 2), Some(AT_MOST)));
        second.batch_ended();
        assert_eq!(fail(&mut acme), Some(CALL * 198), "the second has nothing to compute now");
        drop(globex);
        assert_eq!(fail(&mut acme), Some(CALL * 99));
        acme.went_well();
        drop(acme);
        assert!(tenants.resting().is_empty());
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
