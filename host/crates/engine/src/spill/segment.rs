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

/// What a record takes on disk.
pub(super) fn record_bytes(record: &Record) -> u64 {
    (RECORD_HEADER + record.meta.len() + record.payload.len()) as u64
}

/// Where the records of one file are.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: u64,
    /// Where each record begins.
    pub(super) starts: Vec<u64>,
    /// Where the last one ends.
    pub(super) end: u64,
}

impl Segment {
    pub(super) fn new(first: u64) -> Self {
        Self { first, starts: Vec::new(), end: SEGMENT_HEADER }
    }

    /// The number after its last record.
    pub(super) fn next(&self) -> u64 {
        self.first + self.starts.len() as u64
    }

    pub(super) fn range(&self, number: u64) -> Option<(u64, u64)> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let start = *self.starts.get(at)?;
        Some((start, self.starts.get(at + 1).copied().unwrap_or(self.end)))
    }

    /// Reads through the file at `path` up to its end, a record that is not whole, or the record `before`.
    pub(super) fn load(disk: &dyn Disk, path: &Path, first: u64, before: u64) -> io::Result<Self> {
        let mut segment = Self::new(first);
        let file = disk.open(path, Open::Read)?;
        let len = file.stat()?.len;
        let mut header = [0; SEGMENT_HEADER as usize];
        if len < SEGMENT_HEADER {
            return Ok(segment);
        }
        file.read_exact_at(&mut header, 0)?;
        if header != segment_header(first) {
            return Ok(segment);
        }
        let mut chunk = vec![0; 1 << 20];
        while segment.next() < before {
            let Some(size) = check_record(&*file, segment.end, len, segment.next(), &mut chunk)? else {
                break;
            };
            segment.starts.push(segment.end);
            segment.end += size;
        }
        Ok(segment)
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

pub(super) fn put_record(out: &mut Vec<u8>, number: u64, record: &Record) {
    let lengths = lengths(record.meta.len() as u64, record.payload.len() as u64, number);
    let mut hash = Xxh3::new();
    for part in [&lengths[..], &record.meta, &record.payload] {
        hash.update(part);
    }
    out.extend_from_slice(&lengths);
    out.extend_from_slice(&hash.digest().to_le_bytes());
    out.extend_from_slice(&record.meta);
    out.extend_from_slice(&record.payload);
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

/// The record in these bytes; `None` when they are not what was written.
pub(super) fn take_record(mut bytes: Vec<u8>, number: u64) -> Option<Record> {
    let (meta, payload, sum) = take_header(bytes.first_chunk()?, number)?;
    let mut hash = Xxh3::new();
    hash.update(&bytes[..RECORD_HEADER - 8]);
    hash.update(&bytes[RECORD_HEADER..]);
    let whole = meta.checked_add(payload)? == (bytes.len() - RECORD_HEADER) as u64;
    if !whole || hash.digest() != sum {
        return None;
    }
    let payload = bytes.split_off(RECORD_HEADER + meta as usize);
    Some(Record { meta: bytes.split_off(RECORD_HEADER), payload })
}
