//! Named places where a test may kill the process. Always compiled in; one relaxed load each when unarmed.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static ARMED: AtomicBool = AtomicBool::new(false);
static POINTS: OnceLock<HashMap<String, AtomicU64>> = OnceLock::new();

/// Every failpoint, in the order of a batch's life. [`arm`] refuses other names.
pub const NAMES: [&str; 24] = [
    "source.batch",
    "stage.applied",
    "swap.storing",
    "swap.stored",
    "dlq.stored",
    "sink.write",
    "sink.written",
    // A transaction of the Kafka sink, with everything in it and about to be committed, and once it is.
    "kafka.commit",
    "kafka.committed",
    "sink.durable",
    "checkpoint.hand_in",
    "checkpoint.stored",
    "source.confirm",
    "source.confirmed",
    "spill.pushed",
    // Beside the batches: a command that was carried out, and is not recorded yet.
    "audit.done",
    // A snapshot that was asked for is stored, and so is what has become of it.
    "snapshot.asked",
    "snapshot.changed",
    // A stream is to begin anew; the checkpoints are there still.
    "source.anew",
    // A version on its way into the registry, and out of it.
    "publish.written",
    "publish.placed",
    "delete.begun",
    "delete.aside",
    // Kept code on its way out, each of it.
    "collect.removed",
];

/// Arms failpoints from `name=count,name=count`: the process kills itself, as SIGKILL would, when the named
/// place is reached for the `count`-th time.
///
/// # Errors
///
/// Names the part that is unknown or malformed.
pub fn arm(spec: &str) -> Result<(), String> {
    let mut points = HashMap::new();
    for part in spec.split(',').filter(|part| !part.is_empty()) {
        let (name, count) = part.split_once('=').unwrap_or((part, "1"));
        let count = count.parse::<u64>().ok().filter(|count| *count > 0);
        match count {
            Some(count) if NAMES.contains(&name) => points.insert(name.to_owned(), AtomicU64::new(count)),
            _ => return Err(format!("failpoint {part}: expected one of {}, and =COUNT", NAMES.join(", "))),
        };
    }
    let armed = !points.is_empty();
    if POINTS.set(points).is_ok() {
        ARMED.store(armed, Ordering::Relaxed);
    }
    Ok(())
}

/// Passes a failpoint.
#[inline]
pub fn hit(name: &'static str) {
    if ARMED.load(Ordering::Relaxed) {
        hit_armed(name);
    }
}

#[cold]
fn hit_armed(name: &'static str) {
    let Some(left) = POINTS.get().and_then(|points| points.get(name)) else { return };
    if left.fetch_sub(1, Ordering::SeqCst) == 1 {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
