//! What plugins use, as metrics by tenant and plugin.
//!
//! They are kept here and not with the host's other metrics, which are never forgotten while it runs: versions come and
//! go, and each one is a label of its own.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::stages::Toll;

/// Pairs of a tenant and a plugin that a host tells apart; those at work first.
pub const MOST_PAIRS: usize = 10_000;
/// The label of what is not told apart. No tenant has such a name, and no plugin.
const OTHER: &str = "(other)";
/// What plugins that add metrics of their own must not call them, and what they are.
pub const NAMES: [(&str, &str); 9] = [
    ("deltaforge_plugin_calls_total", "counter"),
    ("deltaforge_plugin_events_in_total", "counter"),
    ("deltaforge_plugin_events_out_total", "counter"),
    ("deltaforge_plugin_rejected_total", "counter"),
    ("deltaforge_plugin_cpu_milliseconds_total", "counter"),
    ("deltaforge_plugin_memory_bytes", "gauge"),
    ("deltaforge_plugin_failed_total", "counter"),
    // By pipeline and stage, and so with the host's other metrics.
    ("deltaforge_plugin_log_dropped_total", "counter"),
    ("deltaforge_plugin_metrics_dropped_total", "counter"),
];

/// The metrics of one plugin of one tenant. Cheap to clone; whoever holds it is at work.
#[derive(Clone)]
pub struct Usage(Arc<Counts>);

/// What is counted of a pair.
#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    events_in: AtomicU64,
    events_out: AtomicU64,
    rejected: AtomicU64,
    cpu_ms: AtomicU64,
    memory: AtomicI64,
    /// By code.
    failed: Mutex<BTreeMap<&'static str, u64>>,
    /// When somebody last began to use it, in the order in which that happened.
    begun: AtomicU64,
}

/// A tenant and a plugin, `mask@1.1.0`: without its version it could not be seen what a new one does.
type Pair = (String, String);

/// The pairs that are told apart.
struct Book {
    most: usize,
    begun: AtomicU64,
    pairs: Mutex<HashMap<Pair, Arc<Counts>>>,
}

static BOOK: LazyLock<Book> = LazyLock::new(|| Book::new(MOST_PAIRS));

impl Book {
    fn new(most: usize) -> Self {
        Self { most, begun: AtomicU64::new(0), pairs: Mutex::default() }
    }

    /// A pair's counts. Where there are too many, those that nobody has used the longest give their places back; where
    /// all are in use, it is one of the others: of its tenant, or, where nothing is known of that, of all.
    fn of(&self, tenant: &str, plugin: &str) -> Arc<Counts> {
        let mut pairs = self.pairs.lock();
        let mut pair = (tenant.to_owned(), plugin.to_owned());
        while !pairs.contains_key(&pair) && pairs.len() >= self.most {
            let unused = pairs.iter().filter(|(_, counts)| Arc::strong_count(counts) == 1);
            let unused = unused.min_by_key(|(_, counts)| counts.begun.load(Relaxed));
            if let Some(unused) = unused.map(|(pair, _)| pair.clone()) {
                pairs.remove(&unused);
                continue;
            }
            let known = pairs.keys().any(|(known, _)| known == tenant);
            pair = (if known { tenant } else { OTHER }.to_owned(), OTHER.to_owned());
            break;
        }
        let counts = pairs.entry(pair).or_default();
        counts.begun.store(self.begun.fetch_add(1, Relaxed), Relaxed);
        counts.clone()
    }

    /// All of them in the text form of Prometheus.
    fn rendered(&self) -> String {
        let mut all: Vec<Shown> = self.pairs.lock().iter().map(|(pair, counts)| counts.shown(pair)).collect();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut text = String::new();
        for (at, (name, kind)) in NAMES[..FAMILIES].iter().enumerate() {
            let _ = writeln!(text, "# TYPE {name} {kind}");
            for Shown { labels, values, .. } in &all {
                let _ = writeln!(text, "{name}{{{labels}}} {}", values[at]);
            }
            text.push('\n');
        }
        let (name, kind) = NAMES[FAMILIES];
        let _ = writeln!(text, "# TYPE {name} {kind}");
        for Shown { labels, failed, .. } in &all {
            for (code, times) in failed {
                let _ = writeln!(text, "{name}{{{labels},code=\"{code}\"}} {times}");
            }
        }
        text
    }
}

/// Metrics that every pair has, the first of [`NAMES`].
const FAMILIES: usize = 6;

/// A pair's counts at one moment.
struct Shown {
    labels: String,
    values: [i64; FAMILIES],
    failed: BTreeMap<&'static str, u64>,
}

impl Counts {
    fn shown(&self, (tenant, plugin): &Pair) -> Shown {
        let count = |counter: &AtomicU64| i64::try_from(counter.load(Relaxed)).unwrap_or(i64::MAX);
        let Self { calls, events_in, events_out, rejected, cpu_ms, memory, failed, .. } = self;
        let [calls, events_in, events_out, rejected, cpu_ms] =
            [calls, events_in, events_out, rejected, cpu_ms].map(count);
        Shown {
            labels: format!("tenant=\"{}\",plugin=\"{}\"", escaped(tenant), escaped(plugin)),
            values: [calls, events_in, events_out, rejected, cpu_ms, memory.load(Relaxed)],
            failed: failed.lock().clone(),
        }
    }
}

/// A label's value as the text form has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What plugins use, in the text form of Prometheus, to be shown beside the host's other metrics.
pub fn rendered() -> String {
    BOOK.rendered()
}

impl Usage {
    /// The metrics of `plugin` (`mask@1.1.0`, `builtin:filter`, `inline`) for `tenant`.
    pub fn of(tenant: &str, plugin: &str) -> Self {
        Self(BOOK.of(tenant, plugin))
    }

    /// Of a plugin that does no work: it is looked at, or tried out. Nobody is shown it.
    pub fn nobodys() -> Self {
        Self(Arc::default())
    }

    /// What became of a batch that goes on; events of other tables, which passed the plugin by, are not its.
    pub(crate) fn count(&self, toll: &Toll, passed_by: u64) {
        self.0.events_in.fetch_add(toll.shown, Relaxed);
        self.0.events_out.fetch_add(toll.left.saturating_sub(passed_by), Relaxed);
        self.0.rejected.fetch_add(toll.rejected, Relaxed);
    }

    /// What a formatter made of a slice.
    pub fn formatted(&self, shown: usize, rejected: usize) {
        self.0.events_in.fetch_add(shown as u64, Relaxed);
        self.0.events_out.fetch_add(shown.saturating_sub(rejected) as u64, Relaxed);
        self.0.rejected.fetch_add(rejected as u64, Relaxed);
    }

    /// A call, and the code of what ended it where it did not go well: `plugin_trap`, `plugin_deadline`, …
    pub fn called(&self, failed: Option<&'static str>) {
        self.0.calls.fetch_add(1, Relaxed);
        if let Some(code) = failed {
            *self.0.failed.lock().entry(code).or_default() += 1;
        }
    }
}

/// A guest's running time and memory, told by who runs it.
pub struct Running {
    usage: Usage,
    uncounted: Duration,
    held: usize,
}

impl Running {
    /// Of a guest that has done nothing yet.
    pub fn new(usage: Usage) -> Self {
        Self { usage, uncounted: Duration::ZERO, held: 0 }
    }

    /// It ran for so long.
    pub fn ran(&mut self, time: Duration) {
        self.uncounted += time;
        let millis = self.uncounted.as_millis();
        if millis > 0 {
            self.usage.0.cpu_ms.fetch_add(millis as u64, Relaxed);
            self.uncounted -= Duration::from_millis(millis as u64);
        }
    }

    /// It holds so much memory now.
    pub fn holds(&mut self, bytes: usize) {
        if bytes != self.held {
            self.usage.0.memory.fetch_add(bytes as i64 - self.held as i64, Relaxed);
            self.held = bytes;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.holds(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<&str> {
        let calls = text.lines().filter_map(|line| line.strip_prefix("deltaforge_plugin_calls_total"));
        calls.collect()
    }

    #[test]
    fn what_is_not_at_work_gives_its_place_back_and_the_others_are_one() {
        let book = Book::new(3);
        let first = book.of("acme", "mask@1.0.0");
        first.calls.fetch_add(7, Relaxed);
        for number in 0..50 {
            // Nobody goes on with these.
            book.of("acme", &format!("mask@1.{number}.0"));
        }
        let text = book.rendered();
        assert_eq!(labels(&text).len(), 3, "{text}");
        assert!(text.contains("plugin_calls_total{tenant=\"acme\",plugin=\"mask@1.0.0\"} 7\n"), "{text}");
        assert!(text.contains("mask@1.49.0") && text.contains("mask@1.48.0"), "the last ones: {text}");
        let at_work = [book.of("acme", "b@1.0.0"), book.of("rival", "b@1.0.0")];
        let others = [book.of("acme", "c@1.0.0"), book.of("acme", "d@1.0.0"), book.of("new", "c@1.0.0")];
        for one in &others {
            one.calls.fetch_add(1, Relaxed);
        }
        let text = book.rendered();
        let shown = labels(&text);
        assert_eq!(
            shown,
            [
                "{tenant=\"(other)\",plugin=\"(other)\"} 1",
                "{tenant=\"acme\",plugin=\"(other)\"} 2",
                "{tenant=\"acme\",plugin=\"b@1.0.0\"} 0",
                "{tenant=\"acme\",plugin=\"mask@1.0.0\"} 7",
                "{tenant=\"rival\",plugin=\"b@1.0.0\"} 0",
            ]
        );
        // A tenant may be called `other`, and is not the others.
        drop((at_work, others));
        book.of("other", "c@1.0.0");
        assert!(book.rendered().contains("{tenant=\"other\",plugin=\"c@1.0.0\"} 0"));
        assert!(!Arc::ptr_eq(&book.of("acme", "mask@1.0.0"), &book.of("rival", "b@1.0.0")));
        assert_eq!(book.of("acme", "mask@1.0.0").calls.load(Relaxed), 7, "the same as before");
    }

    #[test]
    fn what_a_plugin_used_is_shown_with_its_labels() {
        let book = Book::new(10);
        let usage = Usage(book.of("acme", "./a\"b\\c.wasm"));
        usage.called(None);
        usage.called(Some("plugin_trap"));
        usage.formatted(5, 2);
        let mut running = Running::new(usage);
        running.ran(Duration::from_micros(2_700));
        running.ran(Duration::from_micros(400));
        running.holds(65_536);
        let text = book.rendered();
        for line in [
            "# TYPE deltaforge_plugin_memory_bytes gauge",
            r#"deltaforge_plugin_calls_total{tenant="acme",plugin="./a\"b\\c.wasm"} 2"#,
            r#"deltaforge_plugin_events_in_total{tenant="acme",plugin="./a\"b\\c.wasm"} 5"#,
            r#"deltaforge_plugin_events_out_total{tenant="acme",plugin="./a\"b\\c.wasm"} 3"#,
            r#"deltaforge_plugin_rejected_total{tenant="acme",plugin="./a\"b\\c.wasm"} 2"#,
            r#"deltaforge_plugin_cpu_milliseconds_total{tenant="acme",plugin="./a\"b\\c.wasm"} 3"#,
            r#"deltaforge_plugin_memory_bytes{tenant="acme",plugin="./a\"b\\c.wasm"} 65536"#,
            r#"deltaforge_plugin_failed_total{tenant="acme",plugin="./a\"b\\c.wasm",code="plugin_trap"} 1"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line}: {text}");
        }
        drop(running);
        assert!(book.rendered().contains("} 0\n"), "its memory is given back");
        let before = rendered();
        Usage::nobodys().called(Some("plugin_trap"));
        assert_eq!(rendered().matches("plugin_trap").count(), before.matches("plugin_trap").count());
    }
}
