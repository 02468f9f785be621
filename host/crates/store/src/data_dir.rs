//! The directory that one host owns: its lock and what lies where.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::private;

/// Between two tries to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The data directory could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another host runs on it. Stop that one, or give this one a directory of its own.
    #[error("data directory {} is in use by another host ({})", path.display(), holder_text(*holder))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other host's process id, if it could be read.
        holder: Option<u32>,
    },
    /// The directory cannot be created, read or written.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(|| "its process id is unknown".into(), |pid| format!("process {pid}"))
}

/// A data directory, held exclusively until this is dropped or the process ends, however it ends.
///
/// Two hosts on one directory would both move the same checkpoints. The lock is the operating system's
/// (`flock`), so a crash leaves no stale one behind.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the directory, creating it and its parts if they are missing.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] if a host holds it (also one in this process); [`DataDirError::Io`] otherwise.
    pub fn lock(path: impl AsRef<Path>) -> Result<Self, DataDirError> {
        let path = path.as_ref().to_path_buf();
        make_dir(&path)?;
        let lock = take_lock(&path)?;
        let dir = Self { path, _lock: lock };
        for part in [dir.plugins(), dir.cache(), dir.spill()] {
            make_dir(&part)?;
        }
        // Compiled plugins are loaded from here as machine code: nobody else may put a file in.
        std::fs::set_permissions(dir.cache(), Permissions::from_mode(0o700))
            .map_err(failed("restrict", &dir.cache()))?;
        Ok(dir)
    }

    /// As [`DataDir::lock`], and waits for the one who holds it: a host that was killed lets go only once the
    /// operating system has taken its memory apart, which can take seconds.
    ///
    /// # Errors
    /// As [`DataDir::lock`], once `patience` has passed.
    pub fn lock_within(path: impl AsRef<Path>, patience: Duration) -> Result<Self, DataDirError> {
        let deadline = Instant::now() + patience;
        loop {
            match Self::lock(&path) {
                Err(DataDirError::InUse { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_PAUSE)
                }
                result => return result,
            }
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state store's file.
    pub fn database(&self) -> PathBuf {
        self.path.join("deltaforge.db")
    }

    /// The plugin registry.
    pub fn plugins(&self) -> PathBuf {
        self.path.join("plugins")
    }

    /// Compiled plugins; always of mode 0700.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// Components that ran, by digest: a replay needs them, whatever became of their files.
    pub fn components(&self) -> PathBuf {
        self.path.join("components")
    }

    /// Batches that wait on disk for a slow sink.
    pub fn spill(&self) -> PathBuf {
        self.path.join("spill")
    }
}

fn make_dir(path: &Path) -> Result<(), DataDirError> {
    private::create_dir_all(path).map_err(failed("create directory", path))
}

/// Locks the lock file and writes our process id into it. The file stays when the lock goes: removing it
/// could take it away from under the next holder.
fn take_lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let holder = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
            return Err(DataDirError::InUse { path: dir.to_path_buf(), holder });
        }
        Err(TryLockError::Error(cause)) => return Err(failed("lock", &path)(cause)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed("write", &path))?;
    Ok(file)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError + use<> {
    let path = path.to_path_buf();
    move |cause| DataDirError::Io { action, path, cause }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
