//! The plugin in an ordinary test program: no host, no WebAssembly.

use deltaforge_sdk::testing::{TestBatch, assert_golden_files};
use serde_json::json;

use crate::MyPlugin;

#[test]
fn digits_are_hidden_and_the_rest_stays() {
    let outcome = TestBatch::new()
        .insert("shop.customers", json!({"id": 1, "phone": "555-0199"}))
        .insert("shop.customers", json!({"id": 2, "phone": null}))
        .process::<MyPlugin>(json!({"column": "phone"}))
        .expect("the configuration fits");
    let events = outcome.events();
    assert_eq!(events[0]["after"]["phone"], "###-####");
    assert!(events[1]["after"]["phone"].is_null());
}

#[test]
fn a_configuration_that_does_not_fit_is_refused() {
    for config in [
        json!({}),
        json!({"column": ""}),
        json!({"column": "phone", "colour": "red"}),
    ] {
        assert!(
            TestBatch::new()
                .process::<MyPlugin>(config.clone())
                .is_err(),
            "{config}"
        );
    }
}

/// `deltaforge plugin test` holds the component to the same files; its `--bless` writes them.
#[test]
fn what_comes_out_is_what_the_golden_files_say() {
    assert_golden_files::<MyPlugin>(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"));
}
