//! Lines that plugins and scripts write into the log: so many a second of each stage, and of its tenant and the host; and
//! what their fields look like.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::stage::{Limit, LimitName, StageLimits};
use crate::tenants::Tenants;

/// Whose `log_lines_per_second` is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogBound {
    /// The stage's own, in its `limits`.
    Stage,
    /// The tenant's.
    Tenant,
    /// The host's.
    Host,
}

/// So many a second, up to what two seconds earn.
#[derive(Debug)]
pub(crate) struct Rate {
    a_second: f64,
    left: f64,
    since: Instant,
}

impl Rate {
    pub(crate) fn new(a_second: u64, now: Instant) -> Self {
        let a_second = a_second as f64;
        Self { a_second, left: a_second * 2.0, since: now }
    }

    /// Whether there is room for one.
    pub(crate) fn has_room(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.since).as_secs_f64() * self.a_second;
        self.left = (self.left + earned).min(self.a_second * 2.0);
        self.since = self.since.max(now);
        self.left >= 1.0
    }

    /// Takes the room of one.
    pub(crate) fn take(&mut self) {
        self.left -= 1.0;
    }
}

/// The lines of one stage, or of the envelope of a sink: its instances come and go, the bound stays.
pub struct StageLines {
    a_second: u64,
    limit: LimitName,
    tenant: String,
    tenants: Arc<Tenants>,
    account: Mutex<Account>,
}

struct Account {
    rate: Rate,
    /// Lines left out since the last one that was written, and the bound for which the last of them was.
    left_out: u64,
    bound: LogBound,
}

/// A place in the log for one line.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// To be written before it: how many lines were left out since the one before, and the limit that did it.
    pub gap: Option<String>,
}

impl StageLines {
    /// The lines of a stage with these limits, as far as its tenant and the host may write any.
    pub fn new(limits: &StageLimits, tenant: impl Into<String>, tenants: Arc<Tenants>) -> Self {
        let a_second = limits.log_lines_per_second;
        let rate = Rate::new(a_second, Instant::now());
        let account = Mutex::new(Account { rate, left_out: 0, bound: LogBound::Stage });
        Self {
            a_second,
            limit: limits.name(Limit::LogLinesPerSecond),
            tenant: tenant.into(),
            tenants,
            account,
        }
    }

    /// Takes a place for a line. `None`: there is none, the line is to be left out, and is counted here.
    pub fn place(&self) -> Option<Place> {
        self.place_at(Instant::now())
    }

    fn place_at(&self, now: Instant) -> Option<Place> {
        let mut account = self.account.lock();
        let may = match account.rate.has_room(now) {
            true => self.tenants.may_log(&self.tenant, now),
            false => Err(LogBound::Stage),
        };
        if let Err(bound) = may {
            account.left_out += 1;
            account.bound = bound;
            return None;
        }
        account.rate.take();
        Some(Place { gap: self.gap(&mut account) })
    }

    /// What is still to be told of lines that were left out, where no line follows that would tell it.
    pub fn untold(&self) -> Option<String> {
        self.gap(&mut self.account.lock())
    }

    fn gap(&self, account: &mut Account) -> Option<String> {
        let left_out = std::mem::take(&mut account.left_out);
        (left_out > 0).then(|| {
            let lines = if left_out == 1 { "line" } else { "lines" };
            format!("{left_out} {lines} left out: more than {}", self.limit(account.bound))
        })
    }

    /// A bound as refusals name it.
    fn limit(&self, bound: LogBound) -> String {
        match self.tenants.log_bound(&self.tenant, bound) {
            Some(limit) => limit,
            None => format!("{} lines a second ({})", self.a_second, self.limit),
        }
    }
}

/// The fields of a plugin's line as the log shows them, `{table="shop.orders" events="3"}`, of about `most` bytes at most;
/// `None`: it has none. A guest's text is untrusted: values are quoted, and what is no name's in a name is left out.
///
/// To be written as it is: what quotes it once more makes it hard to read.
pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>, most: usize) -> Option<String> {
    const LONGEST_NAME: usize = 64;
    let mut shown = String::new();
    for (name, value) in fields {
        if shown.len() > most {
            shown.push_str(" …");
            break;
        }
        let is_names = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let name: String = name.chars().filter(is_names).take(LONGEST_NAME).collect();
        let cut = &value[..value.floor_char_boundary(most)];
        let more = if cut.len() < value.len() { "…" } else { "" };
        shown.push_str(if shown.is_empty() { "{" } else { " " });
        shown.push_str(&format!("{name}={cut:?}{more}"));
    }
    (!shown.is_empty()).then(|| shown + "}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn tenants(limits: Value) -> Arc<Tenants> {
        Tenants::new(serde_json::from_value(limits).unwrap(), 1)
    }

    fn a_second(log_lines_per_second: u64) -> StageLimits {
        StageLimits { log_lines_per_second, ..StageLimits::DEFAULT }
    }

    /// How many of so many lines are written at one moment.
    fn written(lines: &StageLines, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| lines.place_at(now).is_some()).count()
    }

    #[test]
    fn a_flood_is_cut_to_the_stages_rate_and_the_next_line_says_so() {
        let lines = StageLines::new(&a_second(100), "acme", tenants(json!({})));
        let start = Instant::now();
        assert_eq!(written(&lines, 10_000, start), 200, "two seconds' worth at once");
        let later = start + Duration::from_secs(1);
        let says = "9800 lines left out: more than 100 lines a second (limits.log_lines_per_second)";
        assert_eq!(lines.place_at(later), Some(Place { gap: Some(says.to_owned()) }));
        assert_eq!(lines.place_at(later), Some(Place { gap: None }), "it is said once");
        assert_eq!(written(&lines, 1_000, later), 98);
    }

    #[test]
    fn fields_are_quoted_once_and_bounded() {
        assert_eq!(fields([], 100), None);
        let shown = fields([("table", "shop.orders"), ("wh\ny {}", "a \"b\"\nc")], 100);
        assert_eq!(shown.as_deref(), Some("{table=\"shop.orders\" why=\"a \\\"b\\\"\\nc\"}"));
        assert_eq!(fields([("a", "1234"), ("b", "2")], 3).as_deref(), Some("{a=\"123\"… …}"));
        let long = fields((0..1_000).map(|_| ("name", "é")), 200).unwrap();
        assert!((200..250).contains(&long.len()) && long.ends_with(" …}"), "{long}");
    }

    #[test]
    fn the_hosts_bound_wins_over_the_tenants_and_that_over_the_stages() {
        let limits = json!({
            "host": { "log_lines_per_second": 20 },
            "tenants": { "acme": { "log_lines_per_second": 10 } },
        });
        let name = |bound: &str, a_second: u64| format!("more than {a_second} lines a second ({bound}");
        for (a_second, tenant, most, says) in [
            (5, "acme", 10, name("limits.log_lines_per_second)", 5)),
            (15, "acme", 20, name("tenants.acme.log_lines_per_second of the host's tenants file)", 10)),
            (15, "other", 30, name("limits.log_lines_per_second)", 15)),
            (50, "other", 40, name("host.log_lines_per_second of the host's tenants file)", 20)),
        ] {
            let lines = StageLines::new(&self::a_second(a_second), tenant, tenants(limits.clone()));
            let now = Instant::now();
            assert_eq!(written(&lines, 100, now), most, "{a_second} of {tenant}");
            let untold = lines.untold().unwrap();
            assert_eq!(untold, format!("{} lines left out: {says}", 100 - most));
            assert_eq!(lines.untold(), None);
        }
    }

    #[test]
    fn a_line_that_others_leave_no_room_for_costs_the_stage_none_of_its_own() {
        let shared = tenants(json!({ "default": { "log_lines_per_second": 100 } }));
        let [loud, quiet] =
            [1_000, 10].map(|lines| StageLines::new(&a_second(lines), "acme", shared.clone()));
        let now = Instant::now();
        assert_eq!((written(&loud, 500, now), written(&quiet, 500, now)), (200, 0));
        assert_eq!(
            written(&quiet, 500, now + Duration::from_millis(250)),
            20,
            "not the two that 250 ms earn"
        );
    }
}
