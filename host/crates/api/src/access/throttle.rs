//! How often an address may show a wrong token, and how often a token may command what is refused.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Most addresses or tokens that are remembered.
const MOST_KEYS: usize = 10_000;

/// How many failures pass.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pace {
    /// So many at once.
    burst: f64,
    /// How long it takes until one more is allowed.
    refill: Duration,
}

/// Wrong tokens of an address.
const WRONG_TOKENS: Pace = Pace { burst: 20.0, refill: Duration::from_secs(3) };
/// Commands of a token that were refused.
const REFUSED: Pace = Pace { burst: 100.0, refill: Duration::from_secs(1) };

/// Counts failed attempts by address, or by the name of a token.
///
/// Only what has failed is counted and held back: whoever shows a token that is right is let in, since behind a proxy all
/// callers have one address, and a stranger must not lock the others out. That gives nothing away: a token has 256 random
/// bits, or at least 32 characters, and is not found by trying. What is bounded is the noise that failures make.
#[derive(Debug)]
pub(crate) struct Throttle<K> {
    pace: Pace,
    buckets: Mutex<HashMap<K, Bucket>>,
}

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

impl Throttle<IpAddr> {
    /// Of wrong tokens.
    pub fn of_addresses() -> Self {
        Self::new(WRONG_TOKENS)
    }

    /// Counts a wrong token from an address.
    pub fn failed_from(&self, from: IpAddr, now: Instant) -> Failure {
        self.failed(&network(from), now)
    }
}

impl Throttle<String> {
    /// Of commands that are refused.
    pub fn of_tokens() -> Self {
        Self::new(REFUSED)
    }
}

impl<K: Eq + Hash> Throttle<K> {
    fn new(pace: Pace) -> Self {
        Self { pace, buckets: Mutex::default() }
    }

    /// Counts a failure.
    pub fn failed<Q>(&self, key: &Q, now: Instant) -> Failure
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let Pace { burst, refill } = self.pace;
        let mut buckets = self.buckets.lock();
        if buckets.len() >= MOST_KEYS && !buckets.contains_key(key) {
            // Those that have been quiet for long are as new; if there are none, all begin anew.
            buckets.retain(|_, bucket| bucket.filled(self.pace, now) < burst);
            if buckets.len() >= MOST_KEYS {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { left: burst, at: now, over: false });
        (bucket.left, bucket.at) = (bucket.filled(self.pace, now), now);
        if bucket.left < 1.0 {
            let first = !std::mem::replace(&mut bucket.over, true);
            return Failure::TooMany { after: refill.mul_f64(1.0 - bucket.left), first };
        }
        bucket.left -= 1.0;
        bucket.over = false;
        Failure::Counted
    }
}

impl Bucket {
    fn filled(&self, pace: Pace, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at);
        (self.left + passed.as_secs_f64() / pace.refill.as_secs_f64()).min(pace.burst)
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
        let throttle = Throttle::of_addresses();
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(throttle.failed_from(HERE, start), Failure::Counted);
        }
        assert_eq!(
            throttle.failed_from(HERE, start),
            Failure::TooMany { after: WRONG_TOKENS.refill, first: true }
        );
        assert_eq!(
            throttle.failed_from(HERE, start),
            Failure::TooMany { after: WRONG_TOKENS.refill, first: false }
        );
        let other = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(throttle.failed_from(other, start), Failure::Counted, "another address");
        assert_eq!(throttle.failed_from(HERE, start + WRONG_TOKENS.refill), Failure::Counted);
        assert!(matches!(throttle.failed_from(HERE, start + WRONG_TOKENS.refill), Failure::TooMany { .. }));
    }

    #[test]
    fn addresses_of_one_network_count_as_one_and_the_memory_is_bounded() {
        let throttle = Throttle::of_addresses();
        let start = Instant::now();
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        for n in 0..20 {
            assert_eq!(throttle.failed_from(v6(n), start), Failure::Counted);
        }
        assert!(matches!(throttle.failed_from(v6(99), start), Failure::TooMany { .. }));
        for n in 0..30_000_u32 {
            throttle.failed_from(IpAddr::from(n.to_be_bytes()), start);
            assert!(throttle.buckets.lock().len() <= MOST_KEYS);
        }
    }
}
