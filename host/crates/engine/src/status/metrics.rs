//! What a pipeline counts, for Prometheus.

use std::time::Instant;

use deltaforge_model::{Batch, Op, TableSchema};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use parking_lot::Mutex;

use super::State;
use crate::plan::PipelinePlan;

/// Metric handles of one pipeline.
pub(crate) struct PipelineMetrics {
    pipeline: String,
    source: String,
    read: std::sync::atomic::AtomicU64,
    events: Mutex<std::collections::HashMap<(u64, u8), Counter>>,
    /// Of those, rows that a snapshot copied.
    copied: Mutex<std::collections::HashMap<u64, Counter>>,
    source_bytes: Counter,
    batch_events: Histogram,
    batch_bytes: Histogram,
    pub(super) e2e: Histogram,
    pub(super) stage_commit: Histogram,
    pub(super) checkpoints: Counter,
    status: Gauge,
    in_flight: Gauge,
    pub(super) lag: Gauge,
    pub(super) sinks: Vec<SinkMetrics>,
}

pub(super) struct SinkMetrics {
    pub(super) batches: Counter,
    events: Counter,
    bytes: Counter,
    latency: Histogram,
    pub(super) errors: Counter,
    rejected: Counter,
    pub(super) last_checkpoint: Gauge,
}

impl PipelineMetrics {
    pub(super) fn new(plan: &PipelinePlan) -> Self {
        let own = [("pipeline", plan.name.clone())];
        gauge!("deltaforge_pipeline_info", "pipeline" => plan.name.clone(), "tenant" => plan.tenant.clone())
            .set(1.0);
        let sink = |id: &str| {
            let labels = [("pipeline", plan.name.clone()), ("sink", id.to_owned())];
            SinkMetrics {
                batches: counter!("deltaforge_sink_batch_total", &labels),
                events: counter!("deltaforge_sink_events_total", &labels),
                bytes: counter!("deltaforge_sink_bytes_total", &labels),
                latency: histogram!("deltaforge_sink_latency_seconds", &labels),
                errors: counter!("deltaforge_sink_errors_total", &labels),
                rejected: counter!("deltaforge_sink_rejected_total", &labels),
                last_checkpoint: gauge!("deltaforge_sink_last_checkpoint_ts", &labels),
            }
        };
        let source = [("pipeline", plan.name.clone()), ("source", plan.source.id.clone())];
        Self {
            pipeline: plan.name.clone(),
            source: plan.source.id.clone(),
            read: std::sync::atomic::AtomicU64::new(0),
            events: Mutex::default(),
            copied: Mutex::default(),
            source_bytes: counter!("deltaforge_source_bytes_total", &source),
            batch_events: histogram!("deltaforge_batch_events", &own),
            batch_bytes: histogram!("deltaforge_batch_bytes", &own),
            e2e: histogram!("deltaforge_e2e_latency_seconds", &own),
            stage_commit: histogram!("deltaforge_stage_latency_seconds", "pipeline" => plan.name.clone(), "stage" => "deliver"),
            checkpoints: counter!("deltaforge_checkpoints_stored_total", &own),
            status: gauge!("deltaforge_pipeline_status", &own),
            in_flight: gauge!("deltaforge_batches_in_flight", &own),
            lag: gauge!("deltaforge_source_lag_seconds", &own),
            sinks: plan.sinks.iter().map(|plan| sink(&plan.id)).collect(),
        }
    }

    pub(super) fn state(&self, state: State) {
        self.status.set(match state {
            State::Running => 1.0,
            State::Paused | State::Starting => 0.5,
            State::Stopped => 0.0,
            State::Failed => -1.0,
        });
    }

    pub fn source_batch(&self, batch: &Batch) {
        self.read.fetch_add(batch.len() as u64, std::sync::atomic::Ordering::Relaxed);
        self.batch_events.record(batch.len() as f64);
        self.batch_bytes.record(batch.row_bytes() as f64);
        self.source_bytes.increment(batch.row_bytes() as u64);
        // One counter step for each stretch of equal (table, op), not for each event.
        let mut counters = self.events.lock();
        let mut start = 0;
        while start < batch.len() {
            let first = batch.event(start);
            let same = |at: &usize| {
                let event = batch.event(*at);
                event.table_index() == first.table_index() && event.op() == first.op()
            };
            let len = (start..batch.len()).take_while(same).count();
            let key = (first.table().fingerprint(), first.op() as u8);
            let counter = counters.entry(key).or_insert_with(|| {
                counter!("deltaforge_source_events_total", "pipeline" => self.pipeline.clone(), "source" => self.source.clone(),
                    "table" => first.table().qualified().to_owned(), "op" => first.op().code())
            });
            counter.increment(len as u64);
            if first.op() == Op::Read {
                self.rows_copied(first.table(), len as u64);
            }
            start += len;
        }
    }

    fn rows_copied(&self, table: &TableSchema, rows: u64) {
        let mut counters = self.copied.lock();
        let counter = counters.entry(table.fingerprint()).or_insert_with(|| {
            counter!("deltaforge_snapshot_rows_total", "pipeline" => self.pipeline.clone(), "source" => self.source.clone(),
                "table" => table.qualified().to_owned())
        });
        counter.increment(rows);
    }

    pub fn in_flight(&self, batches: usize) {
        self.in_flight.set(batches as f64);
    }

    /// A delivery is durable.
    pub fn delivered(&self, sink: usize, (events, bytes): (u64, u64), since: Instant) {
        let metrics = &self.sinks[sink];
        metrics.events.increment(events);
        metrics.bytes.increment(bytes);
        metrics.latency.record(since.elapsed().as_secs_f64());
    }

    pub fn sink_rejected(&self, sink: usize) {
        self.sinks[sink].rejected.increment(1);
    }

    pub(super) fn events_read(&self) -> u64 {
        self.read.load(std::sync::atomic::Ordering::Relaxed)
    }
}
