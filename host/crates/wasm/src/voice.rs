//! What a guest says: lines for the log, numbers for the metrics page. Both bounded, whoever asks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use deltaforge_engine::lines::{self, StageLines};
use deltaforge_engine::span::unless_said;
use deltaforge_engine::stage::StageLimits;
use deltaforge_engine::usage;
use metrics::{Counter, Gauge, Histogram};
use parking_lot::Mutex;
use tracing::Level;

use crate::error::cut_to;
use crate::factory::unbounded;
use crate::plugin::digest_of;
use crate::transcript::Transcript;

/// Bytes of one line, its fields included.
const MAX_LINE: usize = 4096;
/// Metric names of one version in a stage.
const MAX_METRICS: usize = 64;
/// Metric names of a stage, whatever is swapped in: the host never forgets one.
const MAX_STAGE_METRICS: usize = 256;
const MAX_METRIC_NAME: usize = 64;

/// Where a stage's guest is heard: its instances come and go, the bounds stay.
pub(crate) struct Voice {
    pipeline: String,
    tenant: String,
    stage: String,
    /// The plugin's name as part of a metric's name: `mask`, a tenant's own `acme__mask`.
    prefix: String,
    lines: StageLines,
    metrics: Mutex<HashMap<String, Metric>>,
    /// The names that the stage has had so far. `None`: it only looks at the plugin, whose numbers go nowhere.
    names: Option<Arc<Mutex<HashSet<String>>>>,
    left_out: Counter,
    /// Set for a trial: what is said is for whoever tries, and for nobody else.
    transcript: Option<Transcript>,
}

#[derive(Clone)]
enum Metric {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// What a name on the metrics page stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// A line of a histogram.
    Part,
}

impl Voice {
    pub(crate) fn new(pipeline: &str, tenant: &str, stage: &str, plugin: &str, lines: StageLines) -> Self {
        // Only between a tenant and a name there are two in a row, so none is another one's.
        let plain = |part: &str| {
            let words = part.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
        };
        let prefix = match plugin.split_once('/') {
            // Of tenants that read the same, `a.b` and `A-b`, one would take names from the other.
            Some((owner, name)) => match plain(owner) {
                same if same == owner => format!("{same}__{}", plain(name)),
                same => format!("{same}_{}__{}", &digest_of(owner.as_bytes())[..6], plain(name)),
            },
            None => plain(plugin),
        };
        Self {
            pipeline: pipeline.to_owned(),
            tenant: tenant.to_owned(),
            stage: stage.to_owned(),
            lines,
            prefix,
            metrics: Mutex::default(),
            names: Some(names_of(pipeline, stage)),
            left_out: metrics::counter!(
                "deltaforge_plugin_log_dropped_total",
                "pipeline" => pipeline.to_owned(), "stage" => stage.to_owned()
            ),
            transcript: None,
        }
    }

    /// With numbers that go nowhere.
    pub(crate) fn without_metrics(self) -> Self {
        Self { names: None, ..self }
    }

    /// With lines that go into a transcript in place of the log.
    pub(crate) fn into_transcript(self, transcript: Transcript) -> Self {
        Self { transcript: Some(transcript), ..self }
    }

    /// Whether a line of this level would reach the log.
    pub(crate) fn enabled(&self, level: Level) -> bool {
        if self.transcript.is_some() {
            return true;
        }
        match level {
            Level::TRACE => tracing::enabled!(target: "deltaforge::plugin", Level::TRACE),
            Level::DEBUG => tracing::enabled!(target: "deltaforge::plugin", Level::DEBUG),
            Level::INFO => tracing::enabled!(target: "deltaforge::plugin", Level::INFO),
            Level::WARN => tracing::enabled!(target: "deltaforge::plugin", Level::WARN),
            Level::ERROR => tracing::enabled!(target: "deltaforge::plugin", Level::ERROR),
        }
    }

    /// Writes a line; a guest's text is untrusted, so it is quoted.
    pub(crate) fn say(&self, level: Level, text: &str, fields: &[(String, String)]) {
        if !self.enabled(level) {
            return;
        }
        let Some(place) = self.lines.place() else {
            match &self.transcript {
                Some(transcript) => transcript.leave_out(),
                None => self.left_out.increment(1),
            }
            return;
        };
        if let Some(gap) = place.gap {
            self.tell(&gap);
        }
        if let Some(transcript) = &self.transcript {
            transcript.write(level, text, fields);
            return;
        }
        let text = cut_to(text, MAX_LINE);
        let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let fields = lines::fields(fields, MAX_LINE - text.len().min(MAX_LINE));
        self.write(level, &text, fields);
    }

    /// Says of the lines that were left out after the last one that was written that they were, and by which limit.
    pub(crate) fn tell_left_out(&self) {
        if let Some(gap) = self.lines.untold() {
            self.tell(&gap);
        }
    }

    fn tell(&self, gap: &str) {
        match &self.transcript {
            Some(transcript) => transcript.write(Level::WARN, gap, &[]),
            None => self.write(Level::WARN, gap, None),
        }
    }

    fn write(&self, level: Level, text: &str, fields: Option<String>) {
        let Self { pipeline, tenant, stage, .. } = self;
        let (pipeline, fields) = (unless_said(pipeline), fields.map(tracing::field::display));
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(target: "deltaforge::plugin", $level, pipeline, tenant, stage, text, fields, "plugin")
            };
        }
        match level {
            Level::TRACE => line!(Level::TRACE),
            Level::DEBUG => line!(Level::DEBUG),
            Level::INFO => line!(Level::INFO),
            Level::WARN => line!(Level::WARN),
            Level::ERROR => line!(Level::ERROR),
        }
    }

    pub(crate) fn add(&self, name: &str, delta: u64) {
        let make =
            |name, labels: [(&'static str, String); 2]| Metric::Counter(metrics::counter!(name, &labels));
        if let Some(Metric::Counter(counter)) = self.metric(name, Kind::Counter, make) {
            counter.increment(delta);
        }
    }

    pub(crate) fn set(&self, name: &str, value: f64) {
        let make = |name, labels: [(&'static str, String); 2]| Metric::Gauge(metrics::gauge!(name, &labels));
        if let Some(Metric::Gauge(gauge)) = self.metric(name, Kind::Gauge, make) {
            gauge.set(value);
        }
    }

    pub(crate) fn observe(&self, name: &str, value: f64) {
        let make =
            |name, labels: [(&'static str, String); 2]| Metric::Histogram(metrics::histogram!(name, &labels));
        if let Some(Metric::Histogram(histogram)) = self.metric(name, Kind::Histogram, make) {
            histogram.record(value);
        }
    }

    /// The metric of this name and kind; `None`, and counted: there is none, or it is of another kind.
    fn metric(
        &self,
        name: &str,
        kind: Kind,
        make: impl FnOnce(String, [(&'static str, String); 2]) -> Metric,
    ) -> Option<Metric> {
        let names = self.names.as_ref()?;
        let mut known = self.metrics.lock();
        match known.get(name) {
            Some(metric) if metric.kind() == kind => return Some(metric.clone()),
            Some(_) => return self.without(),
            None => {}
        }
        let full_name = format!("deltaforge_plugin_{}_{name}", self.prefix);
        let is_free = known.len() < MAX_METRICS && is_metric_name(name) && !is_the_hosts(&full_name);
        if !is_free || !takes(&mut names.lock(), &full_name, kind) {
            return self.without();
        }
        let labels = [("pipeline", self.pipeline.clone()), ("stage", self.stage.clone())];
        let metric = make(full_name, labels);
        known.insert(name.to_owned(), metric.clone());
        Some(metric)
    }

    /// Counts a number that goes nowhere.
    fn without(&self) -> Option<Metric> {
        let Self { pipeline, stage, .. } = self;
        metrics::counter!(
            "deltaforge_plugin_metrics_dropped_total",
            "pipeline" => pipeline.clone(), "stage" => stage.clone()
        )
        .increment(1);
        None
    }
}

impl Metric {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }
}

/// The lines of one that is nobody's stage: no tenant's bound holds them, only what `limits` say.
pub(crate) fn free_lines(limits: StageLimits) -> StageLines {
    StageLines::new(&limits, "", unbounded())
}

/// The names that a stage's metrics have had so far.
fn names_of(pipeline: &str, stage: &str) -> Arc<Mutex<HashSet<String>>> {
    type Names = HashMap<(String, String), Arc<Mutex<HashSet<String>>>>;
    static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);
    NAMES.lock().entry((pipeline.to_owned(), stage.to_owned())).or_default().clone()
}

/// Takes a place for a name among a stage's, unless it has one; and the name itself for metrics of this kind, whoever's they
/// are: a metrics page with two kinds under one name is none.
fn takes(names: &mut HashSet<String>, name: &str, kind: Kind) -> bool {
    // As many as the stages' names, with what histograms make of theirs.
    static KINDS: LazyLock<Mutex<HashMap<String, Kind>>> = LazyLock::new(Mutex::default);
    let mut kinds = KINDS.lock();
    let shown = shown_as(name, kind);
    if shown.iter().any(|(name, kind)| kinds.get(name).is_some_and(|known| known != kind)) {
        return false;
    }
    let has_place =
        names.contains(name) || (names.len() < MAX_STAGE_METRICS && names.insert(name.to_owned()));
    if has_place {
        kinds.extend(shown);
    }
    has_place
}

/// The names that a metric has on the page.
fn shown_as(name: &str, kind: Kind) -> Vec<(String, Kind)> {
    let parts = ["_bucket", "_sum", "_count"].map(|part| (format!("{name}{part}"), Kind::Part));
    let parts = parts.into_iter().filter(|_| kind == Kind::Histogram);
    std::iter::once((name.to_owned(), kind)).chain(parts).collect()
}

/// Whether the host itself has a metric of this name: the plugin `memory` with a counter `bytes`.
fn is_the_hosts(name: &str) -> bool {
    usage::NAMES.iter().any(|(known, _)| *known == name)
}

fn is_metric_name(name: &str) -> bool {
    name.len() <= MAX_METRIC_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> StageLines {
        free_lines(StageLimits::DEFAULT)
    }

    #[test]
    fn metric_names_are_plain_and_few() {
        let voice = Voice::new("p", "t", "s", "acme/Mask--e", lines());
        assert_eq!(voice.prefix, "acme__mask_e");
        let prefix = |plugin: &str| Voice::new("p", "t", "s", plugin, lines()).prefix;
        let alike = ["a_b/mask", "a.b/mask", "a-b/mask", "A_b/mask", "a_b_mask", "a/b_mask"].map(prefix);
        assert_eq!(HashSet::from(alike.clone()).len(), alike.len(), "each has its own: {alike:?}");
        for bad in ["", "A", "1a", "a-b", "a b", "ä", &"a".repeat(65)] {
            assert!(!is_metric_name(bad), "{bad}");
        }
        for number in 0..100 {
            voice.add(&format!("n{number}"), 1);
        }
        assert_eq!(voice.metrics.lock().len(), MAX_METRICS);
        // A name belongs to the kind it was first used with.
        voice.set("n1", 1.0);
        assert!(matches!(voice.metrics.lock()["n1"], Metric::Counter(_)));
    }

    #[test]
    fn a_name_is_of_one_kind_for_all_tenants_and_versions() {
        let voice = |tenant: &str, plugin: &str| Voice::new("kinds", tenant, tenant, plugin, lines());
        let known = |voice: &Voice| voice.metrics.lock().len();
        let first = voice("one", "kinds");
        first.add("rows", 1);
        first.observe("sizes", 1.0);
        assert_eq!(known(&first), 2);
        let other = voice("two", "kinds");
        other.set("rows", 1.0);
        other.observe("rows", 1.0);
        for part in ["sizes", "sizes_sum", "sizes_count", "sizes_bucket"] {
            other.add(part, 1);
            other.set(part, 1.0);
        }
        assert_eq!(known(&other), 0, "they are of other kinds, or lines of a histogram");
        assert!(
            !names_of("kinds", "two").lock().contains("deltaforge_plugin_kinds_rows"),
            "they take no place"
        );
        other.add("rows", 1);
        other.observe("sizes", 1.0);
        assert_eq!(known(&other), 2);
        // The other way round: what a histogram would show is taken.
        other.add("lengths_sum", 1);
        first.observe("lengths", 1.0);
        assert_eq!(known(&first), 2);
    }

    #[test]
    fn a_stage_has_so_many_names_whatever_is_swapped_in_and_none_of_the_hosts() {
        let voice = |plugin: &str| Voice::new("swapped", "t", "s", plugin, lines());
        for version in 0..10 {
            let voice = voice(&format!("mask{version}"));
            (0..MAX_METRICS).for_each(|number| voice.add(&format!("n{number}"), 1));
            let known = voice.metrics.lock().len();
            assert_eq!(known, if version < 4 { MAX_METRICS } else { 0 }, "version {version}");
        }
        let again = voice("mask3");
        again.add("n1", 1);
        assert_eq!(again.metrics.lock().len(), 1, "a name that it has had is its own");
        assert_eq!(names_of("swapped", "s").lock().len(), MAX_STAGE_METRICS);
        for (plugin, name) in
            [("memory", "bytes"), ("calls", "total"), ("events", "in_total"), ("log", "dropped_total")]
        {
            let voice = Voice::new("hosts", "t", "s", plugin, lines());
            voice.add(name, 1);
            assert!(voice.metrics.lock().is_empty(), "{plugin} {name}");
            voice.add("rows", 1);
            assert_eq!(voice.metrics.lock().len(), 1, "{plugin}");
        }
        let looks = voice("mask0").without_metrics();
        looks.add("n1", 1);
        assert!(looks.metrics.lock().is_empty());
    }
}
