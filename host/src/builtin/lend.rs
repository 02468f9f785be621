//! What the host lends a plugin that is linked natively: its log and its metrics.

use std::sync::Arc;

use deltaforge_engine::lines;
use deltaforge_engine::span::unless_said;
use deltaforge_engine::stage::StageSpec;
use deltaforge_sdk::log::Level;
use deltaforge_sdk::native::Host;

/// Bytes of a line's fields.
const MAX_FIELDS: usize = 4096;

/// Speaks for one stage.
pub(super) struct Lend {
    tenant: String,
    pipeline: String,
    stage: String,
    plugin: String,
}

impl Lend {
    pub(super) fn to(spec: &StageSpec, plugin: &str) -> Arc<dyn Host> {
        Arc::new(Self {
            tenant: spec.tenant.clone(),
            pipeline: spec.pipeline.clone(),
            stage: spec.id.clone(),
            plugin: plugin.to_owned(),
        })
    }

    fn name(&self, metric: &str) -> String {
        format!("deltaforge_plugin_{}_{metric}", self.plugin)
    }

    fn labels(&self) -> [(&'static str, String); 2] {
        [("pipeline", self.pipeline.clone()), ("stage", self.stage.clone())]
    }

    /// A counter of a built-in that has a documented name of its own: `deltaforge_outbox_transformed_total`, and for
    /// `dropped_REASON_total` a label.
    fn documented(&self, counter: &str) -> Option<metrics::Counter> {
        if self.plugin != "outbox" {
            return None;
        }
        let (pipeline, processor) = (self.pipeline.clone(), self.stage.clone());
        if counter == "transformed_total" {
            let name = "deltaforge_outbox_transformed_total";
            return Some(metrics::counter!(name, "pipeline" => pipeline, "processor" => processor));
        }
        let reason = counter.strip_prefix("dropped_")?.strip_suffix("_total")?.to_owned();
        let name = "deltaforge_outbox_dropped_total";
        Some(metrics::counter!(name, "pipeline" => pipeline, "processor" => processor, "reason" => reason))
    }
}

impl Host for Lend {
    fn log_enabled(&self, level: Level) -> bool {
        match level {
            Level::Trace => tracing::enabled!(target: "deltaforge::plugin", tracing::Level::TRACE),
            Level::Debug => tracing::enabled!(target: "deltaforge::plugin", tracing::Level::DEBUG),
            Level::Info => tracing::enabled!(target: "deltaforge::plugin", tracing::Level::INFO),
            Level::Warn => tracing::enabled!(target: "deltaforge::plugin", tracing::Level::WARN),
            Level::Error => tracing::enabled!(target: "deltaforge::plugin", tracing::Level::ERROR),
        }
    }

    fn log(&self, level: Level, text: &str, fields: &[(&str, &str)]) {
        let Self { tenant, pipeline, stage, .. } = self;
        let fields = lines::fields(fields.iter().copied(), MAX_FIELDS).map(tracing::field::display);
        let pipeline = unless_said(pipeline);
        macro_rules! line {
            ($level:ident) => {
                tracing::event!(
                    target: "deltaforge::plugin", tracing::Level::$level,
                    pipeline, tenant, stage, text, fields, "plugin"
                )
            };
        }
        match level {
            Level::Trace => line!(TRACE),
            Level::Debug => line!(DEBUG),
            Level::Info => line!(INFO),
            Level::Warn => line!(WARN),
            Level::Error => line!(ERROR),
        }
    }

    fn metric_add(&self, counter: &str, delta: u64) {
        let documented = self.documented(counter);
        documented.unwrap_or_else(|| metrics::counter!(self.name(counter), &self.labels())).increment(delta);
    }

    fn metric_set(&self, gauge: &str, value: f64) {
        metrics::gauge!(self.name(gauge), &self.labels()).set(value);
    }

    fn metric_observe(&self, histogram: &str, value: f64) {
        metrics::histogram!(self.name(histogram), &self.labels()).record(value);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use deltaforge_engine::stage::StageCode;
    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_says_its_pipeline_once_and_quotes_its_fields_once() {
        let spec = StageSpec {
            id: "messages".to_owned(),
            pipeline: "orders".to_owned(),
            tenant: "acme".to_owned(),
            code: StageCode::Builtin("outbox".to_owned()),
            config: Value::Null,
            limits: None,
            grants: Vec::new(),
            base_dir: None,
        };
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let fields = [("table", "main.outbox"), ("reason", "null_payload")];
            let say = || Lend::to(&spec, "outbox").log(Level::Warn, "dropped outbox events", &fields);
            tracing::error_span!("run", pipeline = "orders").in_scope(say);
            say();
        });
        let text = String::from_utf8(log.0.lock().clone()).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines {
            assert_eq!(line.matches("pipeline=\"orders\"").count(), 1, "{line}");
            assert!(line.contains("fields={table=\"main.outbox\" reason=\"null_payload\"}"), "{line}");
        }
        assert_eq!(lines.len(), 2, "{text}");
    }
}
