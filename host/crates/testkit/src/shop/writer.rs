//! The process that writes: another one than the host and the test, as an application would be.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::database::{Shop, apply, connect};
use super::story::Story;
use crate::wait;

/// The program of the writing process: `DATABASE SEED CHANGES PER_SECOND` (0: as fast as it can).
///
/// Prints the number of changes committed so far after every transaction. Ends after `CHANGES`, or at a
/// transaction's end once its standard input is closed, so it never outlives the test.
pub fn write(args: &[String]) {
    let [database, seed, changes, per_second] = args else {
        panic!("expected DATABASE SEED CHANGES PER_SECOND")
    };
    let [seed, changes, per_second] = [seed, changes, per_second].map(|text| text.parse::<u64>().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    let mut db = connect(Path::new(database));
    let mut story = Story::new(seed);
    let mut out = std::io::stdout().lock();
    let (start, mut committed) = (Instant::now(), 0);
    while committed < changes && !stop.load(Ordering::Relaxed) {
        let transaction = story.transaction();
        let open = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
        for change in &transaction {
            apply(&open, change).unwrap();
        }
        open.commit().unwrap();
        committed = transaction.last().map_or(committed, |change| change.rev);
        writeln!(out, "{committed}").unwrap();
        if per_second > 0 {
            let due = Duration::from_secs_f64(committed as f64 / per_second as f64);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
}

/// A running writer. Ends when dropped.
pub struct Writer {
    child: Child,
    stdin: Option<ChildStdin>,
    committed: Arc<AtomicU64>,
    reader: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts `program` (which calls [`write`]) on a shop.
    pub fn start(program: &str, shop: &Shop, seed: u64, changes: u64, per_second: u64) -> Self {
        let mut child = Command::new(program)
            .arg(shop.path())
            .args([seed, changes, per_second].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the writer can be started");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let committed = Arc::new(AtomicU64::new(0));
        let seen = committed.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                seen.store(line.parse().unwrap(), Ordering::Relaxed);
            }
        });
        Self { child, stdin, committed, reader: Some(reader) }
    }

    /// How many changes are committed at least.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Waits until it has written everything; answers how many changes that were.
    #[track_caller]
    pub fn finish(mut self, deadline: Duration) -> u64 {
        let status =
            wait::until("the writer has written everything", deadline, || self.child.try_wait().unwrap());
        assert!(status.success(), "the writer failed: {status}");
        self.reader.take().unwrap().join().unwrap();
        self.committed()
    }

    /// Has it end at the next transaction's end; answers how many changes it committed.
    #[track_caller]
    pub fn stop(mut self) -> u64 {
        self.stdin = None;
        self.finish(wait::SOON)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
