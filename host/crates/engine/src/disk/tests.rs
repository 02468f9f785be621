#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use super::sim::SimDisk;
use super::*;

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn sim() -> SimDisk {
    let disk = SimDisk::new();
    create_dirs(&disk, Path::new("/d")).unwrap();
    disk
}

/// The same calls, the same answers.
fn exercise(disk: &dyn Disk, root: &Path) {
    let dir = root.join("a/b");
    create_dirs(disk, &dir).unwrap();
    create_dirs(disk, &dir).unwrap();
    let (one, two) = (dir.join("one"), dir.join("two"));
    assert_eq!(disk.stat(&one).unwrap(), None);
    assert_eq!(disk.open(&one, Open::Append).err().unwrap().kind(), ErrorKind::NotFound);
    let mut file = disk.open(&one, Open::CreateNew).unwrap();
    assert_eq!(disk.open(&one, Open::CreateNew).err().unwrap().kind(), ErrorKind::AlreadyExists);
    file.append(b"hello ").unwrap();
    disk.open(&one, Open::Append).unwrap().append(b"world").unwrap();
    let mut bytes = [0; 5];
    file.read_exact_at(&mut bytes, 6).unwrap();
    assert_eq!(&bytes, b"world");
    assert_eq!(file.read_exact_at(&mut bytes, 7).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    file.truncate(5).unwrap();
    file.fdatasync("test").unwrap();
    assert_eq!(file.stat().unwrap(), disk.stat(&one).unwrap().unwrap());
    assert_eq!((file.stat().unwrap().len, file.stat().unwrap().is_file), (5, true));
    assert!(!disk.stat(&dir).unwrap().unwrap().is_file);
    disk.rename(&one, &two).unwrap();
    disk.fsync_dir(&dir, "test").unwrap();
    assert_eq!(file.stat().unwrap().id, disk.stat(&two).unwrap().unwrap().id);
    assert_eq!(disk.list(&dir).unwrap(), ["two"]);
    disk.remove(&two).unwrap();
    assert!(disk.list(&dir).unwrap().is_empty());
    let lock = disk.lock(&dir.join("lock")).unwrap();
    assert!(lock.is_some());
    assert!(disk.lock(&dir.join("lock")).unwrap().is_none());
    drop(lock);
    assert!(disk.lock(&dir.join("lock")).unwrap().is_some());
}

#[test]
fn the_simulated_disk_behaves_like_a_real_one() {
    let dir = tempfile::tempdir().unwrap();
    exercise(&RealDisk, dir.path());
    exercise(&SimDisk::new(), Path::new("/"));
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
    let (mut lost, mut kept, mut torn, mut unnamed) = (0, 0, 0, 0);
    for seed in 0..200 {
        let disk = sim();
        let mut file = disk.open(&path("f"), Open::CreateNew).unwrap();
        file.append(&[1; 100]).unwrap();
        file.fdatasync("test").unwrap();
        disk.fsync_dir(Path::new("/d"), "test").unwrap();
        file.append(&[2; 2_000]).unwrap();
        disk.open(&path("g"), Open::CreateNew).unwrap();
        disk.crash(seed);
        assert!(file.append(b"x").is_err(), "a dead process writes nothing");
        let bytes = disk.read(&path("f")).unwrap();
        assert_eq!(bytes[..100], [1; 100]);
        match &bytes[100..] {
            [] => lost += 1,
            rest if rest == [2; 2_000] => kept += 1,
            _ => torn += 1,
        }
        unnamed += usize::from(disk.read(&path("g")).is_err());
    }
    assert!(lost > 20 && kept > 20 && torn > 20, "{lost} {kept} {torn}");
    assert!((50..150).contains(&unnamed), "{unnamed}");
}

#[test]
fn a_name_may_arrive_without_the_one_before_it() {
    let mut gone = 0;
    for seed in 0..200 {
        let disk = sim();
        disk.put(&path("f"), b"old").unwrap();
        disk.rename(&path("f"), &path("f.1")).unwrap();
        disk.open(&path("f"), Open::CreateNew).unwrap();
        disk.crash(seed);
        let old = [path("f"), path("f.1")].iter().any(|at| disk.read(at).is_ok_and(|bytes| bytes == b"old"));
        gone += usize::from(!old);
    }
    assert!(gone > 5, "{gone}");
}

#[test]
fn a_failed_sync_drops_dirty_data_that_reads_still_show() {
    let disk = sim();
    let mut lost = false;
    for seed in 0..20 {
        let name = path(&format!("f{seed}"));
        let mut file = disk.open(&name, Open::CreateNew).unwrap();
        disk.fsync_dir(Path::new("/d"), "test").unwrap();
        file.append(&[7; 4_000]).unwrap();
        disk.fail_sync(0, seed);
        assert!(file.fdatasync("test").is_err());
        file.fdatasync("test").unwrap();
        assert_eq!(disk.read(&name).unwrap(), [7; 4_000]);
        disk.crash(seed);
        lost |= disk.read(&name).unwrap() != [7; 4_000];
    }
    assert!(lost);
}

#[test]
fn a_full_disk_and_a_crash_point_end_a_write_in_the_middle() {
    let disk = sim();
    let mut file = disk.open(&path("f"), Open::CreateNew).unwrap();
    disk.set_capacity(Some(10));
    assert_eq!(file.append(&[1; 20]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.stat().unwrap().len, 10, "done in part");
    disk.set_capacity(None);
    disk.crash_after(1);
    file.truncate(0).unwrap();
    assert!(file.append(&[1; 20]).is_err());
    assert!(disk.rename(&path("f"), &path("g")).is_err());
    assert_eq!(file.stat().unwrap().len, 10);
    disk.kill();
    assert_eq!(disk.read(&path("f")).unwrap().len(), 10, "the machine lived on");
}

#[test]
fn an_ignored_sync_does_nothing_and_the_others_work() {
    let (mut deaf, mut heard) = (0, 0);
    for seed in 0..50 {
        let disk = sim();
        disk.ignore_syncs("deaf");
        for (name, why) in [("f", "deaf"), ("g", "heard")] {
            let mut file = disk.open(&path(name), Open::CreateNew).unwrap();
            file.append(&[2; 10]).unwrap();
            file.fdatasync(why).unwrap();
        }
        disk.fsync_dir(Path::new("/d"), "names").unwrap();
        disk.crash(seed);
        deaf += disk.read(&path("f")).unwrap().len();
        heard += disk.read(&path("g")).unwrap().len();
        assert!(["a directory's name", "deaf", "heard", "names"].iter().eq(&disk.sync_purposes()));
    }
    assert!(deaf < 400, "{deaf}");
    assert_eq!(heard, 500);
}
