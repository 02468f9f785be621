//! The active file: recovered, appended to, rotated. Blocking.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_engine::disk::{Disk, DiskFile, Open, Stat, create_dirs};
use deltaforge_engine::sink::{Delivery, Durable};
use tracing::{info, warn};

use crate::config::RotateConfig;
use crate::error::FileError;
use crate::journal::{Journal, Note};
use crate::lines::{check_content_type, has_whole_lines, push_line};
use crate::state::{FileState, TAIL_BYTES, Tail, hash};
use crate::utc;

/// How long an open waits for the file's last owner to let go: a write that was given up may still be running.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Lines are collected up to this size before they are written: one call for a usual delivery.
pub(crate) const BUFFER_BYTES: usize = 4 << 20;

/// Ends the name of a file that was moved aside because a line of it is broken.
const DAMAGED: &str = ".damaged";

/// Ends the name of a file with lines that others appended to ours.
const CUT: &str = ".cut";

/// One open file, and the right to write it.
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    rotate: RotateConfig,
    file: Box<dyn DiskFile>,
    /// Bytes written.
    length: u64,
    /// Bytes that were there and whole at the open, or that became durable since.
    durable: u64,
    tail: Tail,
    number: u64,
    begun_ms: u64,
    /// What to say while the active file is empty: how the one before it ended.
    sealed: Option<FileState>,
    /// The last delivery taken.
    through: u64,
    poisoned: bool,
    buffer: Vec<u8>,
    journal: Journal,
    _lock: Box<dyn Send>,
}

impl Writer {
    /// Opens the file at `path` (absolute) and brings it to where `state` says.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        rotate: RotateConfig,
        state: Option<FileState>,
        now_ms: u64,
    ) -> Result<Self, FileError> {
        let (dir, name) = split(&path)?;
        create_dirs(&*disk, dir).map_err(FileError::io("make the directory", dir))?;
        let lock_path = dir.join(format!(".{name}.lock"));
        if disk.stat(&lock_path).map_err(FileError::io("look at", &lock_path))?.is_none() {
            refuse_foreign(&*disk, &path, state.as_ref())?;
        }
        let lock = lock(&*disk, &path, &lock_path)?;
        // A name that an earlier process left half-done must be durable before a new one builds on it.
        disk.fsync_dir(dir, "the names an earlier process left")
            .map_err(FileError::io("sync the directory", dir))?;
        let journal = Journal::open(&*disk, &lock_path)?;
        let rotated = rotated_files(&*disk, dir, name)?;
        let newest = rotated.iter().map(|(number, _)| *number).max().unwrap_or(0);
        let mut writer = Self {
            file: open_or_create(&*disk, &path)?,
            disk,
            path,
            rotate,
            length: 0,
            durable: 0,
            tail: Tail::default(),
            number: (newest + 1).max(state.map_or(0, |state| state.number)),
            begun_ms: now_ms,
            sealed: None,
            through: 0,
            poisoned: false,
            buffer: Vec::new(),
            journal,
            _lock: lock,
        };
        writer.recover(state, &rotated, now_ms)?;
        Ok(writer)
    }

    /// Finds the file that `state` speaks of and drops what was written after it.
    fn recover(
        &mut self,
        state: Option<FileState>,
        rotated: &[(u64, PathBuf)],
        now_ms: u64,
    ) -> Result<(), FileError> {
        let found = self.file.stat().map_err(FileError::io("look at", &self.path))?.len;
        if let Some(state) = state {
            if let Some(tail) = matching_tail(&*self.file, found, &state, &self.path)? {
                self.begun_ms = state.begun_ms;
                return self.go_on_at(state.length, found, tail, now_ms);
            }
            let later = rotated.iter().filter(|(number, path)| *number >= state.number && !is_damaged(path));
            for (_, path) in later {
                let file = self.disk.open(path, Open::Read).map_err(FileError::io("open", path))?;
                let len = file.stat().map_err(FileError::io("look at", path))?.len;
                if matching_tail(&*file, len, &state, path)?.is_some() {
                    self.sealed = Some(state);
                    return self.go_on_at(0, found, Vec::new(), now_ms); // begun after the checkpoint
                }
            }
            warn!(path = %self.path.display(), "not the file that the checkpoint knows; it is left as it is");
        }
        let problem = if !has_whole_lines(&*self.file, found, &self.path)? {
            "a line is broken".to_owned()
        } else {
            let tail = read_tail(&*self.file, found, &self.path)?;
            match self.go_on_at(found, found, tail, now_ms) {
                Ok(()) => return Ok(()),
                // What reads show may not be on the disk, and no later sync would tell.
                Err(error) => error.to_string(),
            }
        };
        let aside = self.rotated_path(now_ms, DAMAGED);
        warn!(path = %self.path.display(), aside = %aside.display(), problem, "file moved aside");
        self.begin_next(&aside, now_ms)
    }

    fn go_on_at(&mut self, length: u64, found: u64, tail: Vec<u8>, now_ms: u64) -> Result<(), FileError> {
        if length < found {
            let own = self.own_through(length, found);
            if self.holds_a_line(own, found)? {
                self.keep_aside(own, found, now_ms)?;
            }
            info!(path = %self.path.display(), length, found, "cut to the checkpoint");
            self.file.truncate(length).map_err(FileError::io("cut", &self.path))?;
        }
        // Were a cut (this one, or that of a failed writer) not durable before new lines are written, a crash
        // could mix old and new bytes into lines that nobody wrote.
        self.file.fdatasync("the cut before new lines").map_err(FileError::io("sync", &self.path))?;
        self.length = length;
        self.durable = length;
        self.tail = Tail::new(tail);
        Ok(())
    }

    /// How far what stands after `length` is known for ours: it was written and not acknowledged, and is written again.
    fn own_through(&self, length: u64, found: u64) -> u64 {
        let is_ours = |note: &Note| {
            (length..=found).contains(&note.length)
                && read_tail(&*self.file, note.length, &self.path).is_ok_and(|tail| hash(&tail) == note.tail)
        };
        self.journal.notes().into_iter().find(is_ours).map_or(length, |note| note.length)
    }

    /// Whether a line ends between these places. A line that we were writing when we died does not.
    fn holds_a_line(&self, from: u64, to: u64) -> Result<bool, FileError> {
        let mut found = false;
        self.each_chunk(from, to, |chunk| {
            found |= chunk.contains(&b'\n');
            Ok(())
        })?;
        Ok(found)
    }

    /// Copies what others wrote to a file of its own, durably, before it is cut away.
    fn keep_aside(&self, from: u64, to: u64, now_ms: u64) -> Result<(), FileError> {
        let (dir, _) = split(&self.path)?;
        let mut number = self.number;
        let aside = loop {
            let aside = rotated_path(&self.path, now_ms, number, CUT);
            if self.disk.stat(&aside).map_err(FileError::io("look at", &aside))?.is_none() {
                break aside;
            }
            number += 1;
        };
        let mut copy = self.disk.open(&aside, Open::CreateNew).map_err(FileError::io("create", &aside))?;
        self.each_chunk(from, to, |chunk| copy.append(chunk).map_err(FileError::io("write to", &aside)))?;
        copy.fdatasync("lines of others").map_err(FileError::io("sync", &aside))?;
        self.disk
            .fsync_dir(dir, "the name of a file with lines of others")
            .map_err(FileError::io("sync the directory", dir))?;
        warn!(
            path = %self.path.display(), aside = %aside.display(), from, bytes = to - from,
            "somebody else wrote to the file; these lines are moved aside"
        );
        Ok(())
    }

    fn each_chunk(
        &self,
        from: u64,
        to: u64,
        mut act: impl FnMut(&[u8]) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let mut chunk = vec![0; (to - from).min(1 << 20) as usize];
        let mut at = from;
        while at < to {
            let size = (to - at).min(chunk.len() as u64) as usize;
            let read = &mut chunk[..size];
            self.file.read_exact_at(read, at).map_err(FileError::io("read", &self.path))?;
            act(read)?;
            at += size as u64;
        }
        Ok(())
    }

    /// Appends a delivery's lines. They are durable after [`Writer::durable`] only.
    pub(crate) fn write(&mut self, delivery: &Delivery, now_ms: u64) -> Result<(), FileError> {
        check_content_type(&delivery.messages.content_type)?;
        self.guarded(|writer| {
            writer.rotate_if_old(now_ms)?;
            writer.buffer.clear();
            for (_, message) in delivery.messages() {
                let Some(body) = message.body else { continue };
                let line = body.len() as u64 + 1;
                let written = writer.length + writer.buffer.len() as u64;
                if written > 0 && writer.rotate.max_bytes.is_some_and(|most| written + line > most) {
                    writer.flush()?;
                    writer.rotate(now_ms)?;
                }
                if writer.length == 0 && writer.buffer.is_empty() {
                    writer.begun_ms = now_ms;
                }
                push_line(&mut writer.buffer, body)?;
                if writer.buffer.len() >= BUFFER_BYTES {
                    writer.flush()?;
                }
            }
            writer.flush()?;
            writer.through = delivery.seq;
            Ok(())
        })
    }

    /// Makes everything taken durable.
    pub(crate) fn durable(&mut self) -> Result<Durable, FileError> {
        self.guarded(|writer| {
            if writer.length > writer.durable {
                writer
                    .file
                    .fdatasync("lines that count as durable")
                    .map_err(FileError::io("sync", &writer.path))?;
            }
            writer.check_unchanged()?;
            writer.durable = writer.length;
            Ok(Durable { through: writer.through, state: Some(writer.state().write()) })
        })
    }

    /// Rotates a file that is old enough and not empty.
    pub(crate) fn rotate_aged(&mut self, now_ms: u64) -> Result<(), FileError> {
        self.guarded(|writer| writer.rotate_if_old(now_ms))
    }

    /// How long until the file is old enough, or for an empty one, until it can be; `None`: there is no such
    /// bound. A file begins with its first line.
    pub(crate) fn until_old(&self, now_ms: u64) -> Option<Duration> {
        let begun_ms = if self.length == 0 { now_ms } else { self.begun_ms };
        let age = Duration::from_millis(now_ms.saturating_sub(begun_ms));
        Some(Duration::from_secs(self.rotate.max_age_secs?).saturating_sub(age))
    }

    fn rotate_if_old(&mut self, now_ms: u64) -> Result<(), FileError> {
        if self.until_old(now_ms) == Some(Duration::ZERO) { self.rotate(now_ms) } else { Ok(()) }
    }

    fn state(&self) -> FileState {
        match self.sealed {
            Some(sealed) if self.length == 0 => sealed,
            _ => FileState::new(self.length, self.tail.bytes(), self.number, self.begun_ms),
        }
    }

    /// Runs `act`. After a failure nothing on this handle can be trusted: the file is cut back to what was
    /// durable while we still know how much that is, and every later call is refused.
    fn guarded<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, FileError>) -> Result<T, FileError> {
        if self.poisoned {
            return Err(FileError::Poisoned { path: self.path.clone() });
        }
        let result = act(self);
        if let Err(error) = &result {
            self.poisoned = true;
            // What others wrote meanwhile is sorted out by the next open.
            if !matches!(error, FileError::Changed { .. })
                && self.ends_as_written()
                && let Err(error) = self.file.truncate(self.durable)
            {
                warn!(path = %self.path.display(), %error, "could not cut the file back");
            }
        }
        result
    }

    /// Whether the file ends with what we wrote, or with a part of what we were writing.
    fn ends_as_written(&self) -> bool {
        let Ok(found) = self.file.stat() else { return false };
        let Some(more) = found.len.checked_sub(self.length) else { return false };
        let Some(ours) = self.buffer.get(..more as usize) else { return false };
        let mut there = vec![0; ours.len()];
        self.file.read_exact_at(&mut there, self.length).is_ok() && there == ours
    }

    fn flush(&mut self) -> Result<(), FileError> {
        if !self.buffer.is_empty() {
            let mut tail = self.tail.clone();
            tail.push(&self.buffer);
            let length = self.length + self.buffer.len() as u64;
            self.journal.note(Note { length, tail: hash(tail.bytes()) });
            self.file.append(&self.buffer).map_err(FileError::io("write to", &self.path))?;
            self.length = length;
            self.tail = tail;
            self.buffer.clear();
            self.buffer.shrink_to(2 * BUFFER_BYTES); // one huge line is no reason to keep its room
        }
        Ok(())
    }

    fn rotate(&mut self, now_ms: u64) -> Result<(), FileError> {
        if self.length > self.durable {
            self.file
                .fdatasync("lines of a file that is rotated")
                .map_err(FileError::io("sync", &self.path))?;
        }
        self.check_unchanged()?;
        self.durable = self.length;
        self.sealed = Some(self.state());
        let to = self.rotated_path(now_ms, "");
        info!(path = %self.path.display(), to = %to.display(), bytes = self.length, "rotate");
        self.begin_next(&to, now_ms)
    }

    /// Gives the active file the name `to` and begins another.
    fn begin_next(&mut self, to: &Path, now_ms: u64) -> Result<(), FileError> {
        let (dir, _) = split(&self.path)?;
        self.disk.rename(&self.path, to).map_err(FileError::io("rename", &self.path))?;
        // The next file takes the old name: if its entry came first, a crash would lose the old file.
        self.disk
            .fsync_dir(dir, "a rotated file's name")
            .map_err(FileError::io("sync the directory", dir))?;
        self.file = open_or_create(&*self.disk, &self.path)?;
        self.length = 0;
        self.durable = 0;
        self.tail = Tail::default();
        self.number += 1;
        self.begun_ms = now_ms;
        Ok(())
    }

    fn rotated_path(&self, now_ms: u64, suffix: &str) -> PathBuf {
        rotated_path(&self.path, now_ms, self.number, suffix)
    }

    /// Fails if the path no longer leads to our file, or the file is not as long as we wrote it.
    fn check_unchanged(&self) -> Result<(), FileError> {
        let look = FileError::io("look at", &self.path);
        let (ours, there) = match self.file.stat().and_then(|ours| Ok((ours, self.disk.stat(&self.path)?))) {
            Ok(both) => both,
            Err(error) => return Err(look(error)),
        };
        if ours.len == self.length && there.is_some_and(|there: Stat| there.id == ours.id) {
            return Ok(());
        }
        Err(FileError::Changed { path: self.path.clone() })
    }
}

/// Refuses a file at `path` that no sink can have begun: where one had the path, its lock file stands beside it.
fn refuse_foreign(disk: &dyn Disk, path: &Path, state: Option<&FileState>) -> Result<(), FileError> {
    match disk.stat(path).map_err(FileError::io("look at", path))? {
        Some(stat) if stat.is_file && stat.len > 0 => {}
        _ => return Ok(()),
    }
    let file = disk.open(path, Open::Read).map_err(FileError::io("open", path))?;
    let len = file.stat().map_err(FileError::io("look at", path))?.len;
    let known = match state {
        Some(state) => matching_tail(&*file, len, state, path)?.is_some(), // copied here without its lock file
        None => false,
    };
    if known || has_whole_lines(&*file, len, path)? {
        return Ok(());
    }
    Err(FileError::NotOurs { path: path.to_owned() })
}

fn split(path: &Path) -> Result<(&Path, &str), FileError> {
    let parts = path.parent().zip(path.file_name().and_then(|name| name.to_str()));
    parts.ok_or_else(|| FileError::NotAFile { path: path.to_owned() })
}

fn lock(disk: &dyn Disk, path: &Path, lock_path: &Path) -> Result<Box<dyn Send>, FileError> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        if let Some(lock) = disk.lock(lock_path).map_err(FileError::io("lock", lock_path))? {
            return Ok(lock);
        }
        if Instant::now() >= deadline {
            return Err(FileError::InUse { path: path.to_owned() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The file, and if it had to be made, its name durable.
fn open_or_create(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskFile>, FileError> {
    match disk.stat(path).map_err(FileError::io("look at", path))? {
        Some(stat) if !stat.is_file => return Err(FileError::NotAFile { path: path.to_owned() }),
        Some(_) => return disk.open(path, Open::Append).map_err(FileError::io("open", path)),
        None => {}
    }
    let file = disk.open(path, Open::CreateNew).map_err(FileError::io("create", path))?;
    let (dir, _) = split(path)?;
    disk.fsync_dir(dir, "a new file's name").map_err(FileError::io("sync the directory", dir))?;
    Ok(file)
}

/// The rotated files of `name`, with their numbers.
fn rotated_files(disk: &dyn Disk, dir: &Path, name: &str) -> Result<Vec<(u64, PathBuf)>, FileError> {
    let names = disk.list(dir).map_err(FileError::io("list", dir))?;
    let rotated = names.into_iter().filter_map(|other| {
        let (time, number) = other.strip_prefix(name)?.strip_prefix('.')?.split_once('-')?;
        let number = number.strip_suffix(DAMAGED).unwrap_or(number);
        let ours = time.len() == 16 && time.ends_with('Z');
        ours.then(|| Some((number.parse().ok()?, dir.join(&other)))).flatten()
    });
    Ok(rotated.collect())
}

fn rotated_path(path: &Path, now_ms: u64, number: u64, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{number:06}{suffix}", utc::stamp(now_ms)));
    name.into()
}

fn is_damaged(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(DAMAGED.as_bytes())
}

/// The end of the part that `state` speaks of, if this is that file.
fn matching_tail(
    file: &dyn DiskFile,
    len: u64,
    state: &FileState,
    path: &Path,
) -> Result<Option<Vec<u8>>, FileError> {
    if len < state.length {
        return Ok(None);
    }
    let tail = read_tail(file, state.length, path)?;
    let same = FileState::new(state.length, &tail, state.number, state.begun_ms) == *state;
    Ok(same.then_some(tail))
}

fn read_tail(file: &dyn DiskFile, length: u64, path: &Path) -> Result<Vec<u8>, FileError> {
    let size = length.min(TAIL_BYTES as u64);
    let mut tail = vec![0; size as usize];
    match file.read_exact_at(&mut tail, length - size) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(FileError::Changed { path: path.to_owned() })
        }
        Err(error) => Err(FileError::io("read", path)(error)),
        Ok(()) => Ok(tail),
    }
}
