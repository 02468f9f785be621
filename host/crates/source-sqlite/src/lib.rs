//! SQLite as a source: every change that any process commits to a database file, through triggers.
//!
//! * [`config`]: the YAML it accepts;
//! * `trigger`, `log`, `catalog`: what is put into the database, and how it is kept up to date;
//! * `changes`, `decode`: rows of the log to events, straight into the batch;
//! * `snapshot`: copies of existing rows, in step with the log;
//! * `worker`, `thread`, `reader`, `mailbox`, `wake`: the thread that talks to SQLite and the task that asks it;
//! * `polling`: the lossy way without triggers;
//! * `outbox`: the mark of what stands in a transactional outbox.
//!
//! What it guarantees: every committed change of a captured table appears once a stream, in commit order for each
//! key, and a rolled back one never; a restart goes on after its checkpoint with the same event ids; a database
//! that went back behind its checkpoint is refused. What it cannot see: transactions (each change stands alone),
//! changes made while its triggers were missing (it tells so and reads the table again), and changes by
//! connections that write the file without SQLite.

mod catalog;
mod changes;
pub mod config;
mod decode;
mod error;
mod install;
mod log;
mod mailbox;
mod outbox;
mod polling;
mod position;
mod reader;
mod readers;
mod resume;
mod snapshot;
mod sql;
mod table;
mod thread;
mod trigger;
mod wake;
mod worker;

use std::path::PathBuf;

use async_trait::async_trait;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::source::{SourceContext, SourceError, SourceFactory, SourceReader};
use deltaforge_engine::waits::Waits;
use deltaforge_model::position::Order;
use deltaforge_model::{Batch, Position};
use serde_json::Value;

pub use config::SqliteConfig;
pub use error::SqliteError;
pub use install::{Installed, Keep, Uninstalled, install, uninstall};
pub use readers::{LogReader, forget_reader, reader_name, readers};

/// Makes SQLite readers: `type: sqlite`, or `type: turso` for a file.
#[derive(Clone)]
pub struct SqliteSource {
    kind: &'static str,
    folders: wake::Folders,
}

impl SqliteSource {
    /// The source named `sqlite`.
    pub fn new() -> Self {
        Self { kind: "sqlite", folders: wake::Folders::default() }
    }

    /// The same source under the name `turso`.
    pub fn turso() -> Self {
        Self { kind: "turso", folders: wake::Folders::default() }
    }
}

impl Default for SqliteSource {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl SourceFactory for SqliteSource {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(SqliteConfig)
    }

    fn validate(&self, config: &Value) -> Result<(), Vec<ConfigError>> {
        let problems = deltaforge_engine::error::parse::<SqliteConfig>(config)?.problems();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn files(&self, config: &Value) -> Vec<PathBuf> {
        let config = deltaforge_engine::error::parse::<SqliteConfig>(config).ok();
        let Some(file) = config.and_then(|config| config.file()) else { return Vec::new() };
        let named = |ending: &str| {
            let mut name = file.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        ["", "-wal", "-shm", "-journal"].map(named).to_vec()
    }

    async fn connect(
        &self,
        config: &Value,
        context: SourceContext,
    ) -> Result<Box<dyn SourceReader>, SourceError> {
        let parsed = deltaforge_engine::error::parse::<SqliteConfig>(config);
        let problems = parsed.as_ref().map_or_else(Clone::clone, SqliteConfig::problems);
        let config = match (parsed, problems.first()) {
            (Ok(config), None) => config,
            (_, problem) => {
                let message = problem.map_or_else(String::new, |p| format!("{}: {}", p.path, p.message));
                return Err(SourceError::operator("bad_config", message));
            }
        };
        let mailbox = mailbox::Mailbox::new();
        let (opened, identity) = tokio::sync::oneshot::channel();
        let (thread_mailbox, waits, folders) = (mailbox.clone(), context.waits.clone(), self.folders.clone());
        let span = tracing::Span::current();
        let thread = move || {
            let _span = span.entered();
            if config.cdc_mode == config::CdcMode::Polling {
                let work = polling::Polling::open(config, context).map(|work| (work.identity(), work));
                start(work, opened, &thread_mailbox, &waits, &folders);
            } else {
                let work = worker::Worker::open(config, context).map(|work| (work.identity(), work));
                start(work, opened, &thread_mailbox, &waits, &folders);
            }
        };
        std::thread::Builder::new()
            .name("sqlite-source".into())
            .spawn(thread)
            .map_err(|error| SourceError::retry("sqlite_failed", "start the reading thread", error))?;
        let identity = identity
            .await
            .map_err(|error| SourceError::retry("sqlite_failed", "open the database", error))??;
        Ok(Box::new(reader::SqliteReader::new(mailbox, identity)))
    }

    fn compare(&self, a: &Position, b: &Position) -> Order {
        position::compare(a, b)
    }

    fn meet(&self, a: &Position, b: &Position) -> Option<Position> {
        position::meet(a, b)
    }

    fn rows_through(&self, batch: &Batch, position: &Position) -> usize {
        position::rows_through(batch, position)
    }
}

/// Tells whether opening worked, and then works.
fn start<W: thread::Work>(
    work: Result<(String, W), SqliteError>,
    opened: tokio::sync::oneshot::Sender<Result<String, SqliteError>>,
    mailbox: &std::sync::Arc<mailbox::Mailbox>,
    waits: &Waits,
    folders: &wake::Folders,
) {
    match work {
        Ok((identity, work)) => {
            if opened.send(Ok(identity)).is_ok() {
                thread::run(work, mailbox, waits, folders);
            }
        }
        Err(error) => drop(opened.send(Err(error))),
    }
}
