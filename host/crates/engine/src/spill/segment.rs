//! The files of the spill.
//!
//! ```text
//! "DFSPILL1"  first number: u64
//! record:     meta length: u64  payload length: u64  number: u64  xxh3 of all the others: u64  meta  payload
//! ```
//!
//! with little-endian numbers. The file's name is the first number, so that names sort as records do. Nothing
//! read here is trusted before its checksum holds.

use std::io;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::Record;
use crate::disk::{Disk, DiskFile, Open};

const MAGIC: &[u8; 8] = b"DFSPILL1";
pub(super) const SEGMENT_HEADER: u64 = 16;
const RECORD_HEADER: usize = 32;
const CHUNK: usize = 1 << 20;

/// What a record takes on disk.
pub(super) fn record_bytes(record: &Record) -> u64 {
    (RECORD_HEADER + record.meta.len() + record.payload.len()) as u64
}

/// Where the records of one file are.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: u64,
    /// Where each record begins and ends; `None`: it is damaged. The last one never is.
    spans: Vec<Option<(u64, u64)>>,
    /// Where the last one ends.
    pub(super) end: u64,
}

impl Segment {
    pub(super) fn new(first: u64) -> Self {
        Self { first, spans: Vec::new(), end: SEGMENT_HEADER }
    }

    /// The number after its last record.
    pub(super) fn next(&self) -> u64 {
        self.first + self.spans.len() as u64
    }

    /// Where a record begins and ends; `None`: it is damaged, or is not here.
    pub(super) fn span(&self, number: u64) -> Option<(u64, u64)> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.spans.get(at).copied().flatten()
    }

    /// Numbers of its damaged records.
    pub(super) fn damaged(&self) -> impl Iterator<Item = u64> {
        (self.first..).zip(&self.spans).filter(|(_, span)| span.is_none()).map(|(number, _)| number)
    }

    /// Notes the record that follows the last one.
    pub(super) fn add(&mut self, bytes: u64) {
        self.spans.push(Some((self.end, self.end + bytes)));
        self.end += bytes;
    }

    /// Reads through the file at `path` up to its last whole record that comes before number `before`. Also tells how
    /// many bytes follow that.
    ///
    /// Each record bears its number and a checksum, so nothing hangs on the bytes around it: what is damaged is passed
    /// by, up to the next one that is whole.
    pub(super) fn load(disk: &dyn Disk, path: &Path, first: u64, before: u64) -> io::Result<(Self, u64)> {
        let mut segment = Self::new(first);
        let file = disk.open(path, Open::Read)?;
        let len = file.stat()?.len;
        if len < SEGMENT_HEADER {
            return Ok((segment, len));
        }
        let mut chunk = vec![0; CHUNK];
        while segment.next() < before {
            let number = segment.next();
            if let Some(bytes) = check_record(&*file, segment.end, len, number, &mut chunk)? {
                segment.add(bytes);
                continue;
            }
            let Some(found) = find_record(&*file, segment.end, len, number, before, &mut chunk)? else {
                break;
            };
            let damaged = usize::try_from(found.number - first).expect("as many records fit into the file");
            segment.spans.resize(damaged, None);
            segment.end = found.at;
            segment.add(found.bytes);
        }
        let rest = len - segment.end;
        Ok((segment, rest))
    }
}

/// How a file begins.
pub(super) fn segment_header(first: u64) -> [u8; SEGMENT_HEADER as usize] {
    let mut header = [0; SEGMENT_HEADER as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..].copy_from_slice(&first.to_le_bytes());
    header
}

/// A record's header but for the checksum.
fn lengths(meta: u64, payload: u64, number: u64) -> [u8; RECORD_HEADER - 8] {
    let mut header = [0; RECORD_HEADER - 8];
    header[..8].copy_from_slice(&meta.to_le_bytes());
    header[8..16].copy_from_slice(&payload.to_le_bytes());
    header[16..].copy_from_slice(&number.to_le_bytes());
    header
}

/// What stands before a record's meta and payload.
pub(super) fn record_header(number: u64, record: &Record) -> [u8; RECORD_HEADER] {
    let lengths = lengths(record.meta.len() as u64, record.payload.len() as u64, number);
    let mut hash = Xxh3::new();
    for part in [&lengths[..], &record.meta, &record.payload] {
        hash.update(part);
    }
    let mut header = [0; RECORD_HEADER];
    header[..RECORD_HEADER - 8].copy_from_slice(&lengths);
    header[RECORD_HEADER - 8..].copy_from_slice(&hash.digest().to_le_bytes());
    header
}

/// Lengths of meta and payload, and the checksum; `None` when this is not the header of record `number`.
fn take_header(header: &[u8; RECORD_HEADER], number: u64) -> Option<(u64, u64, u64)> {
    let word = |at: usize| header[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    (word(16)? == number).then_some((word(0)?, word(8)?, word(24)?))
}

/// The size of record `number` at `at` of a file of `len` bytes; `None` when it is not whole.
fn check_record(
    file: &dyn DiskFile,
    at: u64,
    len: u64,
    number: u64,
    chunk: &mut [u8],
) -> io::Result<Option<u64>> {
    let mut header = [0; RECORD_HEADER];
    if len - at < RECORD_HEADER as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut header, at)?;
    let Some((meta, payload, sum)) = take_header(&header, number) else { return Ok(None) };
    let body = at + RECORD_HEADER as u64;
    let Some(end) = payload.checked_add(meta).and_then(|size| size.checked_add(body)) else {
        return Ok(None);
    };
    if end > len {
        return Ok(None);
    }
    let mut hash = Xxh3::new();
    hash.update(&header[..RECORD_HEADER - 8]);
    let mut from = body;
    while from < end {
        let size = (end - from).min(chunk.len() as u64) as usize;
        file.read_exact_at(&mut chunk[..size], from)?;
        hash.update(&chunk[..size]);
        from += size as u64;
    }
    Ok((hash.digest() == sum).then_some(end - at))
}

/// A whole record.
struct Found {
    number: u64,
    at: u64,
    bytes: u64,
}

/// The first whole record behind the damaged one, `number`, that begins at `at`: where its header says, or wherever
/// there is one. Its number is below `before`.
fn find_record(
    file: &dyn DiskFile,
    at: u64,
    len: u64,
    number: u64,
    before: u64,
    chunk: &mut [u8],
) -> io::Result<Option<Found>> {
    let mut header = [0; RECORD_HEADER];
    if len - at < RECORD_HEADER as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut header, at)?;
    if let Some((meta, payload, _)) = take_header(&header, number)
        && let Some(bytes) = meta.checked_add(payload)
        && let Some(next) = bytes.checked_add(at + RECORD_HEADER as u64)
        && next <= len
        && number + 1 < before
        && let Some(bytes) = check_record(file, next, len, number + 1, chunk)?
    {
        return Ok(Some(Found { number: number + 1, at: next, bytes }));
    }
    // No more records than fit into the file can have come between.
    let before = before.min(number + 1 + (len - at) / RECORD_HEADER as u64);
    let mut window = vec![0; CHUNK];
    let mut from = at + 1;
    while len.saturating_sub(from) >= RECORD_HEADER as u64 {
        let size = (len - from).min(window.len() as u64) as usize;
        file.read_exact_at(&mut window[..size], from)?;
        let starts = size - RECORD_HEADER + 1;
        for start in 0..starts {
            let bytes = window[start + 16..].first_chunk().expect("a header fits behind each start");
            let number = (number + 1..before).contains(&u64::from_le_bytes(*bytes));
            if !number {
                continue;
            }
            let (number, at) = (u64::from_le_bytes(*bytes), from + start as u64);
            if let Some(bytes) = check_record(file, at, len, number, chunk)? {
                return Ok(Some(Found { number, at, bytes }));
            }
        }
        from += starts as u64;
    }
    Ok(None)
}

/// Reads record `number` from its `span` of the file; `None` when that is not what was written.
pub(super) fn read_record(
    file: &dyn DiskFile,
    (start, end): (u64, u64),
    number: u64,
) -> io::Result<Option<Record>> {
    let mut header = [0; RECORD_HEADER];
    file.read_exact_at(&mut header, start)?;
    let body = end - start - RECORD_HEADER as u64;
    let Some((meta, payload, sum)) = take_header(&header, number) else { return Ok(None) };
    if meta.checked_add(payload) != Some(body) {
        return Ok(None);
    }
    let mut record = Record { meta: vec![0; meta as usize], payload: vec![0; payload as usize] };
    file.read_exact_at(&mut record.meta, end - body)?;
    file.read_exact_at(&mut record.payload, end - payload)?;
    Ok((record_header(number, &record)[RECORD_HEADER - 8..] == sum.to_le_bytes()).then_some(record))
}

/// Reads the meta of record `number`, which was whole when it was found or written, from its `span` of the file.
pub(super) fn read_meta(
    file: &dyn DiskFile,
    (start, end): (u64, u64),
    number: u64,
) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; RECORD_HEADER];
    file.read_exact_at(&mut header, start)?;
    let body = end - start - RECORD_HEADER as u64;
    let Some((meta, _, _)) = take_header(&header, number).filter(|(meta, ..)| *meta <= body) else {
        return Ok(None);
    };
    let mut bytes = vec![0; meta as usize];
    file.read_exact_at(&mut bytes, end - body)?;
    Ok(Some(bytes))
}
