//! `console.*` of scripts: lines in the host's log, bounded in length and number.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_engine::tenants::{LogBound, Tenants};
use metrics::counter;
use tracing::{debug, error, info, warn};

/// Longest line; the rest is cut.
const MAX_LINE: usize = 2_000;
/// Most lines a second for one script; more are counted and not written.
const MAX_LINES: u32 = 50;
/// Counts lines that were not written because there were too many.
const LEFT_OUT: &str = "deltaforge_script_log_dropped_total";

/// Whose lines these are.
#[derive(Clone, Default)]
pub(crate) struct Owner {
    pub tenant: String,
    pub pipeline: String,
    pub stage: String,
    /// Who knows how many lines the tenant may write.
    pub tenants: Option<Arc<Tenants>>,
}

/// One script's way into the log.
#[derive(Default)]
pub(crate) struct Console {
    pub owner: Owner,
    since: Option<Instant>,
    lines: u32,
    dropped: u64,
    /// The tenants' bound for which the last of them was; `None`: the script's own.
    bound: Option<LogBound>,
}

impl Console {
    /// A console that writes on somebody's behalf.
    pub(crate) fn new(owner: Owner) -> Self {
        Self { owner, ..Self::default() }
    }

    /// Writes a line, unless there were too many within this second.
    pub(crate) fn line(&mut self, level: u32, line: &str) {
        let now = Instant::now();
        if self.since.is_none_or(|since| now - since >= Duration::from_secs(1)) {
            self.tell_dropped();
            (self.since, self.lines) = (Some(now), 0);
        }
        self.lines += 1;
        let Owner { tenant, pipeline, stage, tenants } = &self.owner;
        let may_log = || tenants.as_ref().map_or(Ok(()), |tenants| tenants.may_log(tenant).map_err(Some));
        if let Err(bound) = if self.lines > MAX_LINES { Err(None) } else { may_log() } {
            self.dropped += 1;
            self.bound = bound;
            counter!(LEFT_OUT, "pipeline" => pipeline.clone(), "stage" => stage.clone()).increment(1);
            return;
        }
        let line = cut(line, MAX_LINE);
        match level {
            0 => debug!(target: "deltaforge::script", tenant, pipeline, stage, script = line, "script says"),
            1 => info!(target: "deltaforge::script", tenant, pipeline, stage, script = line, "script says"),
            2 => warn!(target: "deltaforge::script", tenant, pipeline, stage, script = line, "script says"),
            _ => error!(target: "deltaforge::script", tenant, pipeline, stage, script = line, "script says"),
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let Owner { tenant, pipeline, stage, tenants } = &self.owner;
            let limit = match (self.bound, tenants) {
                (Some(bound), Some(tenants)) => tenants.log_bound(tenant, bound),
                _ => format!("{MAX_LINES} lines a second of one script (no key raises it)"),
            };
            warn!(target: "deltaforge::script", tenant, pipeline, stage, dropped, limit, "script writes too many lines");
        }
    }
}

/// At most `max` bytes of a text, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max.min(text.len()))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_bound_counts_for_scripts_too() {
        let limits = serde_json::json!({ "default": { "log_lines_per_second": 5 } });
        let tenants = Tenants::new(serde_json::from_value(limits).expect("limits"), 1);
        let owner = |tenants| Owner { tenant: "acme".into(), tenants, ..Owner::default() };
        let mut console = Console::new(owner(Some(tenants.clone())));
        // Another one of the tenant's shares them.
        let mut other = Console::new(owner(Some(tenants)));
        (0..20).for_each(|_| console.line(0, "it goes on"));
        other.line(0, "and on");
        // Two seconds of it at once.
        assert!((9..=10).contains(&console.dropped), "{}", console.dropped);
        assert_eq!(console.bound, Some(LogBound::Tenant));
        assert_eq!(other.dropped, 1);
        let mut free = Console::new(owner(None));
        (0..20).for_each(|_| free.line(0, "it goes on"));
        assert_eq!(free.dropped, 0);
    }
}
