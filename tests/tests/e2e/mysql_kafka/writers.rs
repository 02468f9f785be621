//! Several sessions that write at random, in transactions that lock and roll back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use deltaforge_testkit::mysql::{Flavour, Handle, Server};
use deltaforge_testkit::random::Random;

/// How many at once.
const SESSIONS: u64 = 3;
/// So many rows are a session's own; others have theirs behind them. A few of all statements are for those of the first one.
const OWN: u64 = 200;
/// Marks of one session are below those of the next.
const MARKS: i64 = 1_000_000_000;

/// They write until they are told to stop, whatever becomes of the server.
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// The server outlives them: they are stopped before that is dropped.
    pub fn start(server: &Server, db: &str, seed: u64) -> Self {
        Self::again(server, db, seed, 0)
    }

    /// More of them, behind `before` that wrote before: no mark is used twice.
    pub fn again(server: &Server, db: &str, seed: u64, before: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let write = |number| {
            let random = Random::new(seed.wrapping_add(number));
            let (stop, server) = (stop.clone(), server.handle());
            let (flavour, db) = (server.flavour(), db.to_owned());
            let next_mark = MARKS * (before * SESSIONS + number + 1) as i64;
            let writer = Writer { number, flavour, random, next_mark };
            std::thread::spawn(move || writer.write(server, &db, &stop))
        };
        let threads = (0..SESSIONS).map(write).collect();
        Self { stop, threads }
    }

    /// What they have begun is committed, or rolled back.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.end();
    }
}

struct Writer {
    number: u64,
    flavour: Flavour,
    random: Random,
    next_mark: i64,
}

impl Writer {
    fn write(mut self, server: Handle, db: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let mut session = server.session();
            let on = self.random.below(2);
            let compressed = match self.flavour {
                Flavour::MySql => format!("SET SESSION binlog_transaction_compression = {on}"),
                Flavour::MariaDb => {
                    format!("SET GLOBAL log_bin_compress_min_len = 20, GLOBAL log_bin_compress = {on}")
                }
            };
            session.run(&format!(
                "USE {db}; {compressed}; SET SESSION innodb_lock_wait_timeout = 5;
                 SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
            ));
            while !stop.load(Ordering::Relaxed) && session.run(&self.transaction()) {
                std::thread::sleep(Duration::from_millis(self.random.below(60)));
            }
            // Ended by a deadlock, or with its server.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn transaction(&mut self) -> String {
        let mut sql = String::from("BEGIN; ");
        for _ in 0..1 + self.random.below(6) {
            self.statement(&mut sql);
        }
        if self.random.chance(10) {
            sql.push_str("SAVEPOINT here; ");
            self.statement(&mut sql);
            sql.push_str("ROLLBACK TO SAVEPOINT here; ");
        }
        sql.push_str(if self.random.chance(10) { "ROLLBACK" } else { "COMMIT" });
        sql
    }

    /// Changes of one mark, and after each statement a step that says how many rows it changed.
    fn statement(&mut self, sql: &mut String) {
        let mark = self.next_mark;
        self.next_mark += 1;
        let first = if self.random.chance(90) { self.number * OWN } else { 0 };
        let (id, other) = (first + self.random.below(OWN), first + self.random.below(OWN));
        let note = self.random.below(60);
        let step = |kind: char| {
            format!(
                "INSERT INTO steps (mark, kind, changed, note) VALUES ({mark}, '{kind}', ROW_COUNT(), REPEAT('{kind}', {note})); "
            )
        };
        let update = |ids: &str| {
            format!("UPDATE accounts SET mark = {mark}, rev = rev + 1, status = 'paid' WHERE id {ids}; ")
                + &step('u')
        };
        match self.random.below(6) {
            0 | 1 => {
                let row = |id| format!("({id}, {mark}, 0, 'new', {other}.50, NULL)");
                let rows: Vec<String> = (id..=id + self.random.below(4)).map(row).collect();
                sql.push_str(&format!(
                    "INSERT IGNORE INTO accounts (id, mark, rev, status, total, note) VALUES {}; ",
                    rows.join(", ")
                ));
                sql.push_str(&step('c'));
            }
            2 | 3 => sql.push_str(&update(&format!("BETWEEN {id} AND {id} + 5"))),
            4 => {
                sql.push_str(&update(&format!("IN ({id}, {id} + 1)")));
                sql.push_str(&format!("DELETE FROM accounts WHERE mark = {mark}; {}", step('d')));
            }
            _ => {
                sql.push_str(&update(&format!("= {id}")));
                sql.push_str(&format!(
                    "UPDATE IGNORE accounts SET id = {other} WHERE mark = {mark}; {}",
                    step('k')
                ));
            }
        }
    }
}
