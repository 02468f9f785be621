//! That a host's own producers of one name become the only one of it one after the other.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// Whose turn it is, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>);

/// A producer may become the only one of its name until this is dropped. What it has asked for and waits for no more may come
/// true until the client has ended: then it would shut out the producer after it.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "others wait for it")] OwnedMutexGuard<()>);

impl Turns {
    /// Waits until no other producer of this name, of these brokers, is about to become the only one.
    pub async fn of(&self, brokers: &str, transactional_id: &str) -> Turn {
        let turn = self.0.lock().entry(format!("{transactional_id} {brokers}")).or_default().clone();
        Turn(turn.lock_owned().await)
    }
}
