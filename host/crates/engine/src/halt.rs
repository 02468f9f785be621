//! That a pipeline stands still until an operator has it go on: another host does its work.

use tokio::sync::watch;

use crate::status::Failure;

/// Why it stands still, if it does. It outlives attempts: what ends one of them is no reason to shut the other host out.
#[derive(Default)]
pub(crate) struct Halt(watch::Sender<Option<Failure>>);

impl Halt {
    /// It stands still from now on.
    pub fn begin(&self, failure: Failure) {
        self.0.send_replace(Some(failure));
    }

    /// An operator has it go on.
    pub fn end(&self) {
        self.0.send_replace(None);
    }

    /// Why it stands still.
    pub fn why(&self) -> Option<Failure> {
        self.0.borrow().clone()
    }

    /// Waits until it does not.
    pub async fn over(&self) {
        // It cannot fail: this holds the sender.
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }
}
