//! The one thread that writes: what waits is committed together.

use std::io;
use std::iter;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use deltaforge_engine::state::StateError;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, ffi};
use tokio::sync::oneshot;

use super::kv;
use super::worker::{Failure, Worker};

/// Most jobs in one commit; bounds how long the first of them waits for the others.
const MAX_GROUP: usize = 512;

/// How often keys that have expired, and that nobody asked for, are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Does its work inside the group's transaction; without one (it could not begin) there is only the answer
/// to give.
type Job = Box<dyn FnOnce(Option<&Connection>) -> Done + Send>;

struct Done {
    /// The job's own work failed and has to be undone; the others of the group go on.
    failed: bool,
    /// Tells the caller, once it is known how the group's commit ended.
    answer: Box<dyn FnOnce(Result<(), GroupFailure>) + Send>,
}

/// One failure that every caller of a group is told.
#[derive(Debug, Clone, thiserror::Error)]
#[error("commit")]
struct GroupFailure(#[source] Arc<rusqlite::Error>);

pub(super) struct Writer(Worker<Job>);

impl Writer {
    pub(super) fn start(db: Connection) -> io::Result<Self> {
        Worker::start("state-writer", move |jobs| serve(&db, &jobs)).map(Self)
    }

    /// Runs `work` in a transaction and answers after it is durable. If `work` fails nothing of it stays.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        action: String,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            let outcome = db.map(work);
            let failed = matches!(outcome, Some(Err(_)));
            let answer = Box::new(move |committed: Result<(), GroupFailure>| {
                let answer = match (outcome, committed) {
                    (Some(Err(own)), _) => Err(Failure::from(own)),
                    (_, Err(group)) => Err(Failure::from(group)),
                    (Some(Ok(value)), Ok(())) => Ok(value),
                    (None, Ok(())) => unreachable!("without a transaction there is no commit"),
                };
                // A caller that no longer waits needs no answer.
                let _ = tell.send(answer);
            });
            Done { failed, answer }
        });
        self.0.ask(action, job, told).await
    }
}

fn serve(db: &Connection, jobs: &Receiver<Job>) {
    let mut next_sweep = Instant::now() + SWEEP_EVERY;
    loop {
        match jobs.recv_timeout(next_sweep.saturating_duration_since(Instant::now())) {
            // What arrives while the group's work runs still joins it.
            Ok(first) => commit_together(db, iter::once(first).chain(jobs.try_iter()).take(MAX_GROUP)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next_sweep {
            next_sweep = Instant::now() + SWEEP_EVERY;
            if let Err(error) = kv::sweep(db) {
                tracing::warn!(%error, "expired keys stay until the next sweep");
            }
        }
    }
}

/// Runs the jobs in one transaction, commits it, and only then answers any of them.
fn commit_together(db: &Connection, jobs: impl Iterator<Item = Job>) {
    let mut answers = Vec::new();
    let committed = run_all(db, jobs, &mut answers).map_err(|error| GroupFailure(Arc::new(error)));
    for answer in answers {
        answer(committed.clone());
    }
}

type Answers = Vec<Box<dyn FnOnce(Result<(), GroupFailure>) + Send>>;

fn run_all(db: &Connection, jobs: impl Iterator<Item = Job>, answers: &mut Answers) -> rusqlite::Result<()> {
    let tx = match Transaction::new_unchecked(db, TransactionBehavior::Immediate) {
        Ok(tx) => tx,
        Err(error) => {
            answers.extend(jobs.map(|job| job(None).answer));
            return Err(error);
        }
    };
    // Returning early drops `tx`, which rolls back. Jobs that were not taken yet make the next group.
    for job in jobs {
        let begun = tx.execute_batch("savepoint job");
        let done = job(begun.is_ok().then_some(&*tx));
        answers.push(done.answer);
        begun?;
        if tx.is_autocommit() {
            return Err(transaction_lost());
        }
        tx.execute_batch(if done.failed { "rollback to job; release job" } else { "release job" })?;
    }
    tx.commit()
}

/// Some failures (a full disk, a read error) make SQLite give up the whole transaction by itself.
fn transaction_lost() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        ffi::Error { code: ErrorCode::OperationAborted, extended_code: ffi::SQLITE_ABORT_ROLLBACK },
        Some("another write failed and took the transaction with it".into()),
    )
}
