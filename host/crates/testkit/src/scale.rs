//! How much of the heavy tests runs: `DELTAFORGE_TEST_SCALE`, 1 by default, such as 0.05 for a quick look.

use std::time::Duration;

fn factor() -> f64 {
    let text = std::env::var("DELTAFORGE_TEST_SCALE").unwrap_or_else(|_| "1".to_owned());
    let factor: f64 = text.parse().expect("DELTAFORGE_TEST_SCALE is a number such as 0.1");
    assert!(factor > 0.0 && factor <= 100.0, "DELTAFORGE_TEST_SCALE={factor} is out of range");
    factor
}

/// A full count, scaled; never below `least`.
pub fn count(full: u64, least: u64) -> u64 {
    ((full as f64 * factor()) as u64).max(least)
}

/// A full duration, scaled; never below `least`.
pub fn time(full: Duration, least: Duration) -> Duration {
    full.mul_f64(factor()).max(least)
}
