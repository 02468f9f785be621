//! An event that can never be delivered goes to the dead-letter queue, or stops the pipeline; it never vanishes.

use deltaforge_testkit::host::Host;
use deltaforge_testkit::{lines, wait};
use serde_json::{Value, json};

use crate::{Place, pipeline, shared};

const SCRIPT: &str = "(event) => { if (event.after && event.after.status === 'poison') throw new Error('cannot have that'); return event; }";

fn yaml(script: &str, on_error: &str, journal: &str) -> String {
    pipeline(&format!(
        "  processors:
    - {{ type: javascript, id: strict, inline: \"{script}\", on_error: {on_error} }}
  sinks:
    - {{ type: file, config: {{ id: out, path: out.jsonl }} }}
{journal}"
    ))
}

/// Orders 1 to `count`, one transaction each; those whose number `is_poison` says so are poison.
fn insert_orders(place: &Place, count: u64, is_poison: impl Fn(u64) -> bool) {
    let db = place.shop.connect();
    for id in 1..=count {
        let status = if is_poison(id) { "poison" } else { "new" };
        db.execute("INSERT INTO orders (id, status, rev) VALUES (?, ?, ?)", (id as i64, status, id as i64))
            .unwrap();
    }
}

fn ids(place: &Place) -> Vec<u64> {
    lines::json(&place.file("out.jsonl")).iter().map(|event| event["after"]["id"].as_u64().unwrap()).collect()
}

#[test]
fn a_letter_that_is_too_large_keeps_its_key_and_its_place() {
    let _machine = shared();
    let place = Place::new();
    let script = SCRIPT.replace("=== 'poison'", ".startsWith('poison')");
    let journal = "  journal: { enabled: true, max_event_bytes: 1024 }\n";
    let mut host = Host::new(place.path(), &yaml(&script, "dlq", journal));
    host.start_ready();
    let status = format!("poison{}", "x".repeat(4_000));
    let order = (7, status, 1);
    place.shop.connect().execute("INSERT INTO orders (id, status, rev) VALUES (?, ?, ?)", order).unwrap();
    let letter = wait::until("the letter is there", wait::SOON, || {
        let letters = host.rest().get("/pipelines/shop/journal/dlq").ok();
        letters.as_array()?.first().cloned()
    });
    assert_eq!(
        (&letter["payload_truncated"], &letter["key"]),
        (&json!(true), &json!({ "id": 7 })),
        "{letter}"
    );
    let event = &letter["event"];
    assert_eq!((&event["op"], &event["source"]["table"]), (&json!("c"), &json!("orders")), "{letter}");
    assert_eq!((&event["before"], &event["after"]), (&Value::Null, &Value::Null));
    assert!(letter["source_cursor"].as_object().is_some_and(|cursor| !cursor.is_empty()), "{letter}");
    assert!(host.terminate(wait::SOON).0.success());
}

#[test]
fn a_poison_event_lands_in_the_queue_and_the_others_go_on() {
    let _machine = shared();
    let place = Place::new();
    let mut host = Host::new(place.path(), &yaml(SCRIPT, "dlq", "  journal: { enabled: true }\n"));
    host.start_ready();
    insert_orders(&place, 50, |id| id % 10 == 3);
    let good: Vec<u64> = (1..=50).filter(|id| id % 10 != 3).collect();
    wait::until("the good ones arrive", wait::SOON, || (ids(&place).len() == good.len()).then_some(()));
    assert_eq!(ids(&place), good);

    let rest = host.rest();
    let dlq = "/pipelines/shop/journal/dlq";
    let count = |host: &Host| host.rest().get("/pipelines/shop/journal/dlq/count").ok()["count"].clone();
    assert_eq!(count(&host), 5);
    let entries = rest.get(dlq).ok();
    for (entry, id) in entries.as_array().unwrap().iter().zip([3, 13, 23, 33, 43]) {
        assert_eq!(entry["event"]["after"]["id"], id, "{entry}");
        assert_eq!(entry["event"]["event_id"], entry["event_id"], "{entry}");
        assert_eq!(entry["pipeline"], "shop");
        assert_eq!(entry["stream"], "dlq");
        assert_eq!(entry["payload_truncated"], false);
        assert_eq!(entry["meta"]["stage_id"], "strict", "{entry}");
        assert!(entry["meta"]["error_message"].as_str().unwrap().contains("cannot have that"), "{entry}");
    }
    let log = host.log();
    let told: Vec<&str> =
        log.lines().filter(|line| line.contains("events go to the dead-letter queue")).collect();
    assert!(told[0].contains("WARN") && told[0].contains("cannot have that"), "{told:?}");
    assert!(told[0].contains("\"stage\":\"strict\"") && told.len() <= 2, "{told:?}");
    let seqs: Vec<u64> =
        entries.as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    assert_eq!(rest.get(&format!("{dlq}?limit=2")).ok().as_array().unwrap().len(), 2);
    assert_eq!(rest.get(&format!("{dlq}?sink_id=nobody")).ok(), json!([]));
    let kind = entries[0]["meta"]["error_kind"].as_str().unwrap().to_owned();
    for kind in [kind.clone(), kind.trim_end_matches(" error").to_owned()] {
        let path = format!("{dlq}?limit=1&error_kind={}", kind.replace(' ', "%20"));
        assert_eq!(rest.get(&path).ok()[0]["seq"], seqs[0], "{kind}");
    }
    assert_eq!(host.pipeline("shop")["ops"]["dlq_entries"], 5);
    assert_eq!(host.metric("deltaforge_dlq_entries", &["pipeline=\"shop\""]), Some(5.0));

    assert_eq!(
        rest.post(&format!("{dlq}/ack"), Some(&json!({ "up_to_seq": seqs[1] }))).ok(),
        json!({ "acked": 2 })
    );
    assert_eq!(count(&host), 3);
    host.kill();
    host.start_ready();
    assert_eq!(count(&host), 3, "the queue survives a kill");
    assert_eq!(host.rest().delete(dlq).ok(), json!({ "purged": 3 }));
    assert_eq!(count(&host), 0);
}

#[test]
fn a_poison_event_is_queued_once_whenever_the_host_is_killed() {
    let _machine = shared();
    let place = Place::new();
    let mut host = Host::new(place.path(), &yaml(SCRIPT, "dlq", "  journal: { enabled: true }\n"));
    host.start_ready();
    host.kill();
    insert_orders(&place, 200, |id| id % 10 == 3);
    for (failpoint, count) in [
        ("dlq.stored", 1),
        ("dlq.stored", 1),
        ("sink.write", 1),
        ("sink.durable", 1),
        ("checkpoint.stored", 1),
    ] {
        host.start_armed(failpoint, count);
        assert_eq!(host.wait_exit(wait::SOON).code(), None, "{failpoint} must end the host by SIGKILL");
        insert_more_poison(&place);
    }
    host.start_ready();
    let good = 200 - 20;
    wait::until("the good ones arrive", wait::SOON, || (ids(&place).len() >= good).then_some(()));
    let expected = 20 + 5;
    host.wait_pipeline("shop", "all poison is queued", wait::SOON, |shown| {
        shown["ops"]["dlq_entries"] == expected
    });
    let entries = host.rest().get("/pipelines/shop/journal/dlq?limit=1000").ok();
    let mut ids: Vec<&str> =
        entries.as_array().unwrap().iter().map(|entry| entry["event_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), expected, "each once");
}

fn insert_more_poison(place: &Place) {
    place.shop.run("INSERT INTO orders (status, rev) VALUES ('poison', 1)");
}

#[test]
fn without_a_queue_a_poison_event_stops_the_pipeline_until_somebody_helps() {
    let _machine = shared();
    let place = Place::new();
    let mut host = Host::new(place.path(), &yaml(SCRIPT, "fail", ""));
    host.start_ready();
    insert_orders(&place, 30, |id| id == 20);
    let shown =
        host.wait_pipeline("shop", "the pipeline fails", wait::SOON, |shown| shown["status"] == "failed");
    let error = shown["error"]["message"].as_str().unwrap();
    assert!(error.contains("cannot have that") && error.contains("strict"), "{error}");
    let ready = host.rest().get("/ready");
    assert_eq!(ready.status, 503, "{}", ready.text);
    let health = host.rest().get("/health");
    assert_eq!((health.status, &health.json()["failed_pipelines"]), (503, &json!(["shop"])));
    assert!(ids(&place).iter().all(|id| *id < 20), "nothing passes the poison");

    host.terminate(wait::SOON);
    host.write_yaml(&yaml("(event) => event", "fail", ""));
    host.start_ready();
    wait::until("everything arrives", wait::SOON, || (ids(&place).len() == 30).then_some(()));
    assert_eq!(ids(&place), (1..=30).collect::<Vec<u64>>(), "nothing is lost, nothing comes twice");
    assert_eq!(host.rest().get("/health").status, 200);
}

#[test]
fn rows_that_fail_are_dropped_and_counted_where_the_user_says_so() {
    let _machine = shared();
    let place = Place::new();
    let mut host = Host::new(place.path(), &yaml(SCRIPT, "skip", ""));
    host.start_ready();
    insert_orders(&place, 30, |id| id == 20);
    wait::until("the good ones arrive", wait::SOON, || (ids(&place).len() == 29).then_some(()));
    assert!(!ids(&place).contains(&20));
    let skipped = host.metric("deltaforge_processor_skipped_total", &["processor=\"strict\""]);
    assert_eq!(skipped, Some(1.0), "{}", Value::from(host.rest().get("/metrics").text));
}
