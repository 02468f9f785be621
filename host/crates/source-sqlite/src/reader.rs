//! The engine's end of a reader: asynchronous, cancel-safe, and without a word of SQL.

use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_engine::source::{SourceError, SourceReader};
use deltaforge_model::{Position, SourceBatch};

use crate::mailbox::Mailbox;
use crate::position::At;

/// A reader whose work is done by a thread of its own.
pub(crate) struct SqliteReader {
    mailbox: Arc<Mailbox>,
    confirmed: i64,
    identity: String,
}

impl SqliteReader {
    /// A reader fed through `mailbox`.
    pub fn new(mailbox: Arc<Mailbox>, identity: String) -> Self {
        Self { mailbox, confirmed: 0, identity }
    }
}

#[async_trait]
impl SourceReader for SqliteReader {
    async fn next_batch(&mut self) -> Result<Option<SourceBatch>, SourceError> {
        match self.mailbox.next().await {
            Some(batch) => batch.map(Some),
            None => {
                Err(SourceError::retry("sqlite_failed", "the reading thread has ended", "it was stopped"))
            }
        }
    }

    async fn confirm(&mut self, position: &Position) -> Result<(), SourceError> {
        let at = At::parse(position)?;
        if at.identity == self.identity && at.sequence > self.confirmed {
            self.confirmed = at.sequence;
            self.mailbox.confirm(at.sequence);
        }
        Ok(())
    }
}

impl Drop for SqliteReader {
    fn drop(&mut self) {
        self.mailbox.stop();
    }
}
