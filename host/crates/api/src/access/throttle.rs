//! How often an address may be wrong.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures that an address may make at once.
const BURST: f64 = 20.0;
/// How long it takes until one more is allowed.
const REFILL: Duration = Duration::from_secs(3);
/// Most addresses that are remembered.
const MOST_ADDRESSES: usize = 10_000;

/// Counts failed attempts by address.
///
/// Only what has failed is counted and held back: whoever shows a token that is right is let in, since behind a proxy all
/// callers have one address, and a stranger must not lock the others out. That gives nothing away: a token has 256 random
/// bits, or at least 32 characters, and is not found by trying. What is bounded is the noise that failures make.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<IpAddr, Bucket>>);

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
    /// Whether the last failure was one too many.
    over: bool,
}

/// What comes of one more failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is answered as what it is.
    Counted,
    /// There were too many.
    TooMany {
        /// When to come back.
        after: Duration,
        /// Whether it is the first such one in a row.
        first: bool,
    },
}

impl Throttle {
    /// Counts a failure of an address.
    pub fn failed(&self, from: IpAddr, now: Instant) -> Failure {
        let mut buckets = self.0.lock();
        let from = network(from);
        if buckets.len() >= MOST_ADDRESSES && !buckets.contains_key(&from) {
            // Those that have been quiet for long are as new; if there are none, all begin anew.
            buckets.retain(|_, bucket| bucket.filled(now) < BURST);
            if buckets.len() >= MOST_ADDRESSES {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(from).or_insert(Bucket { left: BURST, at: now, over: false });
        (bucket.left, bucket.at) = (bucket.filled(now), now);
        if bucket.left < 1.0 {
            let first = !std::mem::replace(&mut bucket.over, true);
            return Failure::TooMany { after: REFILL.mul_f64(1.0 - bucket.left), first };
        }
        bucket.left -= 1.0;
        bucket.over = false;
        Failure::Counted
    }
}

impl Bucket {
    fn filled(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at);
        (self.left + passed.as_secs_f64() / REFILL.as_secs_f64()).min(BURST)
    }
}

/// What one caller has: an address, of IPv6 the network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn failures_pass_up_to_a_bound_and_again_after_a_while() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(throttle.failed(HERE, start), Failure::Counted);
        }
        assert_eq!(throttle.failed(HERE, start), Failure::TooMany { after: REFILL, first: true });
        assert_eq!(throttle.failed(HERE, start), Failure::TooMany { after: REFILL, first: false });
        let other = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(throttle.failed(other, start), Failure::Counted, "another address");
        assert_eq!(throttle.failed(HERE, start + REFILL), Failure::Counted);
        assert!(matches!(throttle.failed(HERE, start + REFILL), Failure::TooMany { .. }));
    }

    #[test]
    fn addresses_of_one_network_count_as_one_and_the_memory_is_bounded() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        for n in 0..20 {
            assert_eq!(throttle.failed(v6(n), start), Failure::Counted);
        }
        assert!(matches!(throttle.failed(v6(99), start), Failure::TooMany { .. }));
        for n in 0..30_000_u32 {
            throttle.failed(IpAddr::from(n.to_be_bytes()), start);
            assert!(throttle.0.lock().len() <= MOST_ADDRESSES);
        }
    }
}
