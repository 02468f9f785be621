//! A thread that owns a connection and does jobs one after another; the one for reads.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use deltaforge_engine::state::StateError;
use rusqlite::Connection;
use tokio::sync::oneshot;

/// A thread that is fed with jobs. Each caller waits for its answer, so there are never more jobs in the
/// channel than callers. Dropping it waits until the jobs that were sent are done.
pub(super) struct Worker<J> {
    jobs: Option<Sender<J>>,
    thread: Option<JoinHandle<()>>,
}

impl<J: Send + 'static> Worker<J> {
    /// Starts a thread that runs `serve` until it returns, which it does when there can be no more jobs.
    pub(super) fn start(name: &str, serve: impl FnOnce(Receiver<J>) + Send + 'static) -> io::Result<Self> {
        let (jobs, received) = channel();
        let thread = thread::Builder::new().name(name.into()).spawn(move || serve(received))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Hands a job in and waits for its answer.
    pub(super) async fn ask<T>(
        &self,
        action: String,
        job: J,
        answer: oneshot::Receiver<rusqlite::Result<T, Failure>>,
    ) -> Result<T, StateError> {
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        match if sent { answer.await.ok() } else { None } {
            Some(Ok(value)) => Ok(value),
            Some(Err(cause)) => Err(StateError::backend(action, cause)),
            None => Err(StateError::backend(action, "the store's thread has ended")),
        }
    }
}

impl<J> Drop for Worker<J> {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread of the state store had panicked");
        }
    }
}

/// Why a job failed.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads, in a thread with a connection of its own.
pub(super) struct Reader(Worker<Read>);

type Read = Box<dyn FnOnce(&Connection) + Send>;

impl Reader {
    pub(super) fn start(db: Connection) -> io::Result<Self> {
        Worker::start("state-reader", move |jobs: Receiver<Read>| {
            for job in jobs {
                job(&db);
            }
        })
        .map(Self)
    }

    /// Runs `work`, which sees every commit that was answered before this call.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        action: String,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let (tell, told) = oneshot::channel();
        let job: Read = Box::new(move |db| {
            // A caller that no longer waits needs no answer.
            let _ = tell.send(work(db).map_err(Failure::from));
        });
        self.0.ask(action, job, told).await
    }
}
