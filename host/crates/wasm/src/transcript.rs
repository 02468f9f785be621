//! What a plugin says in a trial: kept for whoever tries it, within bounds.

use std::sync::Arc;

use deltaforge_engine::catalog::LogLine;
use parking_lot::Mutex;
use tracing::Level;

use crate::error::cut_to;

/// Most lines that are kept.
const MAX_LINES: usize = 1_000;
/// Most bytes of them in all.
const MAX_BYTES: usize = 256 << 10;
/// Most bytes of one line, and of one of its fields.
const MAX_LINE: usize = 4_096;
/// Most fields of one line.
const MAX_FIELDS: usize = 64;

/// The lines of a trial, its first ones. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Transcript(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lines: Vec<LogLine>,
    bytes: usize,
    left_out: u64,
}

impl Transcript {
    pub(crate) fn write(&self, level: Level, text: &str, fields: &[(String, String)]) {
        let mut kept = self.0.lock();
        if kept.lines.len() == MAX_LINES || kept.bytes > MAX_BYTES {
            kept.left_out += 1;
            return;
        }
        let fields = fields.iter().take(MAX_FIELDS);
        let fields: Vec<_> =
            fields.map(|(name, value)| (cut_to(name, 64), cut_to(value, MAX_LINE))).collect();
        let line = LogLine { level: word(level), text: cut_to(text, MAX_LINE), fields };
        let in_fields: usize = line.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        kept.bytes += line.text.len() + in_fields;
        kept.lines.push(line);
    }

    /// Counts a line that is not kept.
    pub(crate) fn leave_out(&self) {
        self.0.lock().left_out += 1;
    }

    /// Takes the lines, and says how many were left out.
    pub fn take(&self) -> (Vec<LogLine>, u64) {
        let Kept { lines, left_out, .. } = std::mem::take(&mut *self.0.lock());
        (lines, left_out)
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let transcript = Transcript::default();
        for _ in 0..3_000 {
            transcript.write(Level::INFO, "a line", &[]);
        }
        let (lines, left_out) = transcript.take();
        assert_eq!((lines.len(), left_out), (MAX_LINES, 2_000));
        let (long, field) = ("x".repeat(10_000), ("y".repeat(100), "z".repeat(10_000)));
        for _ in 0..3_000 {
            transcript.write(Level::ERROR, &long, std::slice::from_ref(&field));
        }
        let (lines, left_out) = transcript.take();
        assert!(lines.len() < 40 && left_out > 2_900, "{} lines, {left_out} left out", lines.len());
        assert!(lines[0].text.len() < MAX_LINE + 4 && lines[0].fields[0].0.len() < 70);
    }
}
