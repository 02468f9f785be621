#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;
use crate::disk::RealDisk;
use crate::disk::sim::{SimDisk, SimRng};

const DIR: &str = "/data/spill/t/p/s";
const SMALL: SpillLimits = SpillLimits { max_bytes: 20_000, segment_bytes: 3_000 };

fn record(number: u64, len: usize) -> Record {
    let fill = (number % 251) as u8;
    Record { meta: format!("{{\"through\":{number}}}").into_bytes(), payload: vec![fill; len] }
}

fn open(disk: &SimDisk, limits: SpillLimits, acked: u64) -> Result<Spill, SpillError> {
    Spill::open(Arc::new(disk.clone()), PathBuf::from(DIR), limits, acked)
}

#[test]
fn records_come_back_in_order_and_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = |acked| {
        Spill::open(Arc::new(RealDisk), dir.path().join("a/b"), SpillLimits::default(), acked).unwrap()
    };
    let mut spill = open(0);
    assert_eq!((spill.is_empty(), spill.bytes(), spill.oldest()), (true, 0, None));
    assert_eq!(spill.push(&record(1, 10)).unwrap(), Pushed::As(1));
    assert_eq!(spill.push(&record(2, 0)).unwrap(), Pushed::As(2));
    assert_eq!(spill.read_next().unwrap(), Some((1, record(1, 10))));
    assert_eq!(spill.push(&record(3, 100_000)).unwrap(), Pushed::As(3));
    drop(spill);
    let mut spill = open(1);
    assert_eq!((spill.oldest(), spill.newest(), spill.len()), (Some(2), Some(3), 2));
    assert_eq!(spill.read_next().unwrap(), Some((2, record(2, 0))));
    assert_eq!(spill.read_next().unwrap(), Some((3, record(3, 100_000))));
    assert_eq!(spill.read_next().unwrap(), None);
    spill.rewind();
    assert_eq!(spill.read_next().unwrap().unwrap().0, 2);
    spill.ack(3).unwrap();
    assert_eq!((spill.is_empty(), spill.bytes(), spill.read_next().unwrap()), (true, 0, None));
    assert_eq!(spill.push(&record(4, 1)).unwrap(), Pushed::As(4), "numbers are never used again");
    drop(spill);
    assert_eq!(open(4).push(&record(5, 1)).unwrap(), Pushed::As(5));
}

#[test]
fn the_bound_holds_and_acked_segments_make_room() {
    let disk = SimDisk::new();
    let mut spill = open(&disk, SMALL, 0).unwrap();
    let mut pushed = 0;
    while let Pushed::As(number) = spill.push(&record(pushed + 1, 1_000)).unwrap() {
        pushed = number;
        assert!(spill.bytes() <= SMALL.max_bytes);
    }
    let on_disk: usize = disk
        .list(Path::new(DIR))
        .unwrap()
        .iter()
        .map(|name| disk.read(&Path::new(DIR).join(name)).unwrap().len())
        .sum();
    assert_eq!(on_disk as u64, spill.bytes());
    assert!(pushed >= 15, "{pushed}");
    assert_eq!(spill.push(&record(1, 1_000)).unwrap(), Pushed::Full);
    spill.ack(1).unwrap();
    assert_eq!(spill.push(&record(1, 1_000)).unwrap(), Pushed::Full, "a segment goes away whole");
    spill.ack(2).unwrap();
    assert_eq!(spill.push(&record(1, 1_000)).unwrap(), Pushed::As(pushed + 1));
    assert_eq!(spill.push(&record(1, 100_000)).unwrap(), Pushed::Full);
}

#[test]
fn a_torn_end_is_cut() {
    let disk = SimDisk::new();
    let mut spill = open(&disk, SpillLimits::default(), 0).unwrap();
    spill.push(&record(1, 50)).unwrap();
    spill.push(&record(2, 50)).unwrap();
    let path = spill.path(1);
    let whole = disk.read(&path).unwrap();
    for len in 0..whole.len() {
        let disk = SimDisk::new();
        drop(open(&disk, SMALL, 0).unwrap());
        disk.put(&path, &whole[..len]).unwrap();
        let mut spill = open(&disk, SMALL, 0).unwrap();
        let mut read = Vec::new();
        while let Some((number, record)) = spill.read_next().unwrap() {
            read.push((number, record));
        }
        let second = whole.len() - (whole.len() - 16) / 2;
        let expected = usize::from(len >= second);
        assert_eq!(read.len(), expected, "{len} of {} bytes", whole.len());
        let next = expected as u64 + 1;
        assert_eq!(spill.push(&record(next, 9)).unwrap(), Pushed::As(next));
        assert_eq!(spill.read_next().unwrap(), Some((next, record(next, 9))));
    }
}

#[test]
fn damage_before_the_end_is_told_and_can_be_passed() {
    let disk = SimDisk::new();
    let mut spill = open(&disk, SMALL, 0).unwrap();
    for number in 1..=9 {
        spill.push(&record(number, 900)).unwrap();
    }
    // Found while reading.
    assert_eq!(spill.read_next().unwrap().unwrap().0, 1);
    rot(&disk, &spill.path(1), 1_500);
    spill.reading = None;
    for _ in 0..2 {
        let error = spill.read_next().unwrap_err();
        assert!(matches!(&error, SpillError::Damaged { lost } if *lost == (2..=2)), "{error}");
    }
    spill.pass(2);
    assert_eq!(spill.read_next().unwrap(), Some((3, record(3, 900))));
    spill.ack(3).unwrap();
    // Found at the open.
    rot(&disk, &spill.path(4), 1_500);
    drop(spill);
    let mut spill = open(&disk, SMALL, 3).unwrap();
    assert_eq!(spill.lost(), [5..=5]);
    assert_eq!(spill.read_next().unwrap().unwrap().0, 4);
    assert!(matches!(spill.read_next().unwrap_err(), SpillError::Damaged { lost } if lost == (5..=5)));
    spill.pass(5);
    assert_eq!(spill.read_next().unwrap(), Some((6, record(6, 900))));
    spill.ack(6).unwrap();
    assert_eq!(spill.lost(), []);
    // A file that is gone as a whole.
    disk.remove(&spill.path(7)).unwrap();
    disk.put(&spill.path(9), b"").unwrap();
    let mut spill = open(&disk, SMALL, 6).unwrap();
    assert_eq!(spill.push(&record(9, 900)).unwrap(), Pushed::As(9), "its number was not used again");
}

/// Flips a bit.
fn rot(disk: &SimDisk, path: &Path, at: usize) {
    let mut bytes = disk.read(path).unwrap();
    bytes[at] ^= 1;
    disk.put(path, &bytes).unwrap();
}

#[test]
fn one_wrong_byte_costs_one_record_wherever_it_is() {
    let whole = SimDisk::new();
    let mut spill = open(&whole, SMALL, 0).unwrap();
    for number in 1..=5 {
        spill.push(&record(number, 40)).unwrap();
    }
    let (path, bytes) = (spill.path(1), whole.read(&spill.path(1)).unwrap());
    let each = (bytes.len() - 16) / 5;
    for at in 0..bytes.len() {
        let disk = SimDisk::new();
        drop(open(&disk, SMALL, 0).unwrap());
        disk.put(&path, &bytes).unwrap();
        rot(&disk, &path, at);
        let mut spill = open(&disk, SMALL, 0).unwrap();
        let mut read = Vec::new();
        loop {
            match spill.read_next() {
                Ok(Some((number, found))) if found == record(number, 40) => read.push(number),
                Ok(None) => break,
                Err(SpillError::Damaged { lost }) => spill.pass(*lost.end()),
                other => panic!("{at}: {other:?}"),
            }
        }
        let hit = at.checked_sub(16).map(|at| at / each + 1);
        let expected: Vec<u64> = (1..=5).filter(|number| Some(*number as usize) != hit).collect();
        assert_eq!(read, expected, "byte {at}");
        // The last one looks as if it had never been finished.
        let next = if hit == Some(5) { 5 } else { 6 };
        assert_eq!(spill.push(&record(next, 9)).unwrap(), Pushed::As(next), "byte {at}");
        drop(spill);
        let mut spill = open(&disk, SMALL, next - 1).unwrap();
        assert_eq!(spill.read_next().unwrap(), Some((next, record(next, 9))));
    }
}

#[test]
fn a_full_disk_is_an_error_and_a_later_push_works() {
    let disk = SimDisk::new();
    let mut spill = open(&disk, SMALL, 0).unwrap();
    spill.push(&record(1, 500)).unwrap();
    disk.set_capacity(Some(800));
    assert!(spill.push(&record(2, 500)).is_err());
    assert!(spill.push(&record(2, 500)).is_err());
    disk.set_capacity(None);
    assert_eq!(spill.push(&record(2, 500)).unwrap(), Pushed::As(2));
    disk.crash(3);
    let mut spill = open(&disk, SMALL, 0).unwrap();
    assert_eq!(spill.read_next().unwrap(), Some((1, record(1, 500))));
    assert_eq!(spill.read_next().unwrap(), Some((2, record(2, 500))));
    assert_eq!(spill.read_next().unwrap(), None);
}

#[test]
fn names_become_directories_that_stay_inside_and_apart() {
    let dir = |sink| spill_dir(Path::new("/data"), "acme", "orders.eu", sink);
    assert_eq!(dir("http"), Path::new("/data/spill/acme/orders.eu/http"));
    assert_eq!(dir("../x"), Path::new("/data/spill/acme/orders.eu/%2E.%2Fx"));
    assert_eq!(dir(""), Path::new("/data/spill/acme/orders.eu/%"));
    assert_ne!(dir("%2Fa"), dir("/a"));
}

/// A random history of pushes, reads, acks, faults, kills and crashes; an error is a broken promise.
fn run(seed: u64, ignored: Option<&'static str>) -> (Result<(), String>, BTreeSet<&'static str>) {
    let disk = SimDisk::new();
    if let Some(purpose) = ignored {
        disk.ignore_syncs(purpose);
    }
    let mut rng = SimRng::new(seed);
    let (mut pushed, mut stored) = (0, 0);
    let mut result = Ok(());
    for _ in 0..8 {
        match rng.below(4) {
            0 | 1 => disk.crash_after(rng.below(40)),
            2 => disk.fail_sync(rng.below(6), rng.next_u64()),
            _ => {}
        }
        for _ in 0..2 {
            result = live(&disk, &mut rng, &mut pushed, &mut stored);
            if result.is_err() {
                return (result, disk.sync_purposes());
            }
        }
        disk.set_capacity(None);
        if rng.chance(3) { disk.kill() } else { disk.crash(rng.next_u64()) }
    }
    (result, disk.sync_purposes())
}

/// `pushed`: through here the spill said so; `stored`: through here the checkpoint says the sink is done.
fn live(disk: &SimDisk, rng: &mut SimRng, pushed: &mut u64, stored: &mut u64) -> Result<(), String> {
    let Ok(mut spill) = open(disk, SMALL, *stored) else { return Ok(()) };
    if let Some(lost) = spill.lost().first() {
        return Err(format!("{lost:?} are lost, {stored} done"));
    }
    let newest = spill.newest().unwrap_or(*stored);
    if newest < *pushed {
        return Err(format!("pushed through {pushed}, and {newest} is the last"));
    }
    *pushed = newest;
    let mut read = *stored;
    for _ in 0..rng.below(20) {
        match rng.below(5) {
            0 if read > *stored => {
                *stored += 1 + rng.below((read - *stored) as usize) as u64;
                if spill.ack(*stored).is_err() {
                    return Ok(());
                }
            }
            1 | 2 => match spill.read_next() {
                Ok(None) if read == *pushed => {}
                Ok(Some((number, found))) if number == read + 1 => {
                    if found != record(number, found.payload.len()) {
                        return Err(format!("record {number} is not what was pushed"));
                    }
                    read = number;
                }
                Err(SpillError::Io { .. }) => return Ok(()),
                other => return Err(format!("after {read} of {pushed} came {other:?}")),
            },
            _ => {
                if rng.chance(10) {
                    disk.set_capacity(Some(rng.below(30_000)));
                }
                for _ in 0..1 + rng.below(3) {
                    let next = *pushed + 1;
                    match spill.push(&record(next, [0, 40, 600, 1_400][rng.below(4)])) {
                        Ok(Pushed::As(number)) if number == next => *pushed = next,
                        Ok(Pushed::Full) => {}
                        Ok(other) => return Err(format!("{other:?} after {pushed}")),
                        Err(_) => disk.set_capacity(None), // the next push must work or fail, but not lose
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn no_crash_loses_a_record() {
    for seed in 0..1_000 {
        if let Err(problem) = run(seed, None).0 {
            panic!("seed {seed}: {problem}");
        }
    }
}

#[test]
fn every_sync_is_needed() {
    let purposes: BTreeSet<_> = (0..50).flat_map(|seed| run(seed, None).1).collect();
    let known = [
        "a directory's name",
        "a new segment's name",
        "a record that was pushed",
        "records found at the open",
        "the names found at the open",
    ];
    assert!(known.iter().eq(&purposes), "{purposes:?}");
    for purpose in purposes {
        let seed = (0..1_000).find(|seed| run(*seed, Some(purpose)).0.is_err());
        eprintln!("{purpose}: seed {seed:?}");
        assert!(seed.is_some(), "no crash noticed that {purpose:?} was not synced");
    }
}
