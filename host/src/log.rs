//! The host's log: lines on stderr, without the secrets of any pipeline.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use deltaforge_engine::secrets::Secrets;
use parking_lot::RwLock;
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// What no line shows: the secrets of every pipeline, by its name.
#[derive(Clone, Default)]
pub struct Hidden(Arc<RwLock<Vec<(String, Secrets)>>>);

impl Hidden {
    /// Those of one more pipeline.
    pub fn add(&self, pipeline: &str, secrets: Secrets) {
        self.0.write().push((pipeline.to_owned(), secrets));
    }

    /// A line without them. One that names another pipeline only is left alone: nobody's secrets blank the words of
    /// others.
    fn hide(&self, line: &str) -> String {
        let mut shown = line.to_owned();
        let is_somebodys = line.contains("pipeline");
        for (pipeline, secrets) in self.0.read().iter() {
            if !is_somebodys || line.contains(pipeline.as_str()) {
                shown = secrets.hide(&shown);
            }
        }
        shown
    }
}

/// Starts the log; what is hidden is hidden in every line, whoever wrote it: us, a plugin, a script, a library.
pub fn start(format: LogFormat, hidden: Hidden) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = move || Lines { hidden: hidden.clone() };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    match format {
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).with_target(false).init(),
    }
}

/// Stderr; each write is one whole line.
struct Lines {
    hidden: Hidden,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shown = self.hidden.hide(&String::from_utf8_lossy(line));
        io::stderr().lock().write_all(shown.as_bytes()).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_hides_the_secrets_of_the_pipeline_it_names_and_of_all_where_it_names_none() {
        let hidden = Hidden::default();
        hidden.add("shop", Secrets::new(vec!["s3cret".into()], |_| Vec::new()));
        hidden.add("bank", Secrets::new(vec!["plain word".into()], |_| Vec::new()));
        assert_eq!(
            hidden.hide("run{pipeline=shop}: s3cret, plain word"),
            "run{pipeline=shop}: ***, plain word"
        );
        assert_eq!(hidden.hide("connect to s3cret as plain word"), "connect to *** as ***");
    }
}
