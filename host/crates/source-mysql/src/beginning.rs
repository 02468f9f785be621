//! Where a source began that copies nothing, until there is a checkpoint: whoever is stopped before that would otherwise
//! begin at the end of the log once more, and miss what was committed in between.

mod prepared;

use std::sync::Arc;

use deltaforge_engine::source::SourceContext;
use deltaforge_engine::state::StateStore;
use deltaforge_model::Position;

use crate::failure::MysqlError;
use crate::history::{History, HistoryError};
use crate::position::Place;
use crate::server::Server;
use crate::session::Session;

pub(crate) use prepared::{Listed, first, listed};

/// The note of it in the host's state.
pub(crate) struct Beginning {
    state: Arc<dyn StateStore>,
    key: String,
}

/// A log file without a change is shorter.
const WITHOUT_CHANGES: u64 = 512;

/// Says that changes before `end`, which are in the log, are not handed out.
///
/// # Errors
///
/// When the server does not answer.
pub(crate) async fn tell(session: &mut Session, server: &Server, end: &Place) -> Result<(), MysqlError> {
    let files = server.files(session).await?;
    if let Some(oldest) = older(&files, end) {
        tracing::warn!(
            server = server.address,
            oldest,
            end = format!("{}:{}", end.file, end.pos),
            "there is no checkpoint and no snapshot: the stream begins at the end of the log. What is in the tables, and what the \
             log holds from before, is not handed out; `snapshot: {{mode: initial}}` copies it"
        );
    }
    Ok(())
}

/// The oldest file with changes before `end`.
fn older<'a>(files: &'a [(String, u64)], end: &Place) -> Option<&'a str> {
    let (oldest, _) = files.first()?;
    (*oldest != end.file || end.pos > WITHOUT_CHANGES).then_some(oldest)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_with_changes_is_told_from_a_new_one() {
        let files = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 9_999)).collect::<Vec<_>>();
        let end = |file: &str, pos| Place { file: file.into(), pos, ..Place::default() };
        assert_eq!(older(&files(&["b.1"]), &end("b.1", 344)), None);
        assert_eq!(older(&files(&["b.1"]), &end("b.1", 900)), Some("b.1"));
        assert_eq!(older(&files(&["b.1", "b.2"]), &end("b.2", 157)), Some("b.1"));
    }
}
