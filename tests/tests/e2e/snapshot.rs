//! Existing rows are copied while others write, and the stream goes on without a gap or a doubled change.

use std::collections::BTreeMap;

use deltaforge_testkit::arrivals::{Arrival, Arrivals};
use deltaforge_testkit::host::Host;
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::shop::{Change, Step, Story, Table, steps};
use deltaforge_testkit::wait;

use crate::{MINUTES, Place, shared, wait_for_last};

fn yaml() -> String {
    "apiVersion: deltaforge/v1
kind: Pipeline
metadata: { name: shop, tenant: acme }
spec:
  source:
    type: sqlite
    config: { id: shop, path: shop.db, snapshot: { mode: initial, chunk_size: 50 } }
  sinks:
    - { type: file, config: { id: out, path: out.jsonl } }
  batch: { max_events: 40 }
"
    .to_owned()
}

/// Each row: what arrived before its copy is a stretch of its history that ends with what the copy shows, and what
/// came after the copy is the rest of its history, whole.
fn assert_handed_over(arrived: &Arrivals, happened: &[Change]) -> usize {
    let mut history: BTreeMap<(Table, u64), Vec<Step>> = BTreeMap::new();
    for step in steps(happened) {
        history.entry(step.row).or_default().push(step);
    }
    let mut rows: BTreeMap<(Table, u64), Vec<&Arrival>> = BTreeMap::new();
    for arrival in arrived.distinct() {
        rows.entry(arrival.step.row).or_default().push(arrival);
    }
    let mut copied = 0;
    for (row, history) in history {
        let arrivals = rows.remove(&row).unwrap_or_default();
        let copies: Vec<usize> = (0..arrivals.len()).filter(|at| arrivals[*at].step.op == 'r').collect();
        let live: Vec<Step> =
            arrivals.iter().map(|arrival| arrival.step).filter(|step| step.op != 'r').collect();
        assert!(copies.len() <= 1, "{row:?} was copied {} times", copies.len());
        assert!(history.ends_with(&live), "{row:?}: arrived {live:?}, happened {history:?}");
        match copies.first() {
            None => {
                // It was not there, or went before the copy came to it.
                let unseen = &history[..history.len() - live.len()];
                let went =
                    unseen.last().is_none_or(|step| step.op == 'd') || live.iter().any(|step| step.op == 'd');
                assert!(went, "{row:?} was there and is missing: {unseen:?}");
            }
            Some(at) => {
                copied += 1;
                let copy = arrivals[*at].step;
                let after = live.len() - at;
                let shown = history[..history.len() - after].last().unwrap();
                assert_eq!(
                    (shown.rev, shown.op == 'd'),
                    (copy.rev, false),
                    "{row:?}: the copy {copy:?} is not what was there"
                );
            }
        }
    }
    assert!(rows.is_empty(), "rows that never were: {:?}", rows.keys());
    copied
}

#[test]
fn rows_that_change_while_they_are_copied_are_neither_missed_nor_doubled() {
    let _machine = shared();
    let seed = seed("rows_that_change_while_they_are_copied_are_neither_missed_nor_doubled");
    let place = Place::new();
    let mut host = Host::new(place.path(), &yaml());
    let writer = place.writer(seed, 30_000, 5_000);
    wait::until("there are rows", wait::SOON, || (writer.committed() > 4_000).then_some(()));
    host.start();
    let happened = Story::until(seed, writer.finish(MINUTES));
    wait_for_last(&place.file("out.jsonl"), &happened);
    assert!(host.terminate(wait::SOON).0.success());
    let arrived = Arrivals::of_file(&place.file("out.jsonl"));
    let copied = assert_handed_over(&arrived, &happened);
    assert!(copied > 500, "only {copied} rows were copied");
    arrived.assert_end_as(&place.shop);
    let marks: Vec<String> = arrived
        .all
        .iter()
        .filter_map(|arrival| Some(arrival.json()["source"]["snapshot"].as_str()?.to_owned()))
        .collect();
    assert_eq!(marks.first().map(String::as_str), Some("first"));
    assert_eq!(marks.last().map(String::as_str), Some("last"));
}

#[test]
fn a_copy_goes_on_where_a_kill_cut_it() {
    let _machine = shared();
    let seed = seed("a_copy_goes_on_where_a_kill_cut_it");
    let mut random = Random::new(seed);
    let place = Place::new();
    let mut host = Host::new(place.path(), &yaml());
    let writer = place.writer(seed, 30_000, 3_000);
    wait::until("there are rows", wait::SOON, || (writer.committed() > 4_000).then_some(()));
    // Delivered, but no checkpoint stored: the rows come again, with the same ids.
    host.start_armed("sink.durable", 1);
    host.wait_exit(MINUTES);
    for failpoint in ["source.batch", "sink.durable", "checkpoint.stored", "sink.written", "source.confirmed"]
    {
        host.start_armed(failpoint, 1 + random.below(7));
        host.wait_exit(MINUTES);
    }
    host.start();
    let happened = Story::until(seed, writer.finish(MINUTES));
    wait_for_last(&place.file("out.jsonl"), &happened);
    assert!(host.terminate(wait::SOON).0.success());
    let arrived = Arrivals::of_file(&place.file("out.jsonl"));
    assert_handed_over(&arrived, &happened);
    arrived.assert_end_as(&place.shop);
}

#[test]
fn rows_that_nobody_copies_are_told() {
    let _machine = shared();
    let told = "there are rows that are not copied";
    for (yaml, is_told) in [(yaml().replace("mode: initial", "mode: never"), true), (yaml(), false)] {
        let place = Place::new();
        let seed = seed("rows_that_nobody_copies_are_told");
        place.writer(seed, 50, 10_000).finish(MINUTES);
        let mut host = Host::new(place.path(), &yaml);
        host.start_ready();
        assert_eq!(host.log().contains(told), is_told, "{yaml}");
    }
}

#[test]
fn a_source_that_copies_nothing_beside_its_log_says_so() {
    let _machine = shared();
    let place = Place::new();
    let mut host = Host::new(place.path(), &yaml());
    host.start_ready();
    let body = serde_json::json!({ "tables": ["orders"] });
    let answer = host.rest().post("/pipelines/shop/snapshots", Some(&body));
    assert_eq!((answer.status, &answer.json()["code"]), (409, &"SNAPSHOT_NOT_SUPPORTED".into()));
    assert!(answer.text.contains("delete its checkpoints"), "{}", answer.text);
    assert!(host.terminate(wait::SOON).0.success());
}
