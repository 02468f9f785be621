//! The plugin in an ordinary test program: no host, no WebAssembly.

use deltaforge_sdk::testing::{TestBatch, assert_golden_bodies};
use serde_json::json;

use crate::MyPlugin;

#[test]
fn a_body_holds_the_row_that_is_there() {
    let bodies = TestBatch::new()
        .insert("shop.customers", json!({"id": 1}))
        .delete("shop.customers", json!({"id": 2}))
        .format::<MyPlugin>(json!({"member": "data"}))
        .expect("the configuration fits");
    assert_eq!(
        bodies.get(0),
        Some(&br#"{"table":"customers","op":"c","data":{"id":1}}"#[..])
    );
    assert_eq!(
        bodies.get(1),
        Some(&br#"{"table":"customers","op":"d","data":{"id":2}}"#[..])
    );
}

#[test]
fn a_configuration_that_does_not_fit_is_refused() {
    for config in [json!({"member": "op"}), json!({"colour": "red"})] {
        assert!(
            TestBatch::new().format::<MyPlugin>(config.clone()).is_err(),
            "{config}"
        );
    }
}

/// `deltaforge plugin test` holds the component to the same files; its `--bless` writes them.
#[test]
fn what_comes_out_is_what_the_golden_files_say() {
    assert_golden_bodies::<MyPlugin>(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"));
}
