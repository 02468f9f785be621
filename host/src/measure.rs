//! How what is measured becomes Prometheus metrics.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};

const SECONDS: [f64; 13] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const EVENTS: [f64; 10] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2000.0];
const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
/// From a lone row to the largest batches; finest around the usual `max_bytes`.
const BYTES: [f64; 13] = [
    KIB,
    4.0 * KIB,
    16.0 * KIB,
    64.0 * KIB,
    256.0 * KIB,
    512.0 * KIB,
    MIB,
    2.0 * MIB,
    4.0 * MIB,
    8.0 * MIB,
    16.0 * MIB,
    32.0 * MIB,
    64.0 * MIB,
];

/// Every histogram has buckets, which can be summed up over hosts and time; quantiles cannot.
pub fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_latency_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full("deltaforge_batch_events".to_owned()), &EVENTS)?
        .set_buckets_for_metric(Matcher::Full("deltaforge_batch_bytes".to_owned()), &BYTES)?;
    Ok(builder.build_recorder())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_batches_fall_into_buckets_from_a_kibibyte_to_64_mebibytes() {
        let recorder = recorder().unwrap();
        metrics::with_local_recorder(&recorder, || {
            for bytes in [1_000.0, 3.0 * MIB, 3.5 * MIB, 60.0 * MIB, 100.0 * MIB] {
                metrics::histogram!("deltaforge_batch_bytes").record(bytes);
            }
        });
        let text = recorder.handle().render();
        let bucket = |le: &str| {
            let start = format!("deltaforge_batch_bytes_bucket{{le=\"{le}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap_or_else(|| panic!("no bucket {le}: {text}")).parse::<u64>().unwrap()
        };
        let counts = ["1024", "2097152", "4194304", "33554432", "67108864", "+Inf"].map(bucket);
        assert_eq!(counts, [1, 1, 3, 3, 4, 5]);
        assert!(!text.contains("quantile"), "{text}");
    }
}
