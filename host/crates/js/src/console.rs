//! `console.*` of scripts: lines in the host's log, bounded in length and number.

use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

/// Longest line; the rest is cut.
const MAX_LINE: usize = 2_000;
/// Most lines a second for one script; more are counted and not written.
const MAX_LINES: u32 = 50;

/// Whose lines these are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owner {
    pub tenant: String,
    pub pipeline: String,
    pub stage: String,
}

/// One script's way into the log.
#[derive(Debug, Default)]
pub(crate) struct Console {
    pub owner: Owner,
    since: Option<Instant>,
    lines: u32,
    dropped: u64,
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
        if self.lines > MAX_LINES {
            self.dropped += 1;
            return;
        }
        let Owner { tenant, pipeline, stage } = &self.owner;
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
            let Owner { tenant, pipeline, stage } = &self.owner;
            warn!(target: "deltaforge::script", tenant, pipeline, stage, dropped, "script writes too many lines");
        }
    }
}

/// At most `max` bytes of a text, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max.min(text.len()))]
}
