//! Hears from the file system when another process writes the database.

use std::path::Path;
use std::sync::Arc;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::mailbox::Mailbox;

/// Watches the database file, its WAL and its rollback journal; keeps watching as long as it lives. `None` when the
/// file system cannot tell, and then the poll interval has to do.
pub(crate) fn watch(path: &Path, mailbox: Arc<Mailbox>) -> Option<RecommendedWatcher> {
    let path = path.canonicalize().ok()?;
    let folder = path.parent()?.to_owned();
    let file = path.file_name()?.to_string_lossy().into_owned();
    let files = [file.clone(), format!("{file}-wal"), format!("{file}-journal")];
    let on_event = move |event: notify::Result<Event>| {
        let wake = match event {
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
            Ok(event) => event.paths.iter().any(|path| {
                path.file_name()
                    .is_some_and(|name| files.iter().any(|file| **file == *name.to_string_lossy()))
            }),
            Err(_) => true, // the queue ran over: look
        };
        if wake {
            mailbox.wake();
        }
    };
    let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "no file notifications; changes are seen at the poll interval only");
            None
        }
    }
}
