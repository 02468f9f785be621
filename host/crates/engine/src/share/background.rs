//! Turns in the background: those of tenants that used more than half of their share lately.
//!
//! Its threads have a lower priority, and give way to what wakes up. So who computes much costs others no wait for the end
//! of a time slice. Where that leaves it next to nothing, since the machine is busy with others, its turns are taken in front again for a while, and for longer while that goes on.

use std::cell::RefCell;
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::{Fair, Row, STARVED_AT_MOST, STARVED_FOR, Share, State, thread_time};

/// A turn, which takes a millisecond, had to wait this long for the processor: there is none to spare.
pub(super) const STARVED: Duration = Duration::from_millis(200);

thread_local! {
    /// The runtime in front, while a turn is taken in the background.
    static FRONT: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// What a turn brings back.
type Taken<F> = (Box<Fair<F>>, Poll<<F as Future>::Output>);

/// A turn that is taken elsewhere.
struct Away<F: Future> {
    turn: AbortOnDropHandle<Option<Taken<F>>>,
    /// The work, until the turn begins.
    waits: Arc<Mutex<Option<Box<Fair<F>>>>>,
}

/// Work whose turns are taken in front or in the background; see [`Share::run_demotable`].
pub struct Demotable<F: Future> {
    /// `None` while it is in the background.
    here: Option<Box<Fair<F>>>,
    away: Option<Away<F>>,
    bell: Arc<Bell>,
}

/// Wakes the work wherever it is, and remembers it: a call that comes while a turn is on its way back is not lost.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl<F: Future> Demotable<F> {
    pub(super) fn new(work: Fair<F>) -> Self {
        Self { here: Some(Box::new(work)), away: None, bell: Arc::default() }
    }
}

impl<F: Future> Drop for Demotable<F> {
    /// What has not begun ends here and now: the background may not come to that for long.
    fn drop(&mut self) {
        let waits = self.away.as_ref().and_then(|away| away.waits.lock().take());
        drop(waits);
    }
}

impl<F> Future for Demotable<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { here, away, bell } = &mut *self;
        loop {
            if let Some(Away { turn, .. }) = away {
                bell.waker.register(context.waker());
                let (work, polled) = match ready!(Pin::new(turn).poll(context)) {
                    Ok(Some(taken)) => taken,
                    Ok(None) => return Poll::Pending, // it was taken back, and this dropped
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => resume_unwind(panic),
                        Err(_) => return Poll::Pending, // the host is shutting down
                    },
                };
                *away = None;
                *here = Some(work);
                if polled.is_ready() || !bell.rung.swap(false, Ordering::AcqRel) {
                    return polled;
                }
            }
            let Some(mut work) = here.take() else { return Poll::Pending };
            if work.poll_enter(context).is_pending() {
                *here = Some(work);
                return Poll::Pending;
            }
            let background = match work.member.row {
                Row::Front => None,
                Row::Back => work.member.share.0.lock().background.clone(),
            };
            let Some(background) = background else {
                let polled = work.turn(context);
                *here = Some(work);
                return polled;
            };
            // Given back by whoever drops the work before the turn has begun.
            work.holds = true;
            bell.rung.store(false, Ordering::Release);
            let (bell, front, sent) = (bell.clone(), Handle::current(), Instant::now());
            let waits = Arc::new(Mutex::new(Some(work)));
            let begins = waits.clone();
            let turn = background.spawn(async move {
                let work = begins.lock().take()?;
                Some(in_background(work, bell, front, sent))
            });
            *away = Some(Away { turn: AbortOnDropHandle::new(turn), waits });
        }
    }
}

/// Takes a turn that was sent to a thread of the background.
fn in_background<F: Future>(
    mut work: Box<Fair<F>>,
    bell: Arc<Bell>,
    front: Handle,
    sent: Instant,
) -> (Box<Fair<F>>, Poll<F::Output>) {
    let share = work.member.share.clone();
    let began = thread_time();
    // What the work begins, timers and files among it, must not wait for a processor that nobody else wants.
    let _context = front.enter();
    let outer = FRONT.replace(Some(front.clone()));
    let _restore = Restore(outer);
    let polled = work.turn(&mut Context::from_waker(&Waker::from(bell)));
    share.waited(sent.elapsed().saturating_sub(thread_time().saturating_sub(began)));
    (work, polled)
}

impl Share {
    /// A turn in the background waited so long for the processor.
    fn waited(&self, time: Duration) {
        if time > STARVED {
            self.0.lock().starved(Instant::now());
        }
    }
}

impl State {
    /// A turn there has waited too long. One that does may keep others waiting, for what it has locked.
    pub(super) fn starved(&mut self, now: Instant) {
        let again = match self.starved_until {
            Some(end) if now < end => return,
            Some(end) => now < end + self.starved_for,
            None => false,
        };
        self.starved_for = if again { (2 * self.starved_for).min(STARVED_AT_MOST) } else { STARVED_FOR };
        self.starved_until = Some(now + self.starved_for);
    }
}

/// Sets the runtime in front back to what it was.
struct Restore(Option<Handle>);

impl Drop for Restore {
    fn drop(&mut self) {
        FRONT.set(self.0.take());
    }
}

/// Begins a thread that is not one of the background, wherever this is called: a thread has the priority of the one that
/// began it, for good.
///
/// # Errors
///
/// When the system has no thread left.
pub async fn begin_thread(
    builder: std::thread::Builder,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let Some(front) = FRONT.with_borrow(Clone::clone) else { return builder.spawn(work) };
    front.spawn(async move { builder.spawn(work) }).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
