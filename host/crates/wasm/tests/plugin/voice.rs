//! What guests say: log lines, metrics, standard output; and what WASI shows them.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use crate::support::{guest, mixed, puppet, registry, runtime, spec};
use deltaforge_engine::stage::{StageFactory, StageLimits, StageSpec};
use deltaforge_model::{Batch, Overlay, View};
use deltaforge_wasm::WasmStageFactory;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use parking_lot::Mutex;

/// Runs a stage over a batch, on this thread.
fn run(spec: &StageSpec) -> Batch {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let factory = WasmStageFactory::new(runtime(), registry(dir.path()));
        let mut stage = factory.build(spec, None).await.unwrap().0;
        let view = View::all(Arc::new(mixed(10)));
        let mut edits = Overlay::new();
        stage.process(&view, &mut edits).await.unwrap();
        let mut batch = view.into_batch();
        edits.apply(&mut batch, "stage");
        batch
    })
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines that a stage writes into the log.
fn log_of(spec: &StageSpec) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(log, || run(spec));
    let bytes = lines.0.lock().clone();
    let text = String::from_utf8(bytes).unwrap();
    text.lines().filter(|line| line.contains("deltaforge::plugin")).map(str::to_owned).collect()
}

#[test]
fn a_flood_of_lines_is_cut() {
    let mut flood = puppet("floods-log");
    flood.limits = crate::support::limits(20_000, 60_000, 64);
    let lines = log_of(&flood);
    assert!((200..5_000).contains(&lines.len()), "{}", lines.len());
    assert!(lines[0].contains("stage=\"stage\"") && lines[0].contains("line 0"), "{}", lines[0]);
    let few = StageLimits { log_lines_per_second: 2, ..flood.limits.unwrap() };
    flood.limits = Some(few);
    // Two seconds' worth at once; a loaded machine may take some seconds for the call.
    let lines = log_of(&flood);
    assert!((4..40).contains(&lines.len()), "{}", lines.len());
}

#[test]
fn a_line_is_one_line_and_short() {
    let lines = log_of(&puppet("logs"));
    assert_eq!(lines.len(), 1);
    assert!(lines[0].len() < 10_000 && lines[0].contains("long\\nlong"), "{}", lines[0]);
}

#[test]
fn wasi_shows_a_guest_nothing() {
    let base = guest("wasi").parent().unwrap();
    let mut wasi = spec("./puppet.wasm", base, serde_json::json!({ "act": "lives-in-wasi" }));
    let lines = log_of(&wasi);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("first line") && lines[1].contains("second line"), "{lines:?}");
    let headers = |batch: &Batch| BTreeMap::from_iter(batch.event(0).side().headers.clone());
    let (first, second) = (headers(&run(&wasi)), headers(&run(&wasi)));
    assert_eq!(first["now"], "0");
    assert_eq!(first["random"], second["random"]);
    wasi.grants = vec!["clock".to_owned(), "random".to_owned()];
    let (first, second) = (headers(&run(&wasi)), headers(&run(&wasi)));
    assert!(first["now"].parse::<u64>().unwrap() > 1_700_000_000);
    assert_ne!(first["random"], second["random"]);
}

#[derive(Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<String, u64>>>);

struct Count(Counts, String);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        *self.0.0.lock().entry(self.1.clone()).or_default() += value;
    }

    fn absolute(&self, _: u64) {}
}

impl metrics::Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Count(self.clone(), key.name().to_owned())))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.0.lock().insert(key.name().to_owned(), 1);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.0.lock().insert(key.name().to_owned(), 1);
        Histogram::noop()
    }
}

#[test]
fn metrics_bear_the_plugins_prefix() {
    let base = guest("clock,metrics").parent().unwrap();
    let mut measuring = spec("./puppet.wasm", base, serde_json::json!({ "act": "measures" }));
    measuring.grants = vec!["clock".to_owned(), "metrics".to_owned()];
    let counts = Counts::default();
    metrics::with_local_recorder(&counts, || run(&measuring));
    let counts = counts.0.lock().clone();
    assert_eq!(counts["deltaforge_plugin_puppet_rows_total"], 9); // those of `orders`
    assert!(counts.contains_key("deltaforge_plugin_puppet_last"));
    assert!(counts.contains_key("deltaforge_plugin_puppet_sizes"));
    assert_eq!(counts["deltaforge_plugin_metrics_dropped_total"], 1);
}
