//! Memory stays bounded whatever is dead, and what an optional sink misses is spilled, or a recorded gap.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use deltaforge_testkit::arrivals::Arrivals;
use deltaforge_testkit::host::Host;
use deltaforge_testkit::http::{HttpSink, Mood};
use deltaforge_testkit::random::seed;
use deltaforge_testkit::shop::Story;
use deltaforge_testkit::{scale, wait};
use serde_json::Value;

use crate::{MINUTES, Place, alone, pipeline, shared, wait_for_last, wait_for_last_at};

const BUDGET_BYTES: u64 = 64 << 20;
/// What a host may use besides the budget of its pipeline.
const BESIDES_BYTES: u64 = 64 << 20;
const PER_SECOND: u64 = 2_500;
const DEAD_FOR: Duration = Duration::from_secs(60);
/// Bounds of the latency histogram's buckets, seconds.
const BUCKETS: [&str; 10] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5"];

fn yaml(endpoint: &HttpSink, settings: &str) -> String {
    pipeline(&format!(
        "  sinks:
    - {{ type: file, config: {{ id: out, path: out.jsonl }} }}
    - {{ type: http, config: {{ id: hook, url: \"{}/\", batch_mode: true, send_timeout_secs: 1, batch_timeout_secs: 2, {settings} }} }}
  commit_policy: {{ mode: required }}
  max_memory_bytes: {BUDGET_BYTES}
",
        endpoint.url()
    ))
}

/// Watches a host's memory for a time, and on until `ask` is true.
#[track_caller]
fn watch_memory(host: &Host, time: Duration, mut ask: impl FnMut() -> bool) -> u64 {
    let start = Instant::now();
    let mut most = 0;
    wait::until("what the memory is watched for", time + MINUTES, || {
        most = most.max(host.memory_bytes());
        assert!(
            most < BUDGET_BYTES + BESIDES_BYTES,
            "{} MiB are in use after {:?}",
            most >> 20,
            start.elapsed()
        );
        (start.elapsed() >= time && ask()).then_some(())
    });
    most
}

/// How many batches took at most how long from commit to durable, by bucket, and in all.
fn latencies(host: &Host) -> (Vec<f64>, f64) {
    let count = |bound: &str| {
        host.metric("deltaforge_e2e_latency_seconds_bucket", &[&format!("le=\"{bound}\"")]).unwrap_or(0.0)
    };
    (BUCKETS.iter().map(|bound| count(bound)).collect(), count("+Inf"))
}

/// The upper bound of the bucket with the 99th percentile of what was measured between two looks, seconds.
fn p99(before: &(Vec<f64>, f64), after: &(Vec<f64>, f64)) -> f64 {
    let all = after.1 - before.1;
    assert!(all > 20.0, "too few batches to tell: {all}");
    let within = before.0.iter().zip(&after.0).position(|(before, after)| after - before >= 0.99 * all);
    within.map_or(f64::INFINITY, |bucket| BUCKETS[bucket].parse().unwrap())
}

#[test]
fn with_a_dead_required_sink_memory_stays_in_the_budget() {
    let _machine = shared();
    let seed = seed("with_a_dead_required_sink_memory_stays_in_the_budget");
    let place = Place::new();
    let endpoint = HttpSink::start(Mood::Silent);
    let mut host = Host::new(place.path(), &yaml(&endpoint, "required: true"));
    host.start_ready();
    let writer = place.writer(seed, u64::MAX, PER_SECOND);
    watch_memory(&host, scale::time(DEAD_FOR, Duration::from_secs(15)), || true);
    let happened = Story::until(seed, writer.stop());
    endpoint.set(Mood::Kind);
    watch_memory(&host, Duration::ZERO, || endpoint.taken_count() > 0);
    wait_for_last_at(&endpoint, &happened);
    wait_for_last(&place.file("out.jsonl"), &happened);
    watch_memory(&host, Duration::ZERO, || true);
    assert!(host.terminate(wait::SOON).0.success());
    Arrivals::parse(&endpoint.events()).assert_tell(&happened);
    Arrivals::of_file(&place.file("out.jsonl")).assert_tell(&happened);
}

#[test]
fn a_dead_optional_sink_is_spilled_for_delays_nobody_and_catches_up_over_kills() {
    let machine = alone();
    let seed = seed("a_dead_optional_sink_is_spilled_for_delays_nobody_and_catches_up_over_kills");
    let place = Place::new();
    let endpoint = HttpSink::start(Mood::Kind);
    let mut host = Host::new(place.path(), &yaml(&endpoint, "required: false"));
    host.start_ready();
    let writer = place.writer(seed, u64::MAX, PER_SECOND);
    let out = place.file("out.jsonl");
    wait::until("events arrive", wait::SOON, || deltaforge_testkit::lines::last(&out));
    let dead_for = scale::time(DEAD_FOR, Duration::from_secs(15));

    let begin = latencies(&host);
    watch_memory(&host, dead_for / 4, || true);
    let alive = latencies(&host);
    endpoint.set(Mood::Silent);
    watch_memory(&host, dead_for, || true);
    let dead = latencies(&host);
    let (p99_alive, p99_dead) = (p99(&begin, &alive), p99(&alive, &dead));
    assert!(p99_dead <= (2.0 * p99_alive).max(0.25), "p99 rose from {p99_alive} s to {p99_dead} s");
    // What follows measures no time.
    drop(machine);
    let _machine = shared();
    let shown = host.pipeline("shop");
    assert_eq!((&shown["status"], &shown["degraded"]), (&"running".into(), &true.into()), "{shown}");
    assert!(shown["ops"]["sinks"][1]["spill_bytes"].as_u64().unwrap() > 0, "{shown}");
    assert_eq!(host.rest().get("/ready").status, 200, "an optional sink does not count");

    host.kill();
    for count in [1, 5] {
        host.start_armed("spill.pushed", count);
        assert_eq!(host.wait_exit(MINUTES).code(), None, "spill.pushed must end the host by SIGKILL");
    }
    host.start_ready();
    watch_memory(&host, dead_for / 4, || true);
    endpoint.set(Mood::Kind);
    watch_memory(&host, dead_for / 10, || true);
    host.kill();
    host.start_ready();
    let happened = Story::until(seed, writer.stop());
    watch_memory(&host, Duration::ZERO, || host.pipeline("shop")["ops"]["sinks"][1]["spill_bytes"] == 0);
    wait_for_last_at(&endpoint, &happened);
    wait_for_last(&out, &happened);
    host.wait_pipeline("shop", "nothing is degraded", wait::SOON, |shown| shown["degraded"] == false);
    assert!(host.terminate(wait::SOON).0.success());
    Arrivals::of_file(&out).assert_tell(&happened);
    Arrivals::parse(&endpoint.events()).assert_tell(&happened);
}

#[test]
fn past_the_spill_a_gap_is_recorded_and_shown() {
    let _machine = shared();
    let seed = seed("past_the_spill_a_gap_is_recorded_and_shown");
    let place = Place::new();
    let endpoint = HttpSink::start(Mood::Refusing(503));
    let settings = "required: false, spill: { max_bytes: 1048576 }";
    let mut host = Host::new(place.path(), &yaml(&endpoint, settings));
    host.start_ready();
    let happened = Story::until(seed, place.writer(seed, 20_000, 0).finish(MINUTES));
    let out = place.file("out.jsonl");
    wait_for_last(&out, &happened);
    let has_gap = |shown: &Value| !shown["ops"]["sinks"][1]["gaps"].as_array().unwrap().is_empty();
    let shown = host.wait_pipeline("shop", "a gap is shown", MINUTES, has_gap);
    assert_eq!(shown["degraded"], true, "{shown}");
    let ready = host.rest().get("/ready");
    assert_eq!(ready.status, 200);
    assert!(ready.text.contains("sink_gap"), "{}", ready.text);

    host.kill();
    host.start_ready();
    let shown = host.pipeline("shop");
    assert!(has_gap(&shown), "a gap survives a restart: {shown}");
    endpoint.set(Mood::Kind);
    // What comes after the gap arrives again; one more row makes the end plain.
    host.wait_pipeline("shop", "the spill is empty", MINUTES, |shown| {
        shown["ops"]["sinks"][1]["spill_bytes"] == 0
    });
    place.shop.run("INSERT INTO customers (id, name, rev) VALUES (100000, 'the end', 1)");
    wait::until("the last row arrives", 2 * MINUTES, || {
        endpoint.taken().pop().filter(|taken| taken.body.contains("the end"))
    });
    let gaps = host.pipeline("shop")["ops"]["sinks"][1]["gaps"].clone();
    assert_eq!(host.pipeline("shop")["degraded"], true, "until somebody says that they know of it");
    let known = host.rest().post("/pipelines/shop/sinks/hook/gaps/ack", None).ok();
    assert_eq!(known["acknowledged"], gaps);
    host.wait_pipeline("shop", "it is no longer degraded", wait::SOON, |shown| shown["degraded"] == false);
    host.kill();
    host.start_ready();
    let shown = host.pipeline("shop");
    assert!(has_gap(&shown) && shown["degraded"] == false, "that survives a restart: {shown}");
    assert!(host.terminate(wait::SOON).0.success());

    let there = Arrivals::parse(&endpoint.events());
    let there: HashSet<&str> = there.distinct().iter().map(|arrival| arrival.event_id.as_str()).collect();
    let file = Arrivals::of_file(&out);
    let missing: Vec<u64> = file
        .distinct()
        .into_iter()
        .filter(|arrival| !there.contains(arrival.event_id.as_str()))
        .map(|arrival| arrival.json()["source"]["sequence"].as_u64().unwrap())
        .collect();
    assert!(!missing.is_empty());
    let gaps = gaps.as_array().unwrap();
    let of = |gap: &Value, end: &str| gap[end]["sequence"].as_u64().unwrap_or(0);
    for sequence in &missing {
        assert!(
            gaps.iter().any(|gap| of(gap, "from") < *sequence && *sequence <= of(gap, "to")),
            "{sequence} is missing and in no gap: {gaps:?}"
        );
    }
    let recorded: u64 = gaps.iter().map(|gap| gap["events"].as_u64().unwrap()).sum();
    assert_eq!(recorded, missing.len() as u64, "{gaps:?}");
}
