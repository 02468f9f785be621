//! Waiting for a state. Never for a time.

use std::time::{Duration, Instant};

/// What most things may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// When `deadline` passes without one; `what` says what was waited for.
#[track_caller]
pub fn until<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} for this: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
