//! Hears from the file system when another process writes a database.
//!
//! One watcher for all databases of a host: each of its own would be woken by whatever happens beside its database, and
//! the system has few of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;

use crate::mailbox::Mailbox;

/// The folders in which databases are watched. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Folders(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// What changes them holds this lock, and never the other one when it talks to the watcher.
    watcher: Mutex<Option<RecommendedWatcher>>,
    readers: Arc<Mutex<Readers>>,
}

/// Who is to be woken.
#[derive(Default)]
struct Readers {
    next: u64,
    of_file: HashMap<PathBuf, Vec<(u64, Arc<Mailbox>)>>,
    /// How many databases are watched there.
    in_folder: HashMap<PathBuf, usize>,
}

/// A database that is watched, as long as this lives.
pub(crate) struct Watched {
    folders: Folders,
    folder: PathBuf,
    files: [PathBuf; 3],
    number: u64,
}

impl Folders {
    /// Watches the database file, its WAL and its rollback journal. `None` when the file system cannot tell, and then the
    /// poll interval has to do.
    pub fn watch(&self, path: &Path, mailbox: Arc<Mailbox>) -> Option<Watched> {
        let path = path.canonicalize().ok()?;
        let folder = path.parent()?.to_owned();
        let beside = |ending: &str| {
            let mut name = path.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        let files = ["", "-wal", "-journal"].map(beside);
        let mut watcher = self.0.watcher.lock();
        if let Err(error) = self.look_at(&mut watcher, &folder) {
            tracing::warn!(%error, "no file notifications; changes are seen at the poll interval only");
            return None;
        }
        let mut readers = self.0.readers.lock();
        let number = readers.next;
        readers.next += 1;
        *readers.in_folder.entry(folder.clone()).or_default() += 1;
        for file in &files {
            readers.of_file.entry(file.clone()).or_default().push((number, mailbox.clone()));
        }
        Some(Watched { folders: self.clone(), folder, files, number })
    }

    /// Watches a folder, also one that is watched: another one may have its name by now.
    fn look_at(&self, watcher: &mut Option<RecommendedWatcher>, folder: &Path) -> notify::Result<()> {
        if watcher.is_none() {
            let readers = self.0.readers.clone();
            *watcher = Some(notify::recommended_watcher(move |event| readers.lock().tell(event))?);
        }
        match watcher {
            Some(watcher) => watcher.watch(folder, RecursiveMode::NonRecursive),
            None => Ok(()),
        }
    }
}

impl Readers {
    fn tell(&self, event: notify::Result<Event>) {
        match event {
            Ok(event) if event.need_rescan() => self.tell_all(),
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
            Ok(event) => {
                let readers = event.paths.iter().filter_map(|path| self.of_file.get(path)).flatten();
                readers.for_each(|(_, mailbox)| mailbox.wake());
            }
            Err(_) => self.tell_all(),
        }
    }

    /// Something was missed: all look.
    fn tell_all(&self) {
        self.of_file.values().flatten().for_each(|(_, mailbox)| mailbox.wake());
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut watcher = self.folders.0.watcher.lock();
        let mut readers = self.folders.0.readers.lock();
        for file in &self.files {
            if let Some(those) = readers.of_file.get_mut(file) {
                those.retain(|(number, _)| *number != self.number);
                if those.is_empty() {
                    readers.of_file.remove(file);
                }
            }
        }
        let left = readers.in_folder.get_mut(&self.folder).map_or(0, |left| {
            *left -= 1;
            *left
        });
        if left == 0 {
            readers.in_folder.remove(&self.folder);
            drop(readers);
            if let Some(watcher) = &mut *watcher {
                // A folder that is gone is not watched any more.
                let _ = watcher.unwatch(&self.folder);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whether a reader is told of a change before long.
    fn told(mailbox: &Mailbox) -> bool {
        mailbox.wait(Duration::from_secs(5)).changed
    }

    #[test]
    fn each_hears_of_its_own_database_over_what_happens_to_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("shops");
        let file = |name: &str| folder.join(name);
        let create = || {
            std::fs::create_dir(&folder).unwrap();
            for name in ["a.db", "b.db"] {
                std::fs::write(file(name), "").unwrap();
            }
        };
        create();
        let folders = Folders::default();
        let (a, b) = (Mailbox::new(), Mailbox::new());
        let watched_a = folders.watch(&file("a.db"), a.clone()).unwrap();
        let watched_b = folders.watch(&file("b.db"), b.clone()).unwrap();
        std::fs::write(file("a.db-wal"), "frames").unwrap();
        assert!(told(&a));
        std::fs::write(file("b.db"), "pages").unwrap();
        assert!(told(&b));
        assert!(!a.wait(Duration::ZERO).changed, "what happens to b is nothing to a");
        drop(watched_b);
        std::fs::write(file("a.db-journal"), "pages").unwrap();
        assert!(told(&a), "b is not watched any more, a is");

        std::fs::remove_dir_all(&folder).unwrap();
        create();
        // What was told of the files that went is of no interest here.
        while a.wait(Duration::from_millis(100)).changed {}
        let again = folders.watch(&file("a.db"), a.clone()).unwrap();
        drop(watched_a);
        std::fs::write(file("a.db-wal"), "frames").unwrap();
        assert!(told(&a), "another folder of that name is watched");
        drop(again);
        let readers = folders.0.readers.lock();
        assert_eq!((readers.of_file.len(), readers.in_folder.len()), (0, 0));
    }

    #[test]
    fn a_folder_that_was_moved_away_and_goes_later_takes_no_other_watch_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, old) = (dir.path().join("shops"), dir.path().join("shops.old"));
        let create = || {
            std::fs::create_dir(&folder).unwrap();
            for name in ["a.db", "b.db"] {
                std::fs::write(folder.join(name), "").unwrap();
            }
        };
        create();
        let folders = Folders::default();
        let (a, b) = (Mailbox::new(), Mailbox::new());
        let before_a = folders.watch(&folder.join("a.db"), a.clone()).unwrap();
        let before_b = folders.watch(&folder.join("b.db"), b.clone()).unwrap();
        // Put another folder in place, as a restore of a backup does; the readers begin anew one after the other.
        std::fs::rename(&folder, &old).unwrap();
        create();
        drop(before_a);
        let _a = folders.watch(&folder.join("a.db"), a.clone()).unwrap();
        drop(before_b);
        let _b = folders.watch(&folder.join("b.db"), b.clone()).unwrap();
        while a.wait(Duration::from_millis(200)).changed {}
        std::fs::write(folder.join("a.db-wal"), "frames").unwrap();
        assert!(told(&a), "the new folder is watched");
        while a.wait(Duration::from_millis(200)).changed {}
        // What was put aside is cleared away.
        std::fs::remove_dir_all(&old).unwrap();
        while a.wait(Duration::from_millis(500)).changed {}
        std::fs::write(folder.join("a.db-wal"), "more frames").unwrap();
        assert!(told(&a), "the new folder is still watched");
    }

    #[test]
    fn what_was_missed_is_told_to_all() {
        let folders = Folders::default();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.db"), "").unwrap();
        let mailbox = Mailbox::new();
        let _watched = folders.watch(&dir.path().join("a.db"), mailbox.clone()).unwrap();
        let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        folders.0.readers.lock().tell(Ok(overflow));
        assert!(mailbox.wait(Duration::ZERO).changed);
    }
}
