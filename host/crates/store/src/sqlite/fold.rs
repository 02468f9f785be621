//! The WAL is folded into the database beside the commits, not in them: a commit that folds takes several fsyncs, and
//! everybody in its group waits for them.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

/// With so many pages in the WAL it is time to fold it.
const FOLD_AT_PAGES: i32 = 1_000;

/// With so many pages it is folded in the commit: under commits without a pause the thread beside them never comes to the
/// end of it, and a WAL begins anew only at its end.
const BOUND_PAGES: i32 = 8_000;

/// The thread that folds. Dropping it, after the connection that writes, waits for its end.
pub(super) struct Folder(Option<JoinHandle<()>>);

impl Folder {
    /// Starts a thread that folds with `own` whenever `writer` has committed enough.
    pub(super) fn start(own: Connection, writer: &mut Connection) -> io::Result<Self> {
        let (is_due, due) = sync_channel(1);
        let thread = thread::Builder::new().name("state-folder".into()).spawn(move || serve(&own, &due))?;
        writer
            .wal_hook(Some(move |wal: &mut Wal, pages| after_commit(wal, pages, &is_due)))
            .map_err(io::Error::other)?;
        Ok(Self(Some(thread)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread of the state store had panicked");
        }
    }
}

fn after_commit(wal: &mut Wal, pages: i32, is_due: &SyncSender<()>) -> rusqlite::Result<()> {
    if pages >= BOUND_PAGES {
        // What it could not fold is folded by a later one: the commit stands.
        let _ = wal.checkpoint();
    } else if pages >= FOLD_AT_PAGES {
        // If it has not begun with what it was told before, it will see these pages too.
        let _ = is_due.try_send(());
    }
    Ok(())
}

fn serve(db: &Connection, due: &Receiver<()>) {
    while due.recv().is_ok() {
        // Waits for nobody: what a reader still looks at is folded the next time.
        let folded = db.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()));
        if let Err(error) = folded {
            tracing::warn!(%error, "the state store's WAL stays until it can be folded into the database");
        }
    }
}
