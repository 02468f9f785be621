//! One byte budget per pipeline. Whoever keeps bytes holds a reservation; only the source waits for one.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedMutexGuard};

/// Bytes a pipeline may hold in batches, messages, queues and buffers.
///
/// The source reserves before a batch goes on; stages and encoders then *resize* that reservation to what the
/// batch has become, which never waits. So a pipeline cannot lock itself up, and the budget is passed by at
/// most what one batch grows.
///
/// Batches that go to disk and come back from there must not wait for memory that only they free. Beside the above
/// they may pass the limit by
///
/// * one batch that is being written to a spill, at twice its size, whatever the number of sinks: they take turns
///   ([`Budget::take_in_turn`]);
/// * a quarter and one batch with its messages, where an exactly-once sink failed and what it had taken is made into
///   messages again;
/// * for each sink with a spill that has nothing else under way, one batch that was read from there, with its messages
///   ([`Budget::take`]): a sink that hangs with its own must not keep another one from working.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    limit: usize,
    parent: Option<Budget>,
    held: Mutex<Held>,
    freed: Notify,
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Held {
    now: usize,
    peak: usize,
}

impl Held {
    fn set(&mut self, bytes: usize) {
        self.now = bytes;
        self.peak = self.peak.max(bytes);
    }
}

impl Budget {
    /// A budget of `limit` bytes, inside another one.
    pub fn new(limit: usize, parent: Option<Self>) -> Self {
        Self(Arc::new(Inner {
            limit,
            parent,
            held: Mutex::default(),
            freed: Notify::new(),
            turn: Arc::default(),
        }))
    }

    /// The bound.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.0.held.lock().now
    }

    /// The most bytes that were held at once.
    pub fn peak(&self) -> usize {
        self.0.held.lock().peak
    }

    /// Takes `bytes` if they fit now.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        {
            let mut held = self.0.held.lock();
            if held.now > 0 && held.now + bytes > self.0.limit {
                return None;
            }
            let bytes = held.now + bytes;
            held.set(bytes);
        }
        let mut own = Reservation { budget: self.clone(), bytes, parent: None, _turn: None };
        if let Some(parent) = &self.0.parent {
            own.parent = Some(Box::new(parent.try_reserve(bytes)?));
        }
        Some(own)
    }

    /// Takes `bytes` whether they fit or not: for who already holds them, and must go on so that others can.
    pub fn take(&self, bytes: usize) -> Reservation {
        {
            let mut held = self.0.held.lock();
            let bytes = held.now + bytes;
            held.set(bytes);
        }
        let parent = self.0.parent.as_ref().map(|parent| Box::new(parent.take(bytes)));
        Reservation { budget: self.clone(), bytes, parent, _turn: None }
    }

    /// Takes `bytes` if they fit, or else when nobody holds others that did not: for who gives them back by itself.
    pub async fn take_in_turn(&self, bytes: usize) -> Reservation {
        if let Some(fits) = self.try_reserve(bytes) {
            return fits;
        }
        let turn = self.0.turn.clone().lock_owned().await;
        let mut taken = self.take(bytes);
        taken._turn = Some(turn);
        taken
    }

    /// Waits until `bytes` fit. A single reservation may pass the limit when nothing else is held, so that one
    /// large row can still get through.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut held = self.0.held.lock();
                if held.now == 0 || held.now + bytes <= self.0.limit {
                    let bytes = held.now + bytes;
                    held.set(bytes);
                    break;
                }
            }
            freed.await;
        }
        let mut own = Reservation { budget: self.clone(), bytes, parent: None, _turn: None };
        if let Some(parent) = &self.0.parent {
            own.parent = Some(Box::new(Box::pin(parent.reserve(bytes)).await));
        }
        own
    }
}

/// Bytes held; given back when dropped.
pub struct Reservation {
    budget: Budget,
    bytes: usize,
    parent: Option<Box<Reservation>>,
    /// Others that do not fit wait for it.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes how much is held, without waiting.
    pub fn resize(&mut self, bytes: usize) {
        {
            let mut held = self.budget.0.held.lock();
            let bytes = held.now.saturating_sub(self.bytes) + bytes;
            held.set(bytes);
        }
        if bytes < self.bytes {
            self.budget.0.freed.notify_waiters();
        }
        self.bytes = bytes;
        if let Some(parent) = &mut self.parent {
            parent.resize(bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.0.held.lock().now -= self.bytes;
            self.budget.0.freed.notify_waiters();
        }
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reservation({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_reservation_waits_until_others_are_given_back() {
        let host = Budget::new(100, None);
        let budget = Budget::new(60, Some(host.clone()));
        let first = budget.reserve(50).await;
        assert_eq!((budget.held(), host.held()), (50, 50));
        let mut second = Box::pin(budget.reserve(20));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let mut second = second.await;
        second.resize(5);
        assert_eq!((budget.held(), host.held()), (5, 5));
        drop(second);
        assert_eq!((budget.held(), host.held()), (0, 0));
    }

    #[tokio::test]
    async fn what_must_not_wait_for_room_passes_the_limit_one_at_a_time() {
        let host = Budget::new(1_000, None);
        let budget = Budget::new(100, Some(host.clone()));
        let fits = budget.take_in_turn(90).await;
        let first = budget.take_in_turn(80).await;
        assert_eq!((budget.held(), host.held()), (170, 170), "the first one need not wait");
        let mut second = Box::pin(budget.take_in_turn(80));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(budget.take_in_turn(10).now_or_never().is_none(), "nothing fits");
        drop(first);
        let second = second.await;
        assert_eq!((budget.held(), budget.peak(), host.peak()), (170, 170, 170));
        drop((fits, second));
        assert_eq!((budget.held(), host.held()), (0, 0));
    }

    #[tokio::test]
    async fn one_alone_may_pass_the_limit() {
        let budget = Budget::new(10, None);
        let large = budget.reserve(100).await;
        assert!(budget.reserve(1).now_or_never().is_none());
        drop(large);
        assert!(budget.reserve(1).now_or_never().is_some());
    }
}
