//! What a guest may use: time, memory, edits.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use deltaforge_engine::error::ConfigError;
use deltaforge_engine::share::give_way;
use deltaforge_engine::stage::{Limit, StageLimits};
use deltaforge_engine::tenants::LimitReached;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;
use wasmtime::ResourceLimiter;

use crate::error::Ended;

/// What is asked of a stage whose block sets no limits.
pub const DEFAULT_LIMITS: StageLimits = StageLimits::DEFAULT;
/// Time to instantiate, describe and open, where it is more than the stage's own limits allow.
pub(crate) const START_LIMITS: StageLimits =
    StageLimits { cpu_ms: 1_000, timeout_ms: 10_000, ..DEFAULT_LIMITS };
/// Columns that one call may add.
pub const MAX_ADDED_COLUMNS: usize = 1_000;
/// Table elements of a guest, over all its tables.
const MAX_TABLE_ELEMENTS: usize = 100_000;
/// Handles that a guest holds at once.
pub(crate) const MAX_HANDLES: usize = 10_000;
/// What its calls take of the stack, KiB.
pub(crate) const MAX_STACK_KIB: usize = 512;
const MAX_INSTANCES: usize = 128;
const MAX_TABLES: usize = 128;
const MAX_MEMORIES: usize = 16;
/// Bytes that a guest hands over in one call of a host's function: its memory's limit, held to these.
const HANDED_OVER_MB: (u64, u64) = (64, 1024);

/// What a stage asks for and may not have, as problems of its block.
pub(crate) fn refused(reached: Vec<LimitReached>) -> Vec<ConfigError> {
    reached.into_iter().map(|reached| reached.in_block("limits")).collect()
}

/// The guest's own running time: what its thread ran while it was in there, however often it gave way.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Thread time used in earlier turns of this call.
    used: AtomicU64,
    /// Thread time at which this turn began.
    since: AtomicU64,
    limit: AtomicU64,
    /// How long it stood in the queue of the compute threads and of the processor in this call, nanoseconds: others' time, not
    /// its own.
    queued: AtomicU64,
}

fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Meter {
    /// How long the guest ran in this call, when that is longer than it may. Only for the thread it runs on.
    pub(crate) fn passed(&self) -> Option<Ended> {
        let ran = self.used.load(Relaxed) + thread_nanos().saturating_sub(self.since.load(Relaxed));
        let limit = self.limit.load(Relaxed);
        let ended = Ended::Cpu { ran_ms: ran / 1_000_000, limit_ms: limit / 1_000_000 };
        (ran >= limit).then_some(ended)
    }

    /// How long the guest ran in its last call.
    pub(crate) fn ran(&self) -> Duration {
        Duration::from_nanos(self.used.load(Relaxed))
    }

    /// Runs a call under limits; the epoch callback asks [`Meter::passed`] at every tick. `None`: it took longer than `timeout_ms`, without the time in which others computed.
    pub(crate) async fn run<T>(&self, limits: StageLimits, call: impl Future<Output = T>) -> Option<T> {
        self.used.store(0, Relaxed);
        self.queued.store(0, Relaxed);
        self.limit.store(limits.cpu_ms.saturating_mul(1_000_000), Relaxed);
        let mut call = pin!(call);
        let turns = std::future::poll_fn(|context| {
            let (since, began) = (thread_nanos(), std::time::Instant::now());
            self.since.store(since, Relaxed);
            let polled = call.as_mut().poll(context);
            let ran = thread_nanos().saturating_sub(since);
            self.used.fetch_add(ran, Relaxed);
            // Others had the processor meanwhile: a guest that is at work does not stall.
            let waited = nanos(began.elapsed()).saturating_sub(ran);
            self.queued.fetch_add(waited, Relaxed);
            polled
        });
        let mut turns = pin!(turns);
        let began = Instant::now();
        loop {
            let deadline = began
                + Duration::from_millis(limits.timeout_ms)
                + Duration::from_nanos(self.queued.load(Relaxed));
            if deadline <= Instant::now() {
                return None;
            }
            if let Ok(done) = tokio::time::timeout_at(deadline, turns.as_mut()).await {
                return Some(done);
            }
        }
    }

    /// Lets others compute; what that takes does not count against the call.
    pub(crate) async fn give_way(self: Arc<Self>) {
        let since = Instant::now();
        give_way().await;
        self.queued.fetch_add(nanos(since.elapsed()), Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Holds a guest to its memory, over all its linear memories.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    limit: usize,
    held: usize,
    tables: usize,
    refused: Option<Refused>,
}

/// What a guest wanted more of than there is for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Memory.
    Memory,
    /// Places in its tables: of function pointers, mostly.
    Table,
}

impl Refused {
    /// It, where the stage has these limits.
    pub(crate) fn describe(self, own: &StageLimits) -> String {
        match self {
            Self::Memory => {
                format!("it wanted more memory than {} MiB ({})", own.mem_mb, own.name(Limit::MemMb))
            }
            Self::Table => {
                format!("it wanted more than {MAX_TABLE_ELEMENTS} table elements (no key raises it)")
            }
        }
    }
}

/// Bytes that a guest whose memory has this limit hands over in one call of a host's function.
pub(crate) fn handed_over(mem_mb: u64) -> usize {
    let (least, most) = HANDED_OVER_MB;
    (mem_mb.clamp(least, most) as usize) << 20
}

/// The bound that the runtime itself ended a call for, if this is how it says so, of a stage with these limits.
pub(crate) fn bound_of_the_runtime(says: &str, own: &StageLimits) -> Option<String> {
    let (least, most) = HANDED_OVER_MB;
    if says.contains("fuel allocated for hostcalls") {
        return Some(format!(
            "what one call of a host's function takes ({}, but from {least} to {most} MiB)",
            own.name(Limit::MemMb)
        ));
    }
    if says.contains("store handle limit exceeded") {
        return Some(format!("{MAX_HANDLES} handles at once (no key raises it)"));
    }
    says.contains("resource limit exceeded").then(|| {
        format!(
            "{MAX_INSTANCES} instances, {MAX_TABLES} tables and {MAX_MEMORIES} memories in a component (no key raises it)"
        )
    })
}

impl MemoryLimit {
    pub(crate) fn new(mem_mb: u64) -> Self {
        let limit = usize::try_from(mem_mb.saturating_mul(1 << 20)).unwrap_or(usize::MAX);
        Self { limit, held: 0, tables: 0, refused: None }
    }

    /// The most it may hold, in bytes.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Whether so much is held that the instance is better replaced than called again.
    pub(crate) fn is_grown(&self) -> bool {
        self.held > self.limit / 4 * 3
    }

    /// What the guest was refused since this was asked last.
    pub(crate) fn take_refused(&mut self) -> Option<Refused> {
        self.refused.take()
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let held = self.held.saturating_add(desired.saturating_sub(current));
        if held > self.limit {
            self.refused = Some(Refused::Memory);
            return Ok(false);
        }
        self.held = held;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let held = self.tables.saturating_add(desired.saturating_sub(current));
        if held > MAX_TABLE_ELEMENTS {
            self.refused = Some(Refused::Table);
            return Ok(false);
        }
        self.tables = held;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

/// What a stage's limits are, and the meter that every instance of it shares in turn.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) call: StageLimits,
    pub(crate) meter: Arc<Meter>,
}

impl Limits {
    pub(crate) fn new(call: StageLimits) -> Self {
        Self { call, meter: Arc::default() }
    }

    /// The limits of the calls that make an instance ready.
    pub(crate) fn start(&self) -> StageLimits {
        StageLimits {
            cpu_ms: self.call.cpu_ms.max(START_LIMITS.cpu_ms),
            timeout_ms: self.call.timeout_ms.max(START_LIMITS.timeout_ms),
            ..self.call
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn time_in_which_others_have_the_processor_is_no_stall() {
        let (meter, limits) = (Arc::new(Meter::default()), StageLimits { timeout_ms: 50, ..DEFAULT_LIMITS });
        let own = meter.clone();
        let call = async move {
            for _ in 0..4 {
                // As a thread that is taken from the processor: it neither runs nor does it wait for anything.
                std::thread::sleep(Duration::from_millis(30));
                own.clone().give_way().await;
            }
        };
        assert!(meter.run(limits, call).await.is_some());
        assert!(meter.run(limits, std::future::pending::<()>()).await.is_none());
    }
}
