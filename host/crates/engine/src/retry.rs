//! Growing pauses between tries.

use std::time::Duration;

/// Doubles from `first` to `most`, each pause shortened at random by up to a quarter so that many pipelines
/// that failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    now: Duration,
}

impl Backoff {
    /// Pauses from `first` to `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, now: first }
    }

    /// The next pause.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> Duration {
        let pause = self.now;
        self.now = (self.now * 2).min(self.most);
        let random = uuid::Uuid::new_v4().as_bytes()[0];
        pause.mul_f64(1.0 - f64::from(random) / 255.0 / 4.0)
    }

    /// Begins anew: something worked.
    pub fn reset(&mut self) {
        self.now = self.first;
    }
}
