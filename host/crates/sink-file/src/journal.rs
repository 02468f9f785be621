//! What a sink has written, noted beside the file, so that a later open knows its own lines from those of others.
//!
//! A note is made before the lines it is about are written, and is never synced: after a kill it is there, and after a
//! power loss it may be missing with the lines. What no note vouches for is taken for somebody else's, and kept.

use std::path::Path;

use deltaforge_engine::disk::{Disk, DiskFile, Open};

use crate::error::FileError;

/// Notes are begun anew past this size; the last one proves all that was written before it.
const MOST_BYTES: u64 = 64 << 10;

/// A file that ends with bytes of this hash at this length was written by us up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) length: u64,
    /// [`crate::state::hash`] of its last bytes.
    pub(crate) tail: u64,
}

/// The notes, as lines of the lock file.
pub(crate) struct Journal {
    file: Box<dyn DiskFile>,
    length: u64,
    last: Option<Note>,
}

impl Journal {
    /// Opens the notes in the lock file at `path`, which exists.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, FileError> {
        let file = disk.open(path, Open::Append).map_err(FileError::io("open", path))?;
        let length = file.stat().map_err(FileError::io("look at", path))?.len;
        Ok(Self { file, length, last: None })
    }

    /// Lines are about to be written. A note that fails is missing: these lines may be kept as somebody else's.
    pub(crate) fn note(&mut self, note: Note) {
        let line = |note: Note| format!("{} {:016x}\n", note.length, note.tail);
        let mut text = line(note);
        if self.length > MOST_BYTES && self.file.truncate(0).is_ok() {
            self.length = 0;
            text.insert_str(0, &self.last.map(line).unwrap_or_default());
        }
        if self.file.append(text.as_bytes()).is_ok() {
            self.length += text.len() as u64;
            self.last = Some(note);
        } else {
            // Half a line would spoil the next one.
            let _ = self.file.truncate(self.length);
        }
    }

    /// Every note, newest first.
    pub(crate) fn notes(&self) -> Vec<Note> {
        let size = self.length.min(2 * MOST_BYTES);
        let mut bytes = vec![0; size as usize];
        if self.file.read_exact_at(&mut bytes, self.length - size).is_err() {
            return Vec::new();
        }
        let lines = bytes.split(|byte| *byte == b'\n').rev();
        lines.filter_map(|line| read(std::str::from_utf8(line).ok()?)).collect()
    }
}

fn read(line: &str) -> Option<Note> {
    let (length, tail) = line.split_once(' ')?;
    Some(Note { length: length.parse().ok()?, tail: u64::from_str_radix(tail, 16).ok()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use deltaforge_engine::disk::sim::SimDisk;

    use super::*;

    #[test]
    fn notes_come_back_newest_first_and_stay_few() {
        let disk = SimDisk::new();
        let path = Path::new("/lock");
        disk.put(path, b"not a note\n").unwrap();
        let mut journal = Journal::open(&disk, path).unwrap();
        let note = |at: u64| Note { length: at, tail: at.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        for at in 0..3 {
            journal.note(note(at));
        }
        assert_eq!(Journal::open(&disk, path).unwrap().notes(), [note(2), note(1), note(0)]);
        for at in 3..20_000 {
            journal.note(note(at));
            assert!(disk.read(path).unwrap().len() as u64 <= MOST_BYTES + 50);
        }
        let notes = Journal::open(&disk, path).unwrap().notes();
        assert_eq!(notes[..2], [note(19_999), note(19_998)]);
    }
}
