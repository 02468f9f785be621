//! Where a source began that copies nothing, until there is a checkpoint: whoever is stopped before that would otherwise
//! begin at the end of the log once more, and miss what was committed in between.

use std::sync::Arc;

use deltaforge_engine::source::SourceContext;
use deltaforge_engine::state::StateStore;
use deltaforge_model::Position;

use crate::failure::MysqlError;
use crate::history::{History, HistoryError};

/// The note of it in the host's state.
pub(crate) struct Beginning {
    state: Arc<dyn StateStore>,
    key: String,
}

impl Beginning {
    pub fn of(context: &SourceContext) -> Self {
        let info = &context.info;
        let history = History::prefix(&info.tenant, &info.pipeline, &info.source_id);
        Self { state: context.state.clone(), key: format!("beginning/{history}") }
    }

    /// What is noted.
    pub async fn noted(&self) -> Result<Option<Position>, MysqlError> {
        let bytes = self.state.get(&self.key).await.map_err(HistoryError::from)?;
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(Position::new))
    }

    pub async fn note(&self, at: &Position) -> Result<(), MysqlError> {
        let entry = (self.key.clone(), at.as_str().as_bytes().to_vec());
        Ok(self.state.put_many(vec![entry], None).await.map_err(HistoryError::from)?)
    }

    /// There is a checkpoint.
    pub async fn forget(&self) -> Result<(), MysqlError> {
        self.state.delete(&self.key).await.map_err(HistoryError::from)?;
        Ok(())
    }
}
