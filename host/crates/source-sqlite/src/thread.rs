//! The loop of the reading thread, whatever it reads by.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_engine::source::SourceError;
use deltaforge_engine::waits::{Waiting, Waits};
use deltaforge_model::SourceBatch;

use crate::error::SqliteError;
use crate::mailbox::Mailbox;
use crate::wake::Folders;

/// How often the database is asked for changes while it is active and the file system has not spoken.
const ACTIVE_PAUSE: Duration = Duration::from_millis(5);
/// A lock that is held for longer than this is no transaction of a moment.
const LONG_LOCK: Duration = Duration::from_secs(10);
/// How long after a change it counts as active.
const ACTIVE_FOR: Duration = Duration::from_secs(1);
/// Where the file system speaks, it often has before the change can be read: the database is asked again this soon, and then
/// whenever half of the time since has passed once more.
const SOON: Duration = Duration::from_micros(200);

/// What a reading thread does.
pub(crate) trait Work {
    /// The file to watch.
    fn path(&self) -> &Path;
    /// The longest pause between two looks.
    fn idle_pause(&self) -> Duration;
    /// Looks for something new; `None`: nothing.
    fn look(&mut self) -> Result<Option<SourceBatch>, SqliteError>;
    /// Everything up to this sequence is safe.
    fn confirmed(&mut self, sequence: i64);
    /// A little housekeeping between two looks; answers whether more is due.
    fn tidy(&mut self) -> bool;
}

/// Works until the reader is dropped or something fails.
pub(crate) fn run(mut work: impl Work, mailbox: &Arc<Mailbox>, waits: &Waits, folders: &Folders) {
    let watched = folders.watch(work.path(), mailbox.clone());
    let idle_pause = work.idle_pause();
    let mut changed_at = Instant::now();
    let mut pause = Duration::ZERO;
    let mut busy: Option<(Instant, Option<Waiting>)> = None;
    let _ending = Ending(mailbox);
    loop {
        let news = mailbox.wait(pause);
        if news.stop {
            break;
        }
        if let Some(sequence) = news.confirmed {
            work.confirmed(sequence);
        }
        let due = work.tidy();
        if !news.room {
            pause = if due { ACTIVE_PAUSE } else { idle_pause };
            continue;
        }
        if news.changed {
            changed_at = Instant::now();
        }
        let looked = work.look();
        if looked.is_ok() {
            busy = None;
        }
        match looked {
            Ok(Some(batch)) => {
                mailbox.put(Ok(batch));
                changed_at = Instant::now();
                pause = Duration::ZERO;
            }
            Ok(None) => {
                let next = match changed_at.elapsed() {
                    _ if due => ACTIVE_PAUSE,
                    since if since > ACTIVE_FOR => idle_pause,
                    since if watched.is_some() => SOON.max(since / 2),
                    _ => ACTIVE_PAUSE,
                };
                pause = next.min(idle_pause);
            }
            Err(error) if error.is_busy() => {
                tracing::debug!(%error, "the database is locked; trying again");
                pause = ACTIVE_PAUSE;
                let since = busy.get_or_insert_with(|| (Instant::now(), None));
                if since.0.elapsed() > LONG_LOCK {
                    since
                        .1
                        .get_or_insert_with(|| waits.begin(SourceError::from(error).into(), Some(LONG_LOCK)));
                }
                continue;
            }
            Err(error) => {
                mailbox.put(Err(error.into()));
                break;
            }
        }
    }
    drop(watched);
}

/// Ends the mailbox however the thread ends.
struct Ending<'a>(&'a Mailbox);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
