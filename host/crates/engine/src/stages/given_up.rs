//! Rows that a stage fails on, in the log.

use tracing::warn;

use crate::stage::StageError;
use crate::tally::Tally;

/// Tells of rows that were given up: of the first at once, then of how many, with the newest error.
pub struct GivenUp {
    stage: String,
    tally: Tally,
    code: &'static str,
    text: String,
    in_silence: bool,
}

impl GivenUp {
    /// None yet.
    pub fn new(stage: &str) -> Self {
        let stage = stage.to_owned();
        Self { stage, tally: Tally::default(), code: "", text: String::new(), in_silence: false }
    }

    /// Of rows that nobody misses.
    pub(crate) fn in_silence() -> Self {
        let mut none = Self::new("");
        none.in_silence = true;
        none
    }

    /// These were given up; `text` is the error without what it must not say.
    pub(crate) fn add(&mut self, rows: usize, error: &StageError, text: String) {
        self.tally.add(rows as u64);
        (self.code, self.text) = (error.code, text);
        self.tell();
    }

    /// Tells what is due.
    pub(super) fn tell(&mut self) {
        if let Some(rows) = self.tally.due() {
            self.say(rows);
        }
    }

    fn say(&self, rows: u64) {
        if self.in_silence {
            return;
        }
        warn!(stage = self.stage, code = self.code, rows, error = self.text, "stage fails on rows");
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(rows) = self.tally.rest() {
            self.say(rows);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_thousand_rows_are_two_lines_and_each_is_counted() {
        let log = Log::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(lines, || {
            let mut given_up = GivenUp::new("mask");
            for row in 0..1_000 {
                let error = StageError::isolate("plugin_failed", "no such customer");
                given_up.add(1, &error, format!("row {row}"));
            }
        });
        let text = String::from_utf8(log.0.lock().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        for (line, parts) in lines
            .iter()
            .zip([["rows=1 ", "row 0", "stage=\"mask\""], ["rows=999 ", "row 999", "plugin_failed"]])
        {
            assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        }
    }
}
