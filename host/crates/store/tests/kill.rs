//! What the SQLite store has acknowledged survives `kill -9` at any moment.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::state::StateStore;
use deltaforge_store::SqliteStore;

/// Set in the child: the store's file. The child is this test binary, told to run [`child`] alone.
const CHILD_STORE: &str = "DELTAFORGE_TEST_KILL_STORE";

/// Set in the child: the first number it writes.
const CHILD_FIRST: &str = "DELTAFORGE_TEST_KILL_FIRST";

const ROUNDS: u64 = 15;
const WRITERS: u64 = 4;

fn key(number: u64) -> String {
    format!("key/{number:010}")
}

/// Not a test by itself: writes until it is killed, as several tasks so that commits are shared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(path) = std::env::var(CHILD_STORE) else { return };
    let first: u64 = std::env::var(CHILD_FIRST).unwrap().parse().unwrap();
    let store = Arc::new(SqliteStore::open(path).unwrap());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in (first + writer..).step_by(WRITERS as usize) {
                    let value = number.to_string().into_bytes();
                    store.put_many(vec![(key(number), value.clone())], None).await.unwrap();
                    let seq = store.log_append("log", vec![value]).await.unwrap();
                    writeln!(std::io::stdout(), "acknowledged {number} {seq}").unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Runs the child for a while and kills it; answers what it had been told is durable, as (number, log seq).
fn run_and_kill(store: &Path, first: u64, alive: Duration) -> Vec<(u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD_STORE, store)
        .env(CHILD_FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut child = Some(child);
    let mut acknowledged = Vec::new();
    let mut line = String::new();
    let mut killer = None;
    // A line without its end was cut by the kill.
    while lines.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        // The test harness's own words may stand before the first.
        if let Some((_, numbers)) = line.split_once("acknowledged ") {
            let (number, seq) = numbers.trim().split_once(' ').unwrap();
            acknowledged.push((number.parse().unwrap(), seq.parse().unwrap()));
            if killer.is_none() {
                let mut child = child.take().unwrap();
                killer = Some(std::thread::spawn(move || {
                    std::thread::sleep(alive);
                    child.kill().unwrap(); // SIGKILL
                    child.wait().unwrap().signal()
                }));
            }
        }
        line.clear();
    }
    let signal = killer.expect("the child wrote something").join().unwrap();
    assert_eq!(signal, Some(9), "the child was killed and did not end by itself");
    acknowledged
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deltaforge.db");
    let mut expected = HashMap::new();
    let mut next = 0;
    for round in 0..ROUNDS {
        let alive = Duration::from_micros(RandomState::new().hash_one(round) % 120_000);
        let acknowledged = run_and_kill(&path, next, alive);
        let store = SqliteStore::open(&path).unwrap();
        let present: HashMap<_, _> = store.list("key/").await.unwrap().into_iter().collect();
        let log: HashMap<_, _> = store.log_read("log", 1, usize::MAX).await.unwrap().into_iter().collect();
        assert_eq!(log.len() as u64, log.keys().max().copied().unwrap_or(0), "the log has a hole");
        expected.extend(acknowledged);
        for (number, seq) in &expected {
            let value = number.to_string().into_bytes();
            assert_eq!(present.get(&key(*number)), Some(&value), "round {round} ({alive:?}), key {number}");
            assert_eq!(log.get(seq), Some(&value), "round {round} ({alive:?}), record {seq}");
        }
        next = present.keys().map(|key| key["key/".len()..].parse().unwrap()).max().unwrap_or(0) + 1;
    }
}
