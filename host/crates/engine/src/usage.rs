//! What plugins use, as metrics by tenant and plugin.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Label, counter, gauge};
use parking_lot::Mutex;

use crate::stages::Toll;

/// Label sets that a host has of its own; metrics are never forgotten while it runs.
const MOST_LABELS: usize = 1_000;

/// The metrics of one plugin of one tenant. Cheap to clone.
#[derive(Clone)]
pub struct Usage {
    calls: Counter,
    events_in: Counter,
    events_out: Counter,
    rejected: Counter,
    cpu: Counter,
    memory: Gauge,
    labels: Arc<[Label]>,
}

/// The labels of a plugin: `plugin` without its version is not enough to see what a new version does.
fn labels(known: &Mutex<HashSet<(String, String)>>, tenant: &str, plugin: &str) -> Vec<Label> {
    let mut known = known.lock();
    let pair = (tenant.to_owned(), plugin.to_owned());
    let plugin = if known.contains(&pair) || known.len() < MOST_LABELS { plugin } else { "other" };
    let tenant =
        if plugin == "other" && !known.iter().any(|(of, _)| of == tenant) { "other" } else { tenant };
    let pair = (tenant.to_owned(), plugin.to_owned());
    let labels = vec![Label::new("tenant", pair.0.clone()), Label::new("plugin", pair.1.clone())];
    known.insert(pair);
    labels
}

impl Usage {
    /// The metrics of `plugin` (`mask@1.1.0`, `builtin:filter`, `inline`) for `tenant`.
    pub fn of(tenant: &str, plugin: &str) -> Self {
        static KNOWN: std::sync::LazyLock<Mutex<HashSet<(String, String)>>> =
            std::sync::LazyLock::new(Mutex::default);
        let labels = labels(&KNOWN, tenant, plugin);
        Self {
            calls: counter!("deltaforge_plugin_calls_total", labels.clone()),
            events_in: counter!("deltaforge_plugin_events_in_total", labels.clone()),
            events_out: counter!("deltaforge_plugin_events_out_total", labels.clone()),
            rejected: counter!("deltaforge_plugin_rejected_total", labels.clone()),
            cpu: counter!("deltaforge_plugin_cpu_milliseconds_total", labels.clone()),
            memory: gauge!("deltaforge_plugin_memory_bytes", labels.clone()),
            labels: labels.into(),
        }
    }

    /// What became of a batch that goes on; events of other tables, which passed the plugin by, are not its.
    pub(crate) fn count(&self, toll: &Toll, passed_by: u64) {
        self.events_in.increment(toll.shown);
        self.events_out.increment(toll.left.saturating_sub(passed_by));
        self.rejected.increment(toll.rejected);
    }

    /// What a formatter made of a slice.
    pub fn formatted(&self, shown: usize, rejected: usize) {
        self.events_in.increment(shown as u64);
        self.events_out.increment(shown.saturating_sub(rejected) as u64);
        self.rejected.increment(rejected as u64);
    }

    /// A call, and the code of what ended it where it did not go well: `plugin_trap`, `plugin_deadline`, …
    pub fn called(&self, failed: Option<&'static str>) {
        self.calls.increment(1);
        if let Some(code) = failed {
            let mut labels = self.labels.to_vec();
            labels.push(Label::from_static_parts("code", code));
            counter!("deltaforge_plugin_failed_total", labels).increment(1);
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
            self.usage.cpu.increment(millis as u64);
            self.uncounted -= Duration::from_millis(millis as u64);
        }
    }

    /// It holds so much memory now.
    pub fn holds(&mut self, bytes: usize) {
        if bytes != self.held {
            self.usage.memory.increment(bytes as f64 - self.held as f64);
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

    #[test]
    fn label_sets_are_few_whoever_makes_them() {
        let known = Mutex::default();
        let texts =
            |labels: Vec<Label>| labels.iter().map(|label| label.value().to_owned()).collect::<Vec<_>>();
        for number in 0..3 * MOST_LABELS {
            labels(&known, &format!("t{}", number % 7), &format!("p{number}@1.0.0"));
        }
        assert!(known.lock().len() <= MOST_LABELS + 7, "{}", known.lock().len());
        assert_eq!(texts(labels(&known, "t1", "p1@1.0.0")), ["t1", "p1@1.0.0"]);
        assert_eq!(texts(labels(&known, "t1", "p5@9.9.9")), ["t1", "other"]);
        assert_eq!(texts(labels(&known, "new", "p5@9.9.9")), ["other", "other"]);
    }
}
