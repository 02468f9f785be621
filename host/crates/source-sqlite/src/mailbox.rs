//! Between the engine's task and the thread that talks to SQLite: batches one way; confirmations, wake-ups and the
//! wish to stop the other way. Neither side ever waits while holding the lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::source::SourceError;
use deltaforge_model::SourceBatch;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// Batches that may wait for the engine while another one is made, and the bytes past which only one may: they are not
/// in the budget yet.
const AHEAD: usize = 2;
const AHEAD_BYTES: usize = 4 << 20;

#[derive(Default)]
struct State {
    ready: VecDeque<Result<SourceBatch, SourceError>>,
    confirmed: Option<i64>,
    changed: bool,
    stop: bool,
    ended: bool,
}

/// Shared by both sides.
#[derive(Default)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    thread: Condvar,
    task: Notify,
}

/// What the thread finds when it looks.
pub(crate) struct News {
    /// The highest confirmed sequence, told once.
    pub confirmed: Option<i64>,
    /// Whether the files changed since the last look.
    pub changed: bool,
    /// Whether there is room for another batch.
    pub room: bool,
    /// Whether to end.
    pub stop: bool,
}

impl Mailbox {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The engine's side: the next batch, or `None` when the thread has ended.
    pub async fn next(&self) -> Option<Result<SourceBatch, SourceError>> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(batch) = state.ready.pop_front() {
                    self.thread.notify_one();
                    return Some(batch);
                }
                if state.ended {
                    return None;
                }
            }
            self.task.notified().await;
        }
    }

    /// The engine's side: everything up to `sequence` is safe.
    pub fn confirm(&self, sequence: i64) {
        let mut state = self.state.lock();
        state.confirmed = state.confirmed.max(Some(sequence));
        self.thread.notify_one();
    }

    /// The engine's side: no more.
    pub fn stop(&self) {
        self.state.lock().stop = true;
        self.thread.notify_one();
    }

    /// The watcher's side: the files changed.
    pub fn wake(&self) {
        let mut state = self.state.lock();
        if !state.changed {
            state.changed = true;
            self.thread.notify_one();
        }
    }

    /// The thread's side: hands over a batch, or the error it ends with.
    pub fn put(&self, batch: Result<SourceBatch, SourceError>) {
        self.state.lock().ready.push_back(batch);
        self.task.notify_one();
    }

    /// The thread's side: nothing will follow.
    pub fn end(&self) {
        self.state.lock().ended = true;
        self.task.notify_one();
    }

    /// The thread's side: waits at most `pause` for something to do. Without room for a batch, changed files are
    /// nothing to do.
    pub fn wait(&self, pause: Duration) -> News {
        let mut state = self.state.lock();
        let room = |state: &State| {
            let waiting = |batch: &Result<SourceBatch, SourceError>| {
                batch.as_ref().map_or(0, |batch| batch.batch.byte_size())
            };
            state.ready.len() < AHEAD && state.ready.iter().map(waiting).sum::<usize>() <= AHEAD_BYTES
        };
        let pause_until = std::time::Instant::now() + pause;
        while !(state.stop || state.confirmed.is_some() || (state.changed && room(&state))) {
            if room(&state) && pause.is_zero() {
                break;
            }
            let had_room = room(&state);
            if self.thread.wait_until(&mut state, pause_until).timed_out() || (!had_room && room(&state)) {
                break;
            }
        }
        let room = room(&state);
        News {
            confirmed: state.confirmed.take(),
            changed: if room { std::mem::take(&mut state.changed) } else { false },
            room,
            stop: state.stop,
        }
    }
}
