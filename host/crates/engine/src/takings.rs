//! Versions of plugins that swaps are just taking, and versions that are just being taken away: never the same one.
//!
//! A version is looked for by its reference, loaded, and stored as what a stage runs: only then does the stage's history
//! say that it is in use. Whoever takes versions away asks here first, and a swap waits the moment that this takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Whether a reference may mean the version that is being taken away.
type IsMeant = Box<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Default)]
pub(crate) struct Takings {
    state: Mutex<State>,
    left: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    /// References that swaps are taking.
    taken: BTreeMap<u64, String>,
    leaving: BTreeMap<u64, IsMeant>,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// A reference that a swap is taking, for as long as this lives.
pub(crate) struct Taking {
    takings: Arc<Takings>,
    number: u64,
}

/// A version that is being taken away, for as long as this lives.
pub struct Leaving {
    takings: Arc<Takings>,
    number: u64,
}

impl Takings {
    /// Takes a reference, once nothing that it may mean is being taken away.
    pub async fn take(self: &Arc<Self>, reference: &str) -> Taking {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            {
                let mut state = self.state.lock();
                if !state.leaving.values().any(|is_meant| is_meant(reference)) {
                    let number = state.number();
                    state.taken.insert(number, reference.to_owned());
                    return Taking { takings: self.clone(), number };
                }
            }
            left.await;
        }
    }

    /// Keeps swaps from a version that is to be taken away. `None`: one is taking it just now.
    pub fn leave(
        self: &Arc<Self>,
        is_meant: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Option<Leaving> {
        let mut state = self.state.lock();
        if state.taken.values().any(|reference| is_meant(reference)) {
            return None;
        }
        let number = state.number();
        state.leaving.insert(number, Box::new(is_meant));
        Some(Leaving { takings: self.clone(), number })
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.takings.state.lock().taken.remove(&self.number);
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.takings.state.lock().leaving.remove(&self.number);
        self.takings.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_does_not_leave_and_what_leaves_is_not_taken() {
        let takings = Arc::<Takings>::default();
        let mask = |reference: &str| reference.starts_with("mask");
        let taking = takings.take("mask@1").await;
        assert!(takings.leave(mask).is_none(), "a swap takes it");
        let other = takings.leave(|reference| reference == "other@1.0.0");
        assert!(other.is_some(), "nobody takes that one");
        drop(taking);
        let leaving = takings.leave(mask).expect("nobody takes it any more");
        let again = takings.take("mask@1.0.0");
        tokio::pin!(again);
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut again).await.is_err(), "it waits");
        assert!(tokio::time::timeout(Duration::from_secs(60), takings.take("filter@1")).await.is_ok());
        drop(leaving);
        drop(again.await);
        assert!(takings.leave(mask).is_some());
    }
}
