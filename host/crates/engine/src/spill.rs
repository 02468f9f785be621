//! A queue on disk for a sink that is too slow to hold up the others: what it has not taken yet waits here, over
//! restarts, up to a bound.
//!
//! Records are numbered from 1 on and lie in append-only segment files ([`segment`] has their format); what the
//! sink is done with goes away segment by segment.
//!
//! Calls block; they belong on a thread that may.

use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use crate::disk::{Disk, DiskFile, Open, create_dirs};
use segment::{SEGMENT_HEADER, Segment, read_meta, read_record, record_bytes, record_header, segment_header};

mod segment;
#[cfg(test)]
mod tests;

const SUFFIX: &str = ".seg";
const UNFINISHED: &str = ".new";

/// What is queued. The queue looks into neither part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Progress and whatever else stands beside the batch.
    pub meta: Vec<u8>,
    /// The batch in its durable form.
    pub payload: Vec<u8>,
}

/// How much is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpillLimits {
    /// Most bytes on disk.
    pub max_bytes: u64,
    /// A segment that has grown so large is followed by another. What is done with goes away in such steps.
    pub segment_bytes: u64,
}

impl Default for SpillLimits {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, segment_bytes: 32 << 20 }
    }
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The record is durable; this is its number.
    As(u64),
    /// It would pass [`SpillLimits::max_bytes`], and was not taken.
    Full,
}

/// The queue failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpillError {
    /// The system refused or failed. What was being pushed does not count; trying again may help.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// The disk gave back other bytes than were written. The records are gone; [`Spill::pass`] goes on after them.
    #[error("records {} to {} of the spill are damaged", lost.start(), lost.end())]
    Damaged {
        /// Numbers of the records.
        lost: RangeInclusive<u64>,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpillError {
    let path = path.to_owned();
    move |cause| SpillError::Io { action, path, cause }
}

/// Where a sink's spill is kept under the data directory. Names are free text: what does not belong into a file
/// name is written as `%` and two hexadecimal digits, so that different names stay different.
pub fn spill_dir(data_dir: &Path, tenant: &str, pipeline: &str, sink: &str) -> PathBuf {
    let mut dir = data_dir.join("spill");
    for name in [tenant, pipeline, sink] {
        let mut safe = String::new();
        for (at, byte) in name.bytes().enumerate() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && at > 0) {
                safe.push(char::from(byte));
            } else {
                safe.push_str(&format!("%{byte:02X}"));
            }
        }
        dir.push(if safe.is_empty() { "%" } else { &safe });
    }
    dir
}

/// The queue. One owner; the host's lock on its data directory keeps other processes away.
#[derive(Debug)]
pub struct Spill {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: SpillLimits,
    /// Oldest first; each begins where the one before it ends, but for [`Spill::lost`] ones.
    segments: Vec<Segment>,
    /// The last segment, while it may be appended to.
    active: Option<OpenFile>,
    /// The segment being read, by its first number.
    reading: Option<(u64, OpenFile)>,
    next_number: u64,
    next_read: u64,
    acked: u64,
    lost: Vec<RangeInclusive<u64>>,
}

struct OpenFile(Box<dyn DiskFile>);

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenFile")
    }
}

impl Spill {
    /// Opens the queue in `dir`, which is made if missing, with what an earlier process left there. Everything it
    /// then holds is durable, also what that process pushed and did not live to know of.
    ///
    /// `acked`: the number through which the owner's stored checkpoint says it is done; 0 for none.
    ///
    /// # Errors
    ///
    /// [`SpillError::Io`]. Damaged records are no error here: see [`Spill::lost`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        limits: SpillLimits,
        acked: u64,
    ) -> Result<Self, SpillError> {
        create_dirs(&*disk, &dir).map_err(failed("make the directory", &dir))?;
        let mut spill = Self {
            disk,
            dir,
            limits,
            segments: Vec::new(),
            active: None,
            reading: None,
            next_number: acked + 1,
            next_read: acked + 1,
            acked,
            lost: Vec::new(),
        };
        spill.load()?;
        Ok(spill)
    }

    fn load(&mut self) -> Result<(), SpillError> {
        let mut firsts = Vec::new();
        for name in self.disk.list(&self.dir).map_err(failed("list", &self.dir))? {
            if name.ends_with(UNFINISHED) {
                let path = self.dir.join(&name);
                self.disk.remove(&path).map_err(failed("remove", &path))?;
            }
            firsts.extend(name.strip_suffix(SUFFIX).and_then(|first| first.parse::<u64>().ok()));
        }
        firsts.sort_unstable();
        let mut expected = self.acked + 1;
        for (at, first) in firsts.iter().copied().enumerate() {
            let before = firsts.get(at + 1).copied();
            let path = self.path(first);
            let (segment, rest) = if before.is_some_and(|before| before <= self.acked + 1) {
                (Segment::new(first), 0) // all of it is done with
            } else {
                Segment::load(&*self.disk, &path, first, before.unwrap_or(u64::MAX))
                    .map_err(failed("read", &path))?
            };
            if before.is_none() && rest > 0 {
                warn!(path = %path.display(), bytes = rest, "the end of the spill is not whole and is cut off");
            }
            if first > expected {
                self.lose(expected..=first - 1);
                expected = first;
            }
            for number in segment.damaged().filter(|number| *number >= expected) {
                self.lose(number..=number);
            }
            if segment.next() <= expected {
                self.disk.remove(&path).map_err(failed("remove", &path))?;
                continue;
            }
            expected = segment.next();
            self.segments.push(segment);
        }
        for lost in &self.lost {
            warn!(dir = %self.dir.display(), from = lost.start(), to = lost.end(), "spilled records are damaged");
        }
        self.next_number = self.next_number.max(expected);
        self.rewrite_last()
    }

    /// Notes records that are damaged, behind all that were noted.
    fn lose(&mut self, numbers: RangeInclusive<u64>) {
        match self.lost.last_mut() {
            Some(last) if last.end() + 1 == *numbers.start() => *last = *last.start()..=*numbers.end(),
            _ => self.lost.push(numbers),
        }
    }

    /// Copies the last segment into a new file that takes its place. An earlier process may have died before it
    /// synced the end, or after the sync failed; then reads still show what the disk does not have and a sync of
    /// the same file answers `Ok`. A new file's sync can be trusted.
    fn rewrite_last(&mut self) -> Result<(), SpillError> {
        let Some(segment) = self.segments.last() else { return Ok(()) };
        let path = self.path(segment.first);
        let copy_path = path.with_extension(&UNFINISHED[1..]);
        let from = self.disk.open(&path, Open::Read).map_err(failed("open", &path))?;
        let mut copy = self.disk.open(&copy_path, Open::CreateNew).map_err(failed("create", &copy_path))?;
        copy.append(&segment_header(segment.first)).map_err(failed("write to", &copy_path))?;
        let mut chunk = vec![0; 1 << 20];
        let mut at = SEGMENT_HEADER;
        while at < segment.end {
            let size = (segment.end - at).min(chunk.len() as u64) as usize;
            from.read_exact_at(&mut chunk[..size], at).map_err(failed("read", &path))?;
            copy.append(&chunk[..size]).map_err(failed("write to", &copy_path))?;
            at += size as u64;
        }
        copy.fdatasync("records found at the open").map_err(failed("sync", &copy_path))?;
        self.disk.rename(&copy_path, &path).map_err(failed("rename", &copy_path))?;
        self.sync_names("the names found at the open")?;
        if segment.next() == self.next_number {
            self.active = Some(OpenFile(copy));
        }
        Ok(())
    }

    /// Appends a record and waits until it is durable. So one that is not durable, and that a crash may tear, is
    /// always the last one of its file: what whole records follow was durable, and is damaged where it cannot be read.
    ///
    /// # Errors
    ///
    /// [`SpillError::Io`]: the record does not count, and the next push begins a new segment.
    pub fn push(&mut self, record: &Record) -> Result<Pushed, SpillError> {
        let number = self.next_number;
        let bytes = record_bytes(record);
        let rolls = self.active.is_none()
            || self.segments.last().is_none_or(|last| last.end + bytes > self.limits.segment_bytes);
        let more = bytes + if rolls { SEGMENT_HEADER } else { 0 };
        if self.bytes() + more > self.limits.max_bytes {
            return Ok(Pushed::Full);
        }
        if rolls {
            self.active = None;
        }
        if let Err(error) = self.append(number, rolls, record) {
            self.give_up(number, rolls);
            return Err(error);
        }
        if rolls {
            self.segments.push(Segment::new(number));
        }
        self.segments.last_mut().expect("it was there or has just been pushed").add(bytes);
        self.next_number += 1;
        Ok(Pushed::As(number))
    }

    fn append(&mut self, number: u64, rolls: bool, record: &Record) -> Result<(), SpillError> {
        let first = self.segments.last().filter(|_| !rolls).map_or(number, |last| last.first);
        let path = self.path(first);
        let mut begin = Vec::new();
        if rolls {
            self.active = Some(OpenFile(self.create(&path)?));
            begin.extend_from_slice(&segment_header(number));
        }
        begin.extend_from_slice(&record_header(number, record));
        begin.extend_from_slice(&record.meta);
        let OpenFile(file) = self.active.as_mut().expect("open, or just created");
        for bytes in [&begin, &record.payload] {
            file.append(bytes).map_err(failed("write to", &path))?;
        }
        file.fdatasync("a record that was pushed").map_err(failed("sync", &path))?;
        if rolls { self.sync_names("a new segment's name") } else { Ok(()) }
    }

    /// A file with this name can be there only from a push that failed: nothing in it counts.
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, SpillError> {
        match self.disk.open(path, Open::CreateNew) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.disk.remove(path).map_err(failed("remove", path))?;
                self.disk.open(path, Open::CreateNew).map_err(failed("create", path))
            }
            result => result.map_err(failed("create", path)),
        }
    }

    /// After a failed write or sync the file is left alone, and its room given back as far as that works.
    fn give_up(&mut self, first: u64, rolls: bool) {
        let result = match (self.active.take(), self.segments.last()) {
            (_, _) if rolls => self.disk.remove(&self.path(first)),
            (Some(OpenFile(mut file)), Some(last)) => file.truncate(last.end),
            _ => Ok(()),
        };
        if let Err(error) = result
            && error.kind() != ErrorKind::NotFound
        {
            warn!(dir = %self.dir.display(), %error, "could not give back the room of a failed push");
        }
    }

    /// The next record that was not read since the open or [`Spill::rewind`]; `None`: there is no more.
    ///
    /// Reading takes nothing away: see [`Spill::ack`].
    ///
    /// # Errors
    ///
    /// [`SpillError::Io`], or [`SpillError::Damaged`] again and again until the owner has noted the gap and goes on
    /// after it with [`Spill::pass`].
    pub fn read_next(&mut self) -> Result<Option<(u64, Record)>, SpillError> {
        let number = self.next_read;
        if number >= self.next_number {
            return Ok(None);
        }
        if let Some(lost) = self.lost.iter().find(|lost| lost.contains(&number)) {
            return Err(SpillError::Damaged { lost: number..=*lost.end() });
        }
        let Some(record) = self.read(number, read_record)? else {
            return Err(SpillError::Damaged { lost: number..=number });
        };
        self.next_read += 1;
        Ok(Some((number, record)))
    }

    /// The size of the next record to read; 0: there is none, or it is damaged.
    pub fn next_bytes(&self) -> u64 {
        let span = self.segments.iter().find_map(|segment| segment.span(self.next_read));
        span.map_or(0, |(start, end)| end - start)
    }

    /// The meta of the newest record that is not damaged; `None`: there is no record.
    ///
    /// # Errors
    ///
    /// [`SpillError::Io`].
    pub fn newest_meta(&mut self) -> Result<Option<Vec<u8>>, SpillError> {
        self.segments.last().map(|last| last.next() - 1).map_or(Ok(None), |number| self.meta(number))
    }

    /// The meta of a record; `None`: it is damaged, or not there any more.
    ///
    /// # Errors
    ///
    /// [`SpillError::Io`].
    pub fn meta(&mut self, number: u64) -> Result<Option<Vec<u8>>, SpillError> {
        self.read(number, read_meta)
    }

    fn read<T>(
        &mut self,
        number: u64,
        read: impl FnOnce(&dyn DiskFile, (u64, u64), u64) -> io::Result<Option<T>>,
    ) -> Result<Option<T>, SpillError> {
        let found = self.segments.iter().find_map(|segment| Some((segment.first, segment.span(number)?)));
        let Some((first, span)) = found else { return Ok(None) };
        let path = self.path(first);
        let file = match &mut self.reading {
            Some((open, OpenFile(file))) if *open == first => file,
            reading => {
                let file = self.disk.open(&path, Open::Read).map_err(failed("open", &path))?;
                &mut reading.insert((first, OpenFile(file))).1.0
            }
        };
        match read(&**file, span, number) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            result => result.map_err(failed("read", &path)),
        }
    }

    /// Goes on reading after `number`: what lies before it cannot be read, as the owner has noted.
    pub fn pass(&mut self, number: u64) {
        self.next_read = self.next_read.max(number + 1).min(self.next_number);
    }

    /// Reads again from the first record that is not acked: the sink was opened anew.
    pub fn rewind(&mut self) {
        self.next_read = self.acked + 1;
    }

    /// The sink is done with everything through `number`. Whole segments go away.
    ///
    /// Call it only after the checkpoint that says so is stored: what is removed here cannot be read again. It is
    /// not remembered: the next open is told by the checkpoint.
    ///
    /// # Errors
    ///
    /// When a segment could not be removed; the next call tries again.
    pub fn ack(&mut self, number: u64) -> Result<(), SpillError> {
        self.had(number);
        while let Some(oldest) = self.segments.first().filter(|oldest| oldest.next() <= self.acked + 1) {
            let first = oldest.first;
            let path = self.path(first);
            match self.disk.remove(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("remove", &path)(error));
                }
                _ => {}
            }
            self.segments.remove(0);
            self.reading.take_if(|(reading, _)| *reading == first);
        }
        if self.segments.is_empty() {
            self.active = None;
        }
        Ok(())
    }

    /// As [`Spill::ack`], before a checkpoint says so: the files stay until the next call of that.
    pub fn had(&mut self, number: u64) {
        self.acked = self.acked.max(number.min(self.next_number - 1));
        self.next_read = self.next_read.max(self.acked + 1);
        self.lost.retain(|lost| *lost.end() > self.acked);
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    /// The oldest record that is not acked.
    pub fn oldest(&self) -> Option<u64> {
        (self.acked + 1 < self.next_number).then_some(self.acked + 1)
    }

    /// The newest record that is not acked.
    pub fn newest(&self) -> Option<u64> {
        self.oldest().map(|_| self.next_number - 1)
    }

    /// How many records are not acked.
    pub fn len(&self) -> u64 {
        self.next_number - 1 - self.acked
    }

    /// Whether the sink is done with everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records that were found damaged at the open and are not acked.
    pub fn lost(&self) -> &[RangeInclusive<u64>] {
        &self.lost
    }

    fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:020}{SUFFIX}"))
    }

    fn sync_names(&self, why: &'static str) -> Result<(), SpillError> {
        self.disk.fsync_dir(&self.dir, why).map_err(failed("sync the directory", &self.dir))
    }
}
