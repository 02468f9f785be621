//! Growing pauses between tries, and what cuts them short.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

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

    /// What was tried last worked for so long. That is begun anew after only if it is far longer than the longest pause: of two
    /// that shut each other out, each works for as long as the other one waits.
    pub fn worked_for(&mut self, time: Duration) {
        if time >= self.most * 2 {
            self.reset();
        }
    }

    /// Begins anew: something worked.
    pub fn reset(&mut self) {
        self.now = self.first;
    }
}

/// Ends the pauses between tries, as when an operator has mended what failed. Clones are the same one; the default
/// belongs to nobody, and hurries nothing.
#[derive(Debug, Clone, Default)]
pub struct Hurry(Arc<watch::Sender<()>>);

impl Hurry {
    /// Whoever pauses tries at once; also who began a try before this, when that fails.
    pub fn now(&self) {
        self.0.send_replace(());
    }

    /// For one that tries again and again.
    pub fn pauses(&self) -> Pauses {
        Pauses(self.0.subscribe(), self.clone())
    }
}

/// The pauses of one that tries again and again.
#[derive(Debug, Clone)]
pub struct Pauses(watch::Receiver<()>, #[expect(dead_code, reason = "it keeps the channel open")] Hurry);

impl Pauses {
    /// A try begins now: what was hurried before it has come true with it.
    pub fn trying(&mut self) {
        self.0.mark_unchanged();
    }

    /// Waits for so long, or until it is hurried; not at all where that was since the last try began. Answers whether
    /// it was hurried.
    pub async fn pause(&mut self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            _ = self.0.changed() => true,
            () = tokio::time::sleep(pause) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_shut_each_other_out_do_so_ever_more_rarely() {
        let (first, most, starts) = (Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(3));
        let mut both = [(); 2].map(|()| Backoff::new(first, most));
        for turn in 0..100 {
            let waits = both[turn % 2].next();
            assert!(turn < 12 || waits >= most * 3 / 4, "{turn}: {waits:?}");
            // Then it begins again, and that is the end of the other one, which began when this one ended.
            both[1 - turn % 2].worked_for(waits + starts);
        }
        both[0].worked_for(most * 2);
        assert!(both[0].next() <= first, "what worked for long begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_when_it_is_hurried_and_knows_of_a_hurry_since_the_try_began() {
        let (hurry, long) = (Hurry::default(), Duration::from_secs(60));
        let mut pauses = hurry.pauses();
        let began = tokio::time::Instant::now();
        hurry.now();
        pauses.trying();
        assert!(!pauses.pause(long).await, "that was before the try");
        assert_eq!(began.elapsed(), long);
        pauses.trying();
        hurry.now();
        assert!(pauses.pause(long).await, "the try had begun with what was not mended yet");
        let (waited, ()) = tokio::join!(pauses.pause(long), async { hurry.now() });
        assert!(waited);
        assert_eq!(began.elapsed(), long);
    }
}
