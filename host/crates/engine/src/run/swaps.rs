//! Swaps on their way to the worker.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Notify, OwnedMutexGuard, oneshot};

use super::envelopes::NewEnvelope;
use super::stage_set::{NewStage, Swapped};
use crate::status::Failure;
use crate::waits::Commanding;

/// What is to be put in place.
pub(crate) enum Swap {
    Stage(NewStage),
    Envelope(NewEnvelope),
}

/// A swap that waits for the next batch boundary.
pub(crate) struct SwapRequest {
    pub swap: Swap,
    pub reply: oneshot::Sender<Result<Swapped, Failure>>,
    _commanding: Commanding,
}

/// The swaps that a pipeline has yet to carry out, over its attempts. One that nobody waits for any more is gone: it
/// must neither come as a surprise later nor stand in another one's way.
#[derive(Default)]
pub(crate) struct Swaps {
    list: Mutex<List>,
    came: Notify,
    /// Held by whoever takes them: one attempt at a time.
    turn: tokio::sync::Mutex<()>,
    /// Held by whoever stores them.
    storing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct List {
    waiting: VecDeque<SwapRequest>,
    /// Nobody takes them any more.
    closed: bool,
}

/// A swap that somebody waits for. It is given up when this is dropped, unless it is being carried out.
pub(crate) struct Asked<'a> {
    swaps: &'a Swaps,
    answer: oneshot::Receiver<Result<Swapped, Failure>>,
}

impl Swaps {
    /// Hands a swap over.
    pub fn ask(&self, swap: Swap, commanding: Commanding) -> Asked<'_> {
        let (reply, answer) = oneshot::channel();
        let mut list = self.list.lock();
        if !list.closed {
            list.waiting.push_back(SwapRequest { swap, reply, _commanding: commanding });
            self.came.notify_one();
        }
        Asked { swaps: self, answer }
    }

    /// The right to take them, for as long as the answer lives.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// The right to store them. Nobody else has it, so what was recorded before is durable, or never will be.
    pub async fn storing(&self) -> OwnedMutexGuard<()> {
        self.storing.clone().lock_owned().await
    }

    /// Waits for the next one. Only for whoever has the turn. Cancel-safe.
    pub async fn next(&self) -> SwapRequest {
        loop {
            let first = self.list.lock().waiting.pop_front();
            match first {
                Some(request) => return request,
                None => self.came.notified().await,
            }
        }
    }

    /// Refuses those that wait and all that come.
    pub fn close(&self) {
        let mut list = self.list.lock();
        list.closed = true;
        let refused = std::mem::take(&mut list.waiting);
        drop(list);
        drop(refused);
    }
}

impl Asked<'_> {
    /// Waits for what came of it; `None`: it was refused. Cancel-safe.
    pub async fn answer(&mut self) -> Option<Result<Swapped, Failure>> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.answer.close();
        let mut list = self.swaps.list.lock();
        let (given_up, waiting) =
            std::mem::take(&mut list.waiting).into_iter().partition(|request| request.reply.is_closed());
        list.waiting = waiting;
        drop(list);
        // What was built for it may take a while to take apart.
        drop(given_up);
    }
}
