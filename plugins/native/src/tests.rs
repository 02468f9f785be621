use deltaforge_sdk::testing::{TestBatch, assert_golden};
use serde_json::json;

use crate::Native;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden");

#[test]
fn the_envelope_has_its_golden_form() {
    let batch = TestBatch::from_json(include_str!("../../golden/batch.in.json"));
    let bodies = batch.format::<Native>(json!({})).expect("every event can be written");
    let mut lines = Vec::new();
    for row in 0..bodies.len() {
        lines.extend_from_slice(bodies.get(row).expect("every event has a body"));
        lines.push(b'\n');
    }
    assert_golden(format!("{GOLDEN}/native.out.jsonl"), &lines);
}

#[test]
fn unknown_options_are_refused() {
    let error = TestBatch::new().format::<Native>(json!({"x": 1})).expect_err("there is no such option");
    assert!(error.message.contains('x'), "{error}");
}
