//! What the spill needs of memory, as the system counts it: alone in its process.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use deltaforge_engine::disk::RealDisk;
use deltaforge_engine::spill::{Pushed, Record, Spill, SpillLimits};

const MIB: usize = 1 << 20;
/// Large enough that its memory is given back as soon as it is dropped.
const LARGE: usize = 48 * MIB;

fn status(field: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    let kib: usize = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

/// By how much the memory grew at most during `work`.
fn peak<T>(work: impl FnOnce() -> T) -> (usize, T) {
    // The peak counts from now on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let result = work();
    (status("VmHWM").saturating_sub(before), result)
}

#[test]
fn a_large_record_is_written_from_where_it_is_and_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut spill =
        Spill::open(Arc::new(RealDisk), dir.path().to_owned(), SpillLimits::default(), 0).unwrap();
    let record = Record { meta: b"{}".to_vec(), payload: vec![7; LARGE] };
    let (grown, pushed) = peak(|| spill.push(&record).unwrap());
    assert_eq!(pushed, Pushed::As(1));
    assert!(grown < 4 * MIB, "{grown} bytes for a push");
    drop(record);
    let (grown, read) = peak(|| spill.read_next().unwrap().unwrap());
    assert_eq!((read.0, read.1.payload.len()), (1, LARGE));
    assert!(grown < LARGE + 4 * MIB, "{grown} bytes for a record of {LARGE}");
}
