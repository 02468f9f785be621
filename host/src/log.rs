//! The host's log: lines on stderr, without the secrets of any pipeline.

use std::io::{self, IsTerminal, Write};

use deltaforge_engine::secrets::Secrets;
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Starts the log; `secrets` are hidden in every line, whoever wrote it: us, a plugin, a script, a library.
pub fn start(format: LogFormat, secrets: Secrets) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = move || Lines { secrets: secrets.clone() };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    match format {
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).with_target(false).init(),
    }
}

/// Stderr; each write is one whole line.
struct Lines {
    secrets: Secrets,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shown = self.secrets.hide(&String::from_utf8_lossy(line));
        io::stderr().lock().write_all(shown.as_bytes()).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}
