//! The plugin in an ordinary test program: no host, no WebAssembly.

use deltaforge_sdk::testing::{TestBatch, assert_golden_files};
use serde_json::json;

use crate::Hello;

#[test]
fn every_row_with_a_name_is_greeted() {
    let outcome = TestBatch::new()
        .insert("shop.customers", json!({"id": 1, "name": "Ada"}))
        .insert("shop.customers", json!({"id": 2, "name": null}))
        .delete("shop.customers", json!({"id": 3, "name": "Eve"}))
        .insert("shop.orders", json!({"id": 4, "total": 12}))
        .process::<Hello>(json!({"name": "name"}))
        .expect("the configuration fits");
    let events = outcome.events();
    assert_eq!(events.len(), 4);
    assert_eq!(events[0]["after"]["greeting"], "Hello, Ada!");
    for untouched in &events[1..] {
        assert!(untouched["after"].get("greeting").is_none(), "{untouched}");
    }
}

#[test]
fn a_name_that_is_too_long_is_rejected_and_the_others_go_on() {
    let outcome = TestBatch::new()
        .insert("shop.customers", json!({"id": 1, "name": "Bartholomew"}))
        .insert("shop.customers", json!({"id": 2, "name": "Bo"}))
        .process::<Hello>(json!({"name": "name", "longest": 5}))
        .expect("the configuration fits");
    assert_eq!(outcome.rejects(), ["the name is too long to be greeted"]);
    assert_eq!(outcome.events()[0]["after"]["greeting"], "Hello, Bo!");
}

#[test]
fn a_configuration_that_does_not_fit_is_refused() {
    for config in [json!({}), json!({"name": "name", "speed": 3}), json!({"name": "name", "into": "name"})] {
        assert!(TestBatch::new().process::<Hello>(config.clone()).is_err(), "{config}");
    }
}

#[test]
fn what_comes_out_is_what_the_golden_files_say() {
    assert_golden_files::<Hello>(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../golden/hello"));
}
