//! Swaps on their way to the state store, while the stream goes on up to the doors that it leaves by.
//!
//! A version is at work as soon as it is in place, and what it makes waits at a [`Gate`] until it is stored from where on
//! it runs: in front of each sink, the dead-letter queue and a spill. A sink that still has something of the version
//! before to deliver meanwhile does not notice.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::commit::SLOW_STORE;
use super::stage_set::Swapped;
use super::{FLUSHED_WITHIN, Fuse};
use crate::failpoint;
use crate::plan::Services;
use crate::status::{Failure, STALLED_AFTER};
use crate::waits::Waits;

/// Entries that wait for the store at once.
const MOST_WAITING: usize = 2;

/// Writes histories in the order in which they changed, one after the other.
pub(crate) struct Journal {
    entries: mpsc::Sender<Entry>,
    /// Open once everything so far is durable.
    newest: Mutex<Option<Gate>>,
    io: Handle,
}

/// What a journal was handed on its way to the store.
pub(crate) struct Writing {
    task: JoinHandle<()>,
    ends: CancellationToken,
}

impl Writing {
    /// Takes nothing more, and waits until everything before is stored, as long as that goes quickly.
    pub async fn end(self) {
        self.ends.cancel();
        let _ = tokio::time::timeout(FLUSHED_WITHIN, self.task).await;
    }
}

/// What is written together, or not at all.
struct Entry {
    records: Vec<(String, Vec<u8>)>,
    /// A swap that the host did by itself is among them.
    is_own: bool,
    opens: Opens,
}

impl Journal {
    /// Starts writing. Whoever reads histories has the `turn` afterwards. What cannot be written ends the attempt, for its
    /// version is at work already.
    pub fn start(
        services: &Services,
        waits: Waits,
        fuse: Fuse,
        turn: OwnedMutexGuard<()>,
    ) -> (Self, Writing) {
        let (sender, mut entries) = mpsc::channel::<Entry>(MOST_WAITING);
        let ends = CancellationToken::new();
        let (services, ending) = (services.clone(), ends.clone());
        let writes = async move {
            let _turn = turn;
            loop {
                let entry = tokio::select! {
                    entry = entries.recv() => entry,
                    () = ending.cancelled(), if !entries.is_closed() => {
                        entries.close();
                        continue;
                    }
                };
                let Some(Entry { records, is_own, opens }) = entry else { return };
                failpoint::hit("swap.storing");
                if let Err(failure) = write(&services, &waits, records).await {
                    fuse.blow(failure.clone());
                    opens.failed(failure);
                    // What came after it builds on it.
                    return;
                }
                failpoint::hit("swap.stored");
                opens.now();
                if is_own {
                    services.own_swaps.notify_one();
                }
            }
        };
        let task = tokio::spawn(writes.in_current_span());
        let journal = Self { entries: sender, newest: Mutex::default(), io: Handle::current() };
        (journal, Writing { task, ends })
    }

    /// Hands records in. What comes of them may leave once the journal's gate is open.
    pub async fn write(&self, records: Vec<(String, Vec<u8>)>, is_own: bool) {
        let gate = Gate::default();
        *self.newest.lock() = Some(gate.clone());
        // Where nobody writes any more the gate says so.
        let _ = self.entries.send(Entry { records, is_own, opens: Opens(gate) }).await;
    }

    /// What stands before everything that is made now; `None`: nothing does.
    pub fn gate(&self) -> Option<Gate> {
        let mut newest = self.newest.lock();
        if newest.as_ref().is_some_and(Gate::is_open) {
            *newest = None;
        }
        newest.clone()
    }

    /// Waits until everything that was handed in is durable.
    ///
    /// # Errors
    ///
    /// When it could not be written.
    pub async fn settled(&self) -> Result<(), Failure> {
        match self.gate() {
            Some(gate) => gate.opened().await,
            None => Ok(()),
        }
    }

    /// Keeps something until everything that was handed in is durable: code that a record names is in nobody's hands
    /// before.
    pub fn keep<T: Send + 'static>(&self, kept: T) {
        if let Some(gate) = self.gate() {
            self.io.spawn(async move {
                let _ = gate.passed().await;
                drop(kept);
            });
        }
    }

    /// Answers whoever asked for a swap that was handed in, once it is durable, with the time that the stream stood still
    /// for it. They may have gone; the swap stands.
    pub fn answer(&self, reply: oneshot::Sender<Result<Swapped, Failure>>, mut swapped: Swapped) {
        let gate = self.gate();
        let answer = async move {
            let mut result = Ok(());
            if let Some(gate) = gate {
                result = gate.passed().await;
                swapped.pause += gate.held_up();
            }
            let _ = reply.send(result.map(|()| swapped));
        };
        // Not where stages run: their turns are long.
        self.io.spawn(answer);
    }
}

async fn write(services: &Services, waits: &Waits, records: Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    let written = services.store.put_many(records, None);
    tokio::pin!(written);
    tokio::select! {
        written = &mut written => return Ok(written?),
        () = tokio::time::sleep(SLOW_STORE) => {}
    }
    let text = "a swap waits for the state store, which does not take it";
    let slow = Failure { code: "state_store".into(), message: text.into(), retriable: true };
    let _waiting = waits.begin(slow, Some(STALLED_AFTER));
    Ok(written.await?)
}

/// Stands before what a version makes until it is stored from where on that runs.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: watch::Sender<State>,
    /// Since when somebody stands before it who has nothing else to do, and for how long they did in the end.
    idle: Mutex<Idle>,
}

#[derive(Default)]
enum State {
    #[default]
    Shut,
    Open,
    Failed(Failure),
}

#[derive(Default, Clone, Copy)]
enum Idle {
    #[default]
    Nobody,
    Since(Instant),
    For(Duration),
}

impl Gate {
    pub fn is_open(&self) -> bool {
        matches!(*self.0.state.borrow(), State::Open)
    }

    /// Waits until it is open, with nothing else to do: the stream stands still. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When it will never be.
    pub async fn opened(&self) -> Result<(), Failure> {
        if let idle @ Idle::Nobody = &mut *self.0.idle.lock() {
            *idle = Idle::Since(Instant::now());
        }
        self.passed().await
    }

    async fn passed(&self) -> Result<(), Failure> {
        let mut state = self.0.state.subscribe();
        let state = state.wait_for(|state| !matches!(state, State::Shut)).await;
        match &*state.expect("the gate holds the sender") {
            State::Failed(failure) => Err(failure.clone()),
            State::Shut | State::Open => Ok(()),
        }
    }

    /// For how long the stream stood still before it; known once it is open.
    fn held_up(&self) -> Duration {
        match *self.0.idle.lock() {
            Idle::For(time) => time,
            Idle::Nobody | Idle::Since(_) => Duration::ZERO,
        }
    }

    fn set(&self, state: State) {
        let mut idle = self.0.idle.lock();
        // Whoever comes later is not held up.
        *idle = Idle::For(match *idle {
            Idle::Nobody => Duration::ZERO,
            Idle::Since(since) => since.elapsed(),
            Idle::For(time) => time,
        });
        drop(idle);
        self.0.state.send_replace(state);
    }
}

/// Opens a gate. One that is dropped says that nothing passes it any more.
struct Opens(Gate);

impl Opens {
    fn now(self) {
        self.0.set(State::Open);
    }

    fn failed(self, failure: Failure) {
        self.0.set(State::Failed(failure));
    }
}

impl Drop for Opens {
    fn drop(&mut self) {
        if matches!(*self.0.0.state.borrow(), State::Shut) {
            let text = "a swap was not stored, for the attempt ended before";
            self.0.set(State::Failed(Failure {
                code: "state_store".into(),
                message: text.into(),
                retriable: true,
            }));
        }
    }
}
