//! The dead-letter queue.

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::Pipeline;
use deltaforge_engine::plan::{PipelinePlan, StagePlan};
use deltaforge_engine::stages::OnError;
use reqwest::Method;
use serde_json::{Value, json};

use crate::host::{Host, Plan, answer, code};
use crate::parts::{Numbers, Paced, Shelf, onto};
use crate::setup::{self, checkpointed};

const DLQ: &str = "/pipelines/orders/journal/dlq";

#[tokio::test(flavor = "multi_thread")]
async fn rejected_events_are_seen_counted_acknowledged_and_purged() {
    let host = Host::start().await;
    let shelf = Shelf { refuse: Some(3), ..Shelf::default() };
    let orders = host.run(Plan { dlq: Some(100), shelf, ..Plan::named("orders") });
    // Of 0..30 those that 3 divides are refused.
    orders.read(30, 20).await;
    let count = async || host.get(&format!("{DLQ}/count")).await.1["count"].as_u64().unwrap();
    while count().await < 10 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let seqs = async |query: &str| -> Vec<u64> {
        let (status, body) = host.get(&format!("{DLQ}{query}")).await;
        assert_eq!(status, 200, "{body}");
        body.as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(seqs("").await.len(), 10);
    assert_eq!(seqs("?limit=3").await, [1, 2, 3]);
    assert_eq!(seqs("?limit=3&after_seq=3").await, [4, 5, 6]);
    assert_eq!(seqs("?sink_id=out&error_kind=serialization&limit=2").await, [1, 2]);
    assert_eq!(seqs("?error_kind=serialization%20error&limit=2").await, [1, 2]);
    assert!(seqs("?sink_id=other").await.is_empty());
    assert!(seqs("?error_kind=routing").await.is_empty());
    let entry = host.get(&format!("{DLQ}?limit=1")).await.1[0].clone();
    assert_eq!((&entry["pipeline"], &entry["stream"]), (&json!("orders"), &json!("dlq")));
    assert_eq!(entry["meta"]["sink_id"], "out");
    assert_eq!(entry["meta"]["error_kind"], "serialization error");
    assert_eq!(entry["meta"]["error_message"], "0 does not fit");
    let seconds = entry["timestamp"].as_u64().unwrap();
    assert!((1_600_000_000..5_000_000_000).contains(&seconds), "{seconds}");
    assert_eq!(host.get("/pipelines/orders").await.1["ops"]["dlq_entries"], 10);

    let ack = async |up_to: u64| {
        host.send(Method::POST, &format!("{DLQ}/ack"), &json!({ "up_to_seq": up_to })).await
    };
    assert_eq!(ack(4).await, (200, json!({ "acked": 4 })));
    assert_eq!(ack(4).await, (200, json!({ "acked": 0 })));
    assert_eq!(count().await, 6);
    assert_eq!(answer(host.request(Method::DELETE, DLQ)).await, (200, json!({ "purged": 6 })));
    assert_eq!(count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_shown() {
    let host = Host::start().await;
    let shelf = Shelf { refuse: Some(1), ..Shelf::default() };
    let orders = host.run(Plan { dlq: Some(2), shelf, ..Plan::named("orders") });
    orders.numbers.bound.send_replace(5);
    let mut ready = Value::Null;
    for _ in 0..500 {
        ready = host.get("/ready").await.1;
        if ready["degraded"][0]["reason"] == "dlq_full" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(ready["degraded"][0]["pipeline"], "orders", "{ready}");
    assert_eq!(ready["pipelines"][0]["degraded"], true);
    assert_eq!(host.get("/pipelines/orders").await.1["degraded"], true);
    assert_eq!(host.get("/health").await.1["degraded_pipelines"], json!(["orders"]));

    // Nothing comes through meanwhile: that is no running pipeline.
    let until = async |status: &str| {
        for _ in 0..2000 {
            let pipeline = host.get("/pipelines/orders").await.1;
            if pipeline["status"] == status {
                return pipeline;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("in 20 seconds not {status}");
    };
    assert_eq!(until("failed").await["error"]["code"], "dlq_full");
    assert_eq!(host.get("/ready").await.0, 503);
    answer(host.request(Method::DELETE, DLQ)).await;
    until("running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused() {
    let host = Host::start().await;
    host.run(Plan { dlq: Some(2), ..Plan::named("orders") });
    host.run(Plan::named("plain"));
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?sink=out"] {
        assert_eq!(code(&host.get(&format!("{DLQ}{query}")).await), (400, "BAD_REQUEST"), "{query}");
    }
    let ack = format!("{DLQ}/ack");
    assert_eq!(code(&host.send(Method::POST, &ack, &json!({ "up_to": 1 })).await), (422, "INVALID_BODY"));
    assert_eq!(code(&host.post(&ack).await), (415, "UNSUPPORTED_MEDIA_TYPE"));
    let broken = host.request(Method::POST, &ack).header("content-type", "application/json").body("{");
    assert_eq!(code(&answer(broken).await), (400, "BAD_REQUEST"));
    let off = "/pipelines/plain/journal/dlq";
    assert_eq!(code(&host.get(off).await), (404, "DLQ_DISABLED"));
    assert_eq!(code(&host.get(&format!("{off}/count")).await), (404, "DLQ_DISABLED"));
    assert_eq!(code(&answer(host.request(Method::DELETE, off)).await), (404, "DLQ_DISABLED"));
}

/// The letters of a pipeline: their numbers in the queue, and their events.
async fn letters(pipeline: &Pipeline) -> Vec<(u64, String)> {
    let all = pipeline.dlq().unwrap().peek(None, None, 0, 100).await.unwrap();
    let letter = |letter: &Value| {
        assert_eq!(letter["meta"]["stage_id"], "mark", "{letter}");
        (letter["seq"].as_u64().unwrap(), letter["event_id"].as_str().unwrap().to_owned())
    };
    all.iter().map(letter).collect()
}

#[tokio::test]
async fn what_a_stage_rejects_again_is_the_letter_that_is_there_or_after_its_acknowledgement_one_more() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, fast): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let slow = Paced::new(&Arc::default());
    let start = || {
        let plan = PipelinePlan {
            stages: vec![StagePlan { on_error: OnError::Dlq, ..setup::marker("picky") }],
            sinks: vec![
                setup::sink("p", "fast", onto(&fast), true),
                setup::sink("p", "slow", slow.factory(), true),
            ],
            dlq: Some(setup::dlq(100)),
            ..setup::plan("p", &numbers)
        };
        Pipeline::start(plan, services.clone())
    };

    // A restart reads from where the slow one stands.
    let pipeline = start();
    numbers.bound.send_replace(30);
    checkpointed(&pipeline, "fast", 30).await;
    let first = letters(&pipeline).await;
    assert_eq!(first.len(), 5, "{first:?}");
    pipeline.shutdown().await;
    slow.permits.add_permits(100);
    let pipeline = start();
    checkpointed(&pipeline, "slow", 30).await;
    assert_eq!(letters(&pipeline).await, first);
    pipeline.shutdown().await;

    slow.permits.forget_permits(100);
    let pipeline = start();
    numbers.bound.send_replace(60);
    checkpointed(&pipeline, "fast", 60).await;
    let all = letters(&pipeline).await;
    assert_eq!((&all[..5], all.len()), (&*first, 9));
    let newest = all[8].0;
    assert_eq!(pipeline.dlq().unwrap().ack(newest).await.unwrap(), 9);
    pipeline.shutdown().await;
    slow.permits.add_permits(100);
    let pipeline = start();
    checkpointed(&pipeline, "slow", 60).await;
    let again = letters(&pipeline).await;
    pipeline.shutdown().await;
    let events = |letters: &[(u64, String)]| letters.iter().map(|(_, id)| id.clone()).collect::<Vec<_>>();
    assert_eq!(events(&again), events(&all[5..]), "of what was read again, and of nothing else");
    assert!(again.iter().all(|(seq, _)| *seq > newest), "{again:?}");
}
