//! Other code for a sink's envelope while the stream goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::pipeline::Pipeline;
use deltaforge_engine::plan::PipelinePlan;
use deltaforge_engine::stage::StageCode;
use deltaforge_engine::swap::{Note, Swappable};
use reqwest::Method;
use serde_json::{Value, json};

use crate::host::{Answer, Host, Plan, code};
use crate::parts::{Numbers, Paced, Shelf, onto};
use crate::setup::{self, is_at, within};

const ENVELOPE: &str = "/pipelines/orders/sinks/out/envelope";

async fn swap(host: &Host, body: Value) -> Answer {
    host.send(Method::PUT, ENVELOPE, &body).await
}

fn orders() -> Plan {
    Plan { envelope: "rows@1.0.0", ..Plan::named("orders") }
}

async fn shown(host: &Host) -> Value {
    host.get("/pipelines/orders").await.1["ops"]["sinks"][0]["envelope"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_is_swapped_at_a_recorded_position_and_back() {
    let host = Host::start().await;
    let orders = host.run(orders());
    orders.read(10, 10).await;
    let (status, answer) = swap(&host, json!({ "plugin": "rows@1.1.0", "why": "shorter" })).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["previous"], &answer["current"]), (&json!("rows@1.0.0"), &json!("rows@1.1.0")));
    assert_eq!((&answer["generation"], &answer["position"]), (&json!(2), &json!({ "n": 10 })));
    assert_eq!((&answer["probation"], &shown(&host).await["probation"]), (&json!(1), &json!(1)));
    orders.read(20, 20).await;
    assert_eq!(shown(&host).await["probation"], 0, "it got through its batch");
    let (status, answer) = swap(&host, json!({ "config": { "token": "t0ken" } })).await;
    assert_eq!((status, &answer["config_changed"]), (200, &json!(true)), "{answer}");

    let info = host.get("/pipelines/orders").await.1;
    let overrides = &info["overrides"][0];
    assert_eq!((&overrides["id"], &overrides["plugin"]), (&json!("out.envelope"), &json!("rows@1.1.0")));
    assert_eq!(overrides["config"], json!({ "token": "***" }));
    assert!(!info.to_string().contains("t0ken"), "{info}");

    // No event has come through the other configuration, so it is nothing to go back to afterwards.
    for (generation, position) in [(4, 30), (5, 40)] {
        let (status, answer) = host.post(&format!("{ENVELOPE}/rollback")).await;
        assert_eq!((status, &answer["generation"]), (200, &json!(generation)), "{answer}");
        orders.read(position, position as usize).await;
    }
    let marks: Vec<String> = orders.marks();
    let run = |from: usize, to: usize, version: &str| {
        let mark = format!("1.0.0 as {version}");
        assert!(marks[from..to].iter().all(|one| *one == mark), "{from}..{to} {version}: {marks:?}");
    };
    run(0, 10, "1.0.0");
    run(10, 30, "1.1.0");
    run(30, 40, "1.0.0");
    let (status, history) = host.get(&format!("{ENVELOPE}/history")).await;
    let generations: Vec<u64> =
        history.as_array().unwrap().iter().map(|one| one["generation"].as_u64().unwrap()).collect();
    assert_eq!((status, generations), (200, vec![5, 4, 3, 2, 1]), "{history}");
    assert_eq!(history[3]["why"], "shorter");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_shape_messages_is_refused_and_what_did_goes_on() {
    let host = Host::start().await;
    let orders = host.run(orders());
    orders.read(5, 5).await;
    let missing = swap(&host, json!({ "plugin": "other@1" })).await;
    assert_eq!(code(&missing), (400, "ENVELOPE_INVALID"));
    assert!(missing.1["message"].as_str().unwrap().contains("the envelope of sink out"), "{}", missing.1);
    assert_eq!(code(&swap(&host, json!({})).await), (400, "ENVELOPE_KIND"));
    assert_eq!(code(&swap(&host, json!({ "plugin": "./x.wasm" })).await), (400, "PLUGIN_IS_A_FILE"));
    assert_eq!(code(&host.post(&format!("{ENVELOPE}/rollback")).await), (409, "NOTHING_TO_ROLL_BACK"));
    let body = json!({ "plugin": "rows@2" });
    let none = host.send(Method::PUT, "/pipelines/orders/sinks/none/envelope", &body).await;
    assert_eq!(code(&none), (404, "SINK_NOT_FOUND"));
    orders.read(10, 10).await;
    assert!(orders.marks().iter().all(|mark| mark == "1.0.0 as 1.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_takes_the_place_of_a_built_in_envelope_and_the_other_way_round() {
    let host = Host::start().await;
    let orders = host.run(Plan::named("orders"));
    orders.read(10, 10).await;
    let marks = |from: usize| orders.marks()[from..].to_vec();
    for (plugin, mark, to) in [
        ("rows@1.1.0", "1.0.0 as 1.1.0", 20),
        ("builtin:native", "1.0.0", 30),
        ("rows@1.2.0", "1.0.0 as 1.2.0", 40),
    ] {
        let (status, answer) = swap(&host, json!({ "plugin": plugin, "probation": 0 })).await;
        assert_eq!((status, &answer["current"]), (200, &json!(plugin)), "{answer}");
        orders.read(to, to as usize).await;
        assert_eq!(marks(to as usize - 10), [mark; 10]);
    }
    let (status, answer) = host.post(&format!("{ENVELOPE}/rollback")).await;
    assert_eq!((status, &answer["current"]), (200, &json!("builtin:native")), "{answer}");
    assert_eq!(host.get("/pipelines/orders").await.1["overrides"], json!([]), "as the document says");
    assert_eq!(swap(&host, json!({ "plugin": "rows@1.3.0" })).await.0, 200);
    assert_eq!(host.post("/pipelines/orders/stop").await.0, 200);
    assert_eq!(host.post("/pipelines/orders/resume").await.0, 200);
    host.until("orders", "running").await;
    orders.read(50, 50).await;
    assert_eq!(marks(40), ["1.0.0 as 1.3.0"; 10], "it is kept over a restart");
    assert_eq!(host.get("/pipelines/orders").await.1["overrides"][0]["plugin"], "rows@1.3.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_that_does_worse_is_put_back_before_anything_of_it_is_delivered() {
    for bad in ["bad", "later", "picky"] {
        let host = Host::start().await;
        let orders = host.run(Plan { dlq: Some(100), batch: 40, ..orders() });
        orders.read(10, 10).await;
        let (status, answer) = swap(&host, json!({ "plugin": format!("rows@{bad}") })).await;
        assert_eq!((status, &answer["probation"]), (200, &json!(1)), "{answer}");
        orders.read(50, 50).await;
        let marks = orders.marks();
        assert!(marks.iter().all(|mark| mark == "1.0.0 as 1.0.0"), "{bad}: {marks:?}");
        assert_eq!(host.get("/pipelines/orders/journal/dlq/count").await.1["count"], 0, "{bad}");
        let envelope = shown(&host).await;
        assert_eq!((&envelope["plugin"], &envelope["generation"]), (&json!("rows@1.0.0"), &json!(3)));
        assert_eq!(envelope["rolled_back"]["generation"], 2);
        let history = host.get(&format!("{ENVELOPE}/history")).await.1;
        assert_eq!((&history[0]["by"], &history[0]["instead_of"]), (&json!("deltaforge"), &json!(2)));
        let why = history[0]["why"].as_str().unwrap();
        let said = match bad {
            "bad" => "it failed on the first batch: plugin_trap: it is bad",
            "later" => "not yet",
            _ => "it could not write 6 of 40 events, the envelope before 0",
        };
        assert!(why.contains(said), "{bad}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_that_does_no_worse_stays() {
    let host = Host::start().await;
    let orders = host.run(Plan { dlq: Some(100), batch: 40, envelope: "rows@picky", ..orders() });
    orders.read(40, 34).await;
    let (status, answer) = swap(&host, json!({ "plugin": "rows@picky2" })).await;
    assert_eq!((status, &answer["probation"]), (200, &json!(1)), "{answer}");
    orders.read(80, 34 + 34).await;
    let envelope = shown(&host).await;
    assert_eq!((&envelope["plugin"], &envelope["probation"]), (&json!("rows@picky2"), &json!(0)));
    assert_eq!(host.get("/pipelines/orders/journal/dlq/count").await.1["count"], 12, "one for each row");
    assert_eq!(orders.marks().last().unwrap(), "1.0.0 as picky2");
    // Nor is one worse that traps on what the one before could not write.
    for (version, bound) in [("traps", 120), ("traps2", 160)] {
        let (status, answer) = swap(&host, json!({ "plugin": format!("rows@{version}") })).await;
        assert_eq!((status, &answer["probation"]), (200, &json!(1)), "{answer}");
        let written = (0..bound).filter(|n| n % 7 != 0).count();
        orders.read(bound, written).await;
        let envelope = shown(&host).await;
        assert_eq!(envelope["plugin"], format!("rows@{version}"), "{envelope}");
        let dead = host.get("/pipelines/orders/journal/dlq/count").await.1["count"].as_u64().unwrap();
        assert_eq!((orders.marks().len(), dead), (written, bound - written as u64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_is_kept_and_judged_over_a_restart() {
    let host = Host::start().await;
    let orders = host.run(orders());
    orders.read(10, 10).await;
    for version in ["1.1.0", "bad"] {
        let (status, answer) = swap(&host, json!({ "plugin": format!("rows@{version}") })).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(host.post("/pipelines/orders/stop").await.0, 200);
        assert_eq!(host.post("/pipelines/orders/resume").await.0, 200);
        host.until("orders", "running").await;
        let rows = orders.marks().len() as u64 + 10;
        orders.read(rows, rows as usize).await;
    }
    let marks = orders.marks();
    assert!(marks[..10].iter().all(|mark| mark == "1.0.0 as 1.0.0"), "{marks:?}");
    assert!(marks[10..].iter().all(|mark| mark == "1.0.0 as 1.1.0"), "{marks:?}");
}

/// A pipeline `p` without stages, of sinks whose envelopes are `rows@1`: a required one, and one whose batches may wait on
/// disk.
fn two_sinks(numbers: &Arc<Numbers>, shelves: [&Arc<Shelf>; 2]) -> PipelinePlan {
    let mut plan = setup::plan("p", numbers);
    plan.policy = CommitPolicy::Required;
    plan.sinks = [true, false]
        .into_iter()
        .zip(shelves)
        .enumerate()
        .map(|(at, (required, shelf))| {
            let factory = onto(shelf);
            let mut sink = setup::sink("p", &format!("s{at}"), factory, required);
            sink.envelope.code = StageCode::Plugin("rows@1".to_owned());
            sink
        })
        .collect();
    plan
}

fn shaped(shelf: &Shelf) -> Vec<String> {
    shelf.rows.lock().iter().map(|(n, mark)| format!("{n} {mark}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_disk_is_shaped_by_the_envelope_of_its_time_and_other_sinks_keep_theirs() {
    let (services, _spill) = setup::services(Duration::from_secs(5));
    let numbers = Arc::new(Numbers::default());
    let (kept, late) = (Arc::new(Shelf::default()), Arc::new(Shelf::default()));
    let pipeline = Pipeline::start(two_sinks(&numbers, [&kept, &late]), services);
    numbers.bound.send_replace(10);
    within("both have ten", async || late.rows.lock().len() == 10 && kept.rows.lock().len() == 10).await;
    late.broken.store(true, Ordering::SeqCst);
    let part = Swappable::Envelope("s1");
    for (version, bound) in [("rows@2", 150), ("rows@3", 300)] {
        numbers.bound.send_replace(bound);
        within("the other goes on", async || kept.rows.lock().len() as u64 == bound).await;
        let spec = deltaforge_engine::stage::StageSpec {
            code: StageCode::Plugin(version.to_owned()),
            ..pipeline.plan().sinks[1].envelope.clone()
        };
        let swapped = pipeline.swap(part, spec, None, 1, Note::new("test", "")).await.unwrap();
        assert_eq!(swapped.current.from().unwrap().as_str(), json!({ "n": bound }).to_string());
    }
    numbers.bound.send_replace(400);
    within("the other goes on", async || kept.rows.lock().len() == 400).await;
    assert!(pipeline.status().sinks[1].spill_bytes > 0, "what is late waits on disk");
    // Neither a restart nor what runs by now changes what shapes it.
    pipeline.stop().await;
    late.broken.store(false, Ordering::SeqCst);
    pipeline.resume();
    within("what is late arrives", async || late.rows.lock().len() >= 400).await;
    let expected = |version: &dyn Fn(u64) -> u64| -> Vec<String> {
        (0..400).map(|n| format!("{n} none as {}", version(n))).collect()
    };
    let by_position = expected(&|n| match n {
        0..150 => 1,
        150..300 => 2,
        _ => 3,
    });
    assert_eq!(shaped(&late), by_position);
    assert_eq!(shaped(&kept), expected(&|_| 1));
    pipeline.shutdown().await;
}

/// What a sink got out of memory, and what lies in its spill too, is not sent again from there: its envelope may be gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_sink_had_of_its_spill_is_not_shaped_again_by_a_later_envelope() {
    let (services, _spill) = setup::services(Duration::from_millis(600));
    let numbers = Arc::new(Numbers::default());
    let (kept, late) = (Arc::new(Shelf::default()), Arc::new(Shelf::default()));
    let (kept_pace, late_pace) = (Paced::new(&kept), Paced::new(&late));
    let start = || {
        let mut plan = two_sinks(&numbers, [&kept, &late]);
        plan.max_inflight = 3;
        plan.sinks[0].factory = kept_pace.factory();
        plan.sinks[1].factory = late_pace.factory();
        // The late one is given its batches first.
        plan.sinks.reverse();
        Pipeline::start(plan, services.clone())
    };
    kept_pace.permits.add_permits(2);
    let pipeline = start();
    numbers.bound.send_replace(20);
    within("one has twenty", async || is_at(&pipeline, "s0", 20).await).await;
    let spec = deltaforge_engine::stage::StageSpec {
        code: StageCode::Plugin("rows@2".to_owned()),
        ..pipeline.plan().sinks[0].envelope.clone()
    };
    pipeline.swap(Swappable::Envelope("s1"), spec, None, 0, Note::new("test", "")).await.unwrap();
    numbers.bound.send_replace(100);
    within("its batches go to disk", async || pipeline.status().sinks[0].spill_bytes > 0).await;
    // The other one holds the source back, so that this is written down.
    late_pace.permits.add_permits(3);
    within("three batches came out of memory", async || is_at(&pipeline, "s1", 30).await).await;
    pipeline.shutdown().await;

    kept_pace.permits.add_permits(1_000);
    late_pace.permits.add_permits(1_000);
    let pipeline = start();
    within("the rest arrives", async || is_at(&pipeline, "s1", 100).await).await;
    pipeline.shutdown().await;
    let expected: Vec<String> =
        (0..100).map(|n| format!("{n} none as {}", if n < 20 { 1 } else { 2 })).collect();
    assert_eq!(shaped(&late), expected);
}
