//! The boundary to a database's change log.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_model::position::Order;
use deltaforge_model::{Batch, Position, SourceBatch, SourceInfo};
use serde_json::Value;

use crate::batcher::BatchLimits;
use crate::error::{ConfigError, Next};
use crate::snapshots::{Outlook, SnapshotError, Snapshots, Table};
use crate::state::StateStore;
use crate::waits::Waits;

/// Reads one database's change log and hands out batches in commit order.
///
/// One pipeline task owns a reader. The reader never writes a checkpoint; it learns what it may forget through
/// [`SourceReader::confirm`]. It is dropped after an error and connected anew, from the last checkpoint.
#[async_trait]
pub trait SourceReader: Send {
    /// Waits for the next batch. Batches follow each other without a gap: `covers.from` is the `through` of the
    /// batch before.
    ///
    /// `Ok(None)` means the stream has ended for good (a bounded snapshot); an idle live stream stays pending.
    /// Cancel-safe: dropping the future loses no event.
    ///
    /// # Errors
    ///
    /// [`SourceError::next`] tells what helps.
    async fn next_batch(&mut self) -> Result<Option<SourceBatch>, SourceError>;

    /// Everything up to and including `position` is durable downstream, and checkpointed; the source may forget it.
    ///
    /// Idempotent; a position behind the last confirmed one is ignored.
    ///
    /// # Errors
    ///
    /// When the source could not be told; it will be told again with a later position.
    async fn confirm(&mut self, position: &Position) -> Result<(), SourceError>;
}

/// What a source is started with.
#[derive(Clone)]
pub struct SourceContext {
    /// What the batches say of where they come from: pipeline, tenant, source id and our version are set,
    /// the source sets the rest.
    pub info: SourceInfo,
    /// Where to go on; `None`: nothing was ever checkpointed.
    pub resume: Option<Position>,
    /// Where the sinks stand, none of them before `resume`. What the source hands out once more, and cannot tell from what
    /// one of them has had, must come after all of these.
    pub stands: Vec<Position>,
    /// Names the start of the pipeline: another one each time that it is started, the same while it fails and tries again.
    pub run: Arc<str>,
    /// When to close a batch.
    pub limits: BatchLimits,
    /// For what the source itself must remember (schema history).
    pub state: Arc<dyn StateStore>,
    /// Where the source says that it waits for something, such as a lock that somebody holds.
    pub waits: Waits,
    /// Snapshots that are asked for, and where it tells how far it has got with them. A source whose
    /// [`SourceFactory::check_snapshot`] takes none never sees one.
    pub snapshots: Snapshots,
}

/// Makes readers of one kind of source, and understands its positions.
#[async_trait]
pub trait SourceFactory: Send + Sync + 'static {
    /// The name in `type:`.
    fn kind(&self) -> &'static str;
    /// JSON Schema of the `config:` block.
    fn schema(&self) -> schemars::Schema;
    /// Checks what can be known without touching the database. Spawns nothing.
    ///
    /// # Errors
    ///
    /// Every problem found.
    fn validate(&self, config: &Value) -> Result<(), Vec<ConfigError>>;
    /// The files that this configuration reads, with those beside them that are part of them: no sink may write them.
    /// Pure; a configuration that is wrong has none.
    fn files(&self, _config: &Value) -> Vec<PathBuf> {
        Vec::new()
    }
    /// Looks at the database and at what it grants, without changing anything there: all that would keep this
    /// configuration from being read, or from being read well.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    async fn examine(&self, _config: &Value) -> Result<Vec<Complaint>, SourceError> {
        Ok(Vec::new())
    }
    /// Looks whether the rows of these tables can be copied beside the log: they are captured, fit for it, and their conditions
    /// mean something. Changes nothing in the database. A reader that is at work then, or later, is told of it through
    /// [`SourceContext::snapshots`].
    ///
    /// # Errors
    ///
    /// When they cannot, or the database does not answer.
    async fn check_snapshot(&self, _config: &Value, _tables: &[Table]) -> Result<Outlook, SnapshotError> {
        Err(SnapshotError::NotSupported(self.kind().to_owned()))
    }
    /// Connects and returns a reader at the resume point. The only step with I/O, besides [`SourceFactory::examine`] and
    /// [`SourceFactory::check_snapshot`].
    ///
    /// # Errors
    ///
    /// Also when the source has gone back behind `resume`, or keeps its log no longer.
    async fn connect(
        &self,
        config: &Value,
        context: SourceContext,
    ) -> Result<Box<dyn SourceReader>, SourceError>;
    /// Whether a stream that cannot go on from `from` (`None`: the sinks stand at several places), for what `code` says, is to begin anew
    /// with a copy of the tables, by its configuration. Otherwise somebody has to decide. Pure.
    fn begins_anew(&self, _config: &Value, _code: &str, _from: Option<&Position>) -> bool {
        false
    }
    /// How two of this source's positions relate. Pure.
    fn compare(&self, a: &Position, b: &Position) -> Order;
    /// The highest position at which no sink that stands at `a` or at `b` lacks anything: one of the two, unless the
    /// source can begin at a position that another run before came by differently. `None`: they belong to different
    /// histories. Pure.
    fn meet(&self, a: &Position, b: &Position) -> Option<Position> {
        match self.compare(a, b) {
            Order::Before | Order::Same => Some(a.clone()),
            Order::After => Some(b.clone()),
            Order::Unrelated => None,
        }
    }
    /// Whether this configuration hands out the same rows of a transaction as the one that wrote this name of it into
    /// [`Boundary::Inside`](deltaforge_model::Boundary::Inside): else how many of them a sink has had does not say which.
    /// Pure.
    fn is_counted_alike(&self, _config: &Value, _transaction: &str) -> bool {
        true
    }
    /// Whether a transaction, by its id in the batches, was read at a position that is not before it in the log it came from.
    /// `None`: the order of positions says all, as no other server can have the same transactions in another one. Pure.
    fn has(&self, _position: &Position, _transaction: &str) -> Option<bool> {
        None
    }
    /// How many leading events of `batch`, as the source handed it out, are at or before `position`. Pure.
    /// `position` lies inside the stretch that the batch covers.
    fn rows_through(&self, batch: &Batch, position: &Position) -> usize;
}

/// What is in the way of reading a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Whether nothing can be read as long as it is so.
    pub fatal: bool,
    /// What it is.
    pub what: String,
    /// What mends it: a statement for the database, where there is one.
    pub mend: String,
}

impl Complaint {
    /// Nothing can be read.
    pub fn fatal(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { fatal: true, what: what.into(), mend: mend.into() }
    }

    /// It can be read, with less than there could be.
    pub fn minor(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { fatal: false, ..Self::fatal(what, mend) }
    }
}

/// A source marks the delete that a change of a key begins with by this header, with no value. Messages get the new
/// key there, as it is after the stages: a key that they mask is masked here too.
pub const NEW_KEY_HEADER: &str = "__debezium.newkey";
/// The same for the create that follows at once, and the old key.
pub const OLD_KEY_HEADER: &str = "__debezium.oldkey";

/// A source failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What the pipeline does next.
    pub next: Next,
    /// A stable code with a page in docs/errors.
    pub code: &'static str,
    /// What was being done, and what an operator should know.
    pub message: String,
    /// Why.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SourceError {
    /// Trying again may help.
    pub fn retry(
        code: &'static str,
        message: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { next: Next::Retry, code, message: message.into(), cause: Some(cause.into()) }
    }

    /// Only a person can help.
    pub fn operator(code: &'static str, message: impl Into<String>) -> Self {
        Self { next: Next::Operator, code, message: message.into(), cause: None }
    }
}
