//! MySQL and MariaDB as a source: every change that is committed, from the server's binary log.
//!
//! * [`config`], `dsn`: the YAML it accepts;
//! * `connect`, `session`, `server`, `tables`, `definitions`: what is asked of the server by statements;
//! * `doctor`, `cascade`: what is in the way of reading it;
//! * `dump`: the connection that the log comes over;
//! * `position`, `beginning`, `resume`: where a reader is, and whether server and checkpoint still belong together;
//! * `scope`: which tables were captured at the last start;
//! * `stream`, `reader`: the log to batches, and the engine's end of it;
//! * `failure`: every way that can fail.
//!
//! And the pure part, bytes in and rows in batches out:
//!
//! * [`gtid`]: sets of transactions, exact, of both servers;
//! * [`binlog`]: events of the binary log;
//! * [`charset`]: text in the servers' charsets to UTF-8;
//! * [`layout`]: what a table's rows look like, from the log or from a declared definition;
//! * [`row`]: rows straight from an event's bytes into a batch;
//! * [`ddl`]: what statements of the log do to tables;
//! * `history`: tables' definitions as of the position;
//! * [`error`]: every way that can fail.
//!
//! What it guarantees: every committed change of a captured table, in the order of commits, by transactions; a
//! rolled back one never. A restart goes on behind its checkpoint with the same event ids, on any server that has the
//! transactions by their GTIDs. A server that went back, or has thrown away what was not read, is refused. The pure
//! part trusts no input: every length is checked against what is there, nothing is allocated by a length that somebody
//! claims, and broken bytes are a typed error.

mod beginning;
pub mod binlog;
mod bytes;
mod cascade;
pub mod charset;
pub mod config;
mod connect;
pub mod ddl;
mod definitions;
mod doctor;
mod dsn;
mod dump;
pub mod error;
mod failure;
pub mod gtid;
mod history;
pub mod layout;
mod position;
mod reader;
mod resume;
pub mod row;
mod scope;
mod server;
mod session;
mod snapshot;
mod stream;
mod tables;

use async_trait::async_trait;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::snapshots::{Outlook, SnapshotError, Table};
use deltaforge_engine::source::{Complaint, SourceContext, SourceError, SourceFactory, SourceReader};
use deltaforge_model::position::Order;
use deltaforge_model::{Batch, Position};
use serde_json::Value;

pub use config::MysqlConfig;
use config::SnapshotMode;
pub use error::{DecodeError, LayoutError};
pub use layout::TableLayout;
pub use row::{RowCursor, Scratch};

/// Makes readers of MySQL and MariaDB: `type: mysql`.
#[derive(Debug, Clone, Copy, Default)]
pub struct MysqlSource;

#[async_trait]
impl SourceFactory for MysqlSource {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(MysqlConfig)
    }

    fn validate(&self, config: &Value) -> Result<(), Vec<ConfigError>> {
        let problems = deltaforge_engine::error::parse::<MysqlConfig>(config)?.problems();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    async fn examine(&self, config: &Value) -> Result<Vec<Complaint>, SourceError> {
        Ok(doctor::examine(&checked(config)?).await?)
    }

    async fn check_snapshot(&self, config: &Value, tables: &[Table]) -> Result<Outlook, SnapshotError> {
        snapshot::check::check(&checked(config)?, tables).await
    }

    async fn connect(
        &self,
        config: &Value,
        context: SourceContext,
    ) -> Result<Box<dyn SourceReader>, SourceError> {
        Ok(Box::new(reader::MysqlReader::open(checked(config)?, context).await?))
    }

    fn begins_anew(&self, config: &Value, code: &str, from: Option<&Position>) -> bool {
        let config = deltaforge_engine::error::parse::<MysqlConfig>(config);
        let asks = config.is_ok_and(|config| config.snapshot_mode() == SnapshotMode::WhenNeeded);
        // A log that is purged before a copy of the tables is done would be so the next time, too.
        asks && (code != "position_lost" || !from.is_some_and(position::is_copying))
    }

    fn compare(&self, a: &Position, b: &Position) -> Order {
        position::compare(a, b)
    }

    fn is_counted_alike(&self, config: &Value, transaction: &str) -> bool {
        let counted = deltaforge_engine::error::parse::<MysqlConfig>(config).map(|config| config.counted());
        let by = transaction.rsplit_once(' ').map(|(_, by)| by);
        by.is_some_and(|by| counted.is_ok_and(|counted| counted == by))
    }

    fn meet(&self, a: &Position, b: &Position) -> Option<Position> {
        position::meet(a, b)
    }

    fn has(&self, position: &Position, transaction: &str) -> Option<bool> {
        position::has(position, transaction)
    }

    fn rows_through(&self, batch: &Batch, position: &Position) -> usize {
        position::rows_through(batch, position)
    }
}

/// A configuration without a problem.
fn checked(config: &Value) -> Result<MysqlConfig, SourceError> {
    let parsed = deltaforge_engine::error::parse::<MysqlConfig>(config);
    let problems = parsed.as_ref().map_or_else(Clone::clone, MysqlConfig::problems);
    match (parsed, problems.first()) {
        (Ok(config), None) => Ok(config),
        (_, problem) => {
            let message = problem.map_or_else(String::new, |p| format!("{}: {}", p.path, p.message));
            Err(SourceError::operator("bad_config", message))
        }
    }
}
