//! Wall-clock time as the backends store it: milliseconds since the Unix epoch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now. A clock set before 1970 reads as 0.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, whole_ms)
}

/// When something with this time to live ends; the far future if that is past what an `i64` holds.
pub(crate) fn expiry_ms(now_ms: i64, ttl: Duration) -> i64 {
    now_ms.saturating_add(whole_ms(ttl))
}

/// How long it is from now until `expires_ms`; zero if that has passed.
pub(crate) fn remaining(now_ms: i64, expires_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(expires_ms.saturating_sub(now_ms)).unwrap_or(0))
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
