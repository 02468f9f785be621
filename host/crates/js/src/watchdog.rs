//! One thread that ends scripts at their limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deno_core::v8;
use parking_lot::{Condvar, Mutex};

use crate::clock::ThreadClock;

/// A limit that a script reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overrun {
    /// Wall time.
    Wall,
    /// CPU time.
    Cpu,
}

/// Watches all scripts of a host. The thread starts with the first call to watch and ends with the last handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    earlier: Condvar,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    next: u64,
    running: bool,
    /// When the thread looks again by itself; `None`: when it is told to.
    wakes: Option<Instant>,
}

struct Call {
    number: u64,
    isolate: v8::IsolateHandle,
    deadline: Instant,
    cpu: Option<(ThreadClock, Duration)>,
    fired: Option<Overrun>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("number", &self.number)
            .field("fired", &self.fired)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// Ends the script if it is over a limit; else answers when it can be at the earliest.
    fn look(&mut self, now: Instant) -> Option<Instant> {
        if self.fired.is_some() {
            return None;
        }
        let left = self.cpu.map(|(clock, until)| until.saturating_sub(clock.read().unwrap_or_default()));
        if self.deadline <= now {
            self.fired = Some(Overrun::Wall);
        } else if left.is_some_and(|left| left.is_zero()) {
            self.fired = Some(Overrun::Cpu);
        } else {
            return Some(left.map_or(self.deadline, |left| self.deadline.min(now + left)));
        }
        self.isolate.terminate_execution();
        None
    }
}

impl Watchdog {
    /// Watches the calling thread until [`Watchdog::release`] takes the number back.
    pub(crate) fn watch(&self, isolate: &v8::IsolateHandle, wall: Duration, cpu: Duration) -> u64 {
        let now = Instant::now();
        let clock = ThreadClock::current();
        let cpu = clock.and_then(|clock| Some((clock, clock.read()? + cpu)));
        let mut state = self.shared.state.lock();
        let number = state.next;
        state.next += 1;
        let mut call = Call { number, isolate: isolate.clone(), deadline: now + wall, cpu, fired: None };
        let earliest = call.look(now);
        state.calls.push(call);
        if !state.running {
            state.running = true;
            let weak = Arc::downgrade(&self.shared);
            std::thread::Builder::new()
                .name("script-watchdog".to_owned())
                .spawn(move || run(&weak))
                .expect("a thread can be started");
        } else if state.wakes.is_none_or(|wakes| earliest.is_some_and(|earliest| earliest < wakes)) {
            self.shared.earlier.notify_one();
        }
        number
    }

    /// Ends the watch. Answers the limit that was reached meanwhile.
    pub(crate) fn release(&self, number: u64) -> Option<Overrun> {
        let mut state = self.shared.state.lock();
        let at = state.calls.iter().position(|call| call.number == number)?;
        state.calls.swap_remove(at).fired
    }
}

/// With nothing to watch, how long until the thread looks whether anybody still holds the watchdog.
const IDLE: Duration = Duration::from_secs(5);

fn run(shared: &std::sync::Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        let mut state = shared.state.lock();
        let now = Instant::now();
        let next = state.calls.iter_mut().filter_map(|call| call.look(now)).min();
        state.wakes = next;
        shared.earlier.wait_until(&mut state, next.unwrap_or(now + IDLE));
        state.wakes = Some(Instant::now());
    }
}
