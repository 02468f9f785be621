//! How much CPU time a thread has used, read from another thread.

use std::time::Duration;

/// A thread's CPU clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// The clock of the calling thread. `None` where the system has none.
    #[allow(unsafe_code)]
    pub(crate) fn current() -> Option<Self> {
        let mut clock = 0;
        // SAFETY: `pthread_self` is always valid for the calling thread, and `clock` outlives the call.
        let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        (failed == 0).then_some(Self(clock))
    }

    /// CPU time used so far. `None` once the thread has ended.
    #[allow(unsafe_code)]
    pub(crate) fn read(self) -> Option<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` outlives the call; a clock of an ended thread makes the call fail, nothing else.
        let failed = unsafe { libc::clock_gettime(self.0, &raw mut time) };
        (failed == 0).then(|| Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32))
    }
}
