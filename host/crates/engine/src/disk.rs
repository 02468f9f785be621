//! The file system as the file sink and the spill use it: few operations, each with what it promises after a
//! power loss, so that a simulated disk ([`sim`]) can break every promise that was not asked for.
//!
//! Nothing here is durable by itself. File *content* is durable after [`DiskFile::fdatasync`]; a *name* (a new
//! file or directory, a rename, a removal) after [`Disk::fsync_dir`] of the directory that holds it. Both take
//! a short text that says which promise the call is for; the simulated disk can be told to ignore the calls
//! with one text, and a test then must fail.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

pub mod sim;
#[cfg(test)]
mod tests;

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Bytes of content.
    pub len: u64,
    /// Whether it is a plain file: no directory, link, pipe or device.
    pub is_file: bool,
    /// Device and inode: which file it is as long as it lives. Used again after it was removed.
    pub id: (u64, u64),
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must exist; for reading.
    Read,
    /// It must exist; for reading and appending.
    Append,
    /// It must not exist; for reading and appending.
    CreateNew,
}

/// The operations of a file system. Blocking: call it off the I/O threads.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// `NotFound` or `AlreadyExists` as [`Open`] says, and whatever the system answers.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;
    /// What is at `path`; `None`: nothing. Links are not followed.
    ///
    /// # Errors
    ///
    /// When the system cannot tell.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;
    /// The names in a directory, in no order.
    ///
    /// # Errors
    ///
    /// `NotFound` without the directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Gives a file another name in the same directory. Whatever had that name is replaced.
    ///
    /// # Errors
    ///
    /// When nothing was renamed.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    ///
    /// # Errors
    ///
    /// When nothing was removed.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory in an existing one.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when something has the name.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable as they are now. `why` names the promise that hangs on it.
    ///
    /// # Errors
    ///
    /// When nothing is known about the names.
    fn fsync_dir(&self, dir: &Path, why: &'static str) -> io::Result<()>;
    /// Takes the advisory lock of the file at `path`, which is made if missing, until the answer is dropped.
    /// `None`: another holder, in this process or another, has it.
    ///
    /// # Errors
    ///
    /// When the file cannot be made or the system cannot lock.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send>>>;
}

/// An open file.
pub trait DiskFile: Send {
    /// Writes all of `bytes` at the end of the file.
    ///
    /// # Errors
    ///
    /// A part may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Fills `bytes` from `at`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the file ends first.
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// Cuts the file to `len`.
    ///
    /// # Errors
    ///
    /// When it was not cut.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Length and identity now, under whatever name.
    ///
    /// # Errors
    ///
    /// When the system cannot tell.
    fn stat(&self) -> io::Result<Stat>;
    /// Makes the content durable. `why` names the promise that hangs on it.
    ///
    /// # Errors
    ///
    /// Then what was written since the last success may be gone for good although reading still shows it, and
    /// a second call would answer `Ok` all the same. So it is never called again: cut the file to what was
    /// durable and write the rest anew.
    fn fdatasync(&mut self, why: &'static str) -> io::Result<()>;
}

/// Makes `dir` with all its parents, and makes the whole chain of names durable, also where an earlier process
/// made a directory and died before it could.
///
/// # Errors
///
/// When a directory cannot be made, or its name not be made durable. A directory that this process did not make
/// and may not open is taken as durable.
pub fn create_dirs(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    create_dirs(disk, parent)?;
    let made = match disk.create_dir(dir) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(_) if disk.stat(dir)?.is_some() => false,
        Err(error) => return Err(error),
    };
    match disk.fsync_dir(parent, "a directory's name") {
        Err(error) if !made && error.kind() == ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl From<&std::fs::Metadata> for Stat {
    fn from(metadata: &std::fs::Metadata) -> Self {
        Self { len: metadata.len(), is_file: metadata.is_file(), id: (metadata.dev(), metadata.ino()) }
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Append => {
                options.append(true);
            }
            Open::CreateNew => {
                options.append(true).create_new(true);
            }
        }
        Ok(Box::new(options.open(path)?))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(Stat::from(&metadata))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string()); // a name that is no text is none of ours
        }
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn fsync_dir(&self, dir: &Path, _why: &'static str) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send>>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, at)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(Stat::from(&self.metadata()?))
    }

    fn fdatasync(&mut self, _why: &'static str) -> io::Result<()> {
        self.sync_data()
    }
}
