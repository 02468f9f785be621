//! `console.*` of scripts: lines in the host's log, bounded in length and number.

use std::sync::Arc;

use deltaforge_engine::lines::StageLines;
use metrics::counter;
use tracing::{debug, error, info, warn};

/// Longest line; the rest is cut.
const MAX_LINE: usize = 2_000;
/// Counts lines that were not written because there were too many.
const LEFT_OUT: &str = "deltaforge_script_log_dropped_total";

/// Whose lines these are.
#[derive(Clone, Default)]
pub(crate) struct Owner {
    pub tenant: String,
    pub pipeline: String,
    pub stage: String,
    /// How many of them there may be, whichever engine the script runs in; `None`: none.
    pub lines: Option<Arc<StageLines>>,
}

/// One script's way into the log.
#[derive(Default)]
pub(crate) struct Console {
    owner: Owner,
}

impl Console {
    /// A console that writes on somebody's behalf.
    pub(crate) fn new(owner: Owner) -> Self {
        Self { owner }
    }

    /// Writes a line, unless there are too many.
    pub(crate) fn line(&self, level: u32, line: &str) {
        let Owner { tenant, pipeline, stage, lines } = &self.owner;
        let Some(place) = lines.as_ref().and_then(|lines| lines.place()) else {
            counter!(LEFT_OUT, "pipeline" => pipeline.clone(), "stage" => stage.clone()).increment(1);
            return;
        };
        if let Some(gap) = place.gap {
            warn!(target: "deltaforge::script", tenant, pipeline, stage, gap, "script writes too many lines");
        }
        let line = cut(line, MAX_LINE);
        match level {
            0 => debug!(target: "deltaforge::script", tenant, pipeline, stage, script = line, "script says"),
            1 => info!(target: "deltaforge::script", tenant, pipeline, stage, script = line, "script says"),
            2 => warn!(target: "deltaforge::script", tenant, pipeline, stage, script = line, "script says"),
            _ => error!(target: "deltaforge::script", tenant, pipeline, stage, script = line, "script says"),
        }
    }
}

/// At most `max` bytes of a text, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max.min(text.len()))]
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use deltaforge_engine::stage::StageLimits;
    use deltaforge_engine::tenants::Tenants;
    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `speak` writes into the log.
    fn log_of(speak: impl FnOnce()) -> Vec<String> {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, speak);
        let text = String::from_utf8(log.0.lock().clone()).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_leaves_lines_out_is_named() {
        let limits = serde_json::json!({ "tenants": { "acme": { "log_lines_per_second": 5 } } });
        let tenants = Tenants::new(serde_json::from_value(limits).expect("limits"), 1);
        for (tenant, a_second, bound) in [
            ("acme", 50, "5 lines a second (tenants.acme.log_lines_per_second of the host's tenants file)"),
            ("other", 5, "5 lines a second (limits.log_lines_per_second)"),
        ] {
            let own = StageLimits { log_lines_per_second: a_second, ..StageLimits::DEFAULT };
            let lines = StageLines::new(&own, tenant, tenants.clone());
            let owner = Owner { tenant: tenant.into(), lines: Some(Arc::new(lines)), ..Owner::default() };
            let speaks =
                || (0..200).for_each(|at| Console::new(owner.clone()).line(1, &format!("it is {at}")));
            let first = log_of(speaks);
            assert!((10..100).contains(&first.len()), "another console of it has no more: {}", first.len());
            // A fifth of a second earns the next one.
            let next = std::iter::repeat_with(|| log_of(speaks)).find(|lines| !lines.is_empty());
            let next = next.unwrap_or_default();
            assert!(next[0].contains(bound) && next[0].contains("too many lines"), "{next:?}");
        }
        assert!(log_of(|| Console::default().line(3, "nobody's")).is_empty());
    }
}
