//! What may happen often is said in the log at once the first time, and then summed up.

use std::time::{Duration, Instant};

/// The shortest time between two lines about the same thing.
pub(crate) const PAUSE: Duration = Duration::from_secs(10);

/// Counts what happens between two lines.
#[derive(Debug)]
pub(crate) struct Tally {
    pause: Duration,
    said: Option<Instant>,
    count: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { pause: PAUSE, said: None, count: 0 }
    }
}

impl Tally {
    /// It happened so many more times.
    pub fn add(&mut self, count: u64) {
        self.count += count;
    }

    /// How often it has happened since it was said last, when it is time to say so.
    pub fn due(&mut self) -> Option<u64> {
        let is_due = self.said.is_none_or(|said| said.elapsed() >= self.pause);
        if is_due { self.rest() } else { None }
    }

    /// How often it has happened since it was said last, to be said now; `None`: it has not.
    pub fn rest(&mut self) -> Option<u64> {
        let count = std::mem::take(&mut self.count);
        if count > 0 {
            self.said = Some(Instant::now());
        }
        (count > 0).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_said_at_once_and_the_next_ones_together() {
        let mut tally = Tally { pause: Duration::from_millis(50), ..Tally::default() };
        assert_eq!(tally.due(), None, "nothing has happened");
        tally.add(2);
        assert_eq!(tally.due(), Some(2));
        for _ in 0..1_000 {
            tally.add(1);
        }
        assert_eq!(tally.due(), None, "it was said just now");
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(tally.due(), Some(1_000));
        assert_eq!(tally.rest(), None);
        tally.add(1);
        assert_eq!(tally.rest(), Some(1), "at the end nothing stays unsaid");
    }
}
