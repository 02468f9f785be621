#![allow(clippy::unwrap_used)]

use deltaforge_sdk::testing::TestBatch;
use serde_json::{Value, json};

use crate::Mask;

fn customers() -> TestBatch {
    TestBatch::new()
        .table(
            "shop.customers",
            &[("id", "int"), ("Email", "text"), ("phone", "text"), ("born", "date"), ("photo", "bytes")],
            &["id"],
        )
        .update(
            "shop.customers",
            json!({"id": 1, "Email": "a@example.com", "phone": "555"}),
            json!({"id": 1, "Email": "b@example.com", "phone": null, "born": "2000-02-29",
                   "photo": {"_base64": "3q2+7w=="}}),
        )
        .insert("shop.orders", json!({"id": 7, "email": "c@example.com"}))
}

fn mask(columns: Value) -> Vec<Value> {
    customers().process::<Mask>(json!({"columns": columns})).unwrap().events()
}

#[test]
fn redact_replaces_in_both_images_and_leaves_null() {
    let events = mask(
        json!([{"name": "email", "action": "redact"}, {"name": "phone", "action": "redact", "with": ""}]),
    );
    assert_eq!(events[0]["before"]["Email"], "***");
    assert_eq!(events[0]["after"]["Email"], "***");
    assert_eq!(events[0]["before"]["phone"], "");
    assert_eq!(events[0]["after"]["phone"], Value::Null);
    assert_eq!(events[1]["after"]["email"], "***");
    assert_eq!(events[1]["after"]["id"], 7);
}

#[test]
fn a_name_with_a_table_means_that_table() {
    for name in ["customers.email", "shop.customers.EMAIL", "shop.cust*.email"] {
        let events = mask(json!([{"name": name, "action": "redact"}]));
        assert_eq!(events[0]["after"]["Email"], "***", "{name}");
        assert_eq!(events[1]["after"]["email"], "c@example.com", "{name}");
    }
}

#[test]
fn hashes_are_the_known_ones() {
    let events = mask(
        json!([{"name": "email", "action": "hash"}, {"name": "customers.id", "action": "hash", "key": "k"}]),
    );
    // printf a@example.com | sha256sum
    assert_eq!(events[0]["before"]["Email"], SHA_OF_A);
    // printf 1 | openssl dgst -sha256 -hmac k
    assert_eq!(events[0]["after"]["id"], HMAC_OF_1);
}

const SHA_OF_A: &str = "08168cd80dfd534ab0f10af10f1303fe00af2d43ab5c1432360d137f8197e17a";
const HMAC_OF_1: &str = "0aa2054d88556d7e5df6e54b00683dae80bbd4266a5d1cbc89abacbf856ad862";

#[test]
fn truncate_keeps_characters_and_other_kinds_become_text() {
    let events = mask(json!([
        {"name": "email", "action": "truncate", "length": 2},
        {"name": "born", "action": "truncate", "length": 4},
        {"name": "photo", "action": "truncate", "length": 2}
    ]));
    assert_eq!(events[0]["after"]["Email"], "b@");
    assert_eq!(events[0]["after"]["born"], "2000");
    assert_eq!(events[0]["after"]["photo"], "dead");
}

#[test]
fn a_value_of_another_kind_than_declared_is_masked_too() {
    let batch = TestBatch::new()
        .table("a.b", &[("id", "int"), ("secret", "text")], &["id"])
        .insert("a.b", json!({"id": 1, "secret": 4242}))
        .insert("a.b", json!({"id": 2, "secret": {"_base64": "3q2+7w=="}}))
        .insert("a.b", json!({"id": 3, "secret": {"x": 1}}))
        .insert("a.b", json!({"id": 4, "secret": {"_unavailable": true}}));
    let outcome =
        batch.process::<Mask>(json!({"columns": [{"name": "secret", "action": "redact"}]})).unwrap();
    let secrets: Vec<Value> = outcome.events().iter().map(|event| event["after"]["secret"].clone()).collect();
    assert_eq!(secrets[0], "***");
    assert_ne!(secrets[1], json!({"_base64": "3q2+7w=="}));
    assert_eq!(secrets[3], json!({"_unavailable": true}));
    assert!(!secrets[2].to_string().contains('1'), "{secrets:?}");
}

#[test]
fn a_key_is_only_masked_by_a_keyed_hash() {
    for action in
        [json!({"action": "redact"}), json!({"action": "hash"}), json!({"action": "truncate", "length": 1})]
    {
        let mut rule = action;
        rule["name"] = json!("customers.id");
        let error = customers().process::<Mask>(json!({"columns": [rule]})).unwrap_err().to_string();
        assert!(error.contains("shop.customers.id belongs to the key"), "{error}");
    }
}

#[test]
fn options_of_other_actions_are_refused() {
    for (rule, problem) in [
        (json!({"name": "a", "action": "redact", "key": "k"}), "columns[0].key"),
        (json!({"name": "a", "action": "hash", "with": "x"}), "columns[0].with"),
        (json!({"name": "a", "action": "hash", "key": ""}), "columns[0].key"),
        (json!({"name": "a", "action": "truncate"}), "columns[0].length"),
        (json!({"name": "a.", "action": "redact"}), "columns[0].name"),
        (json!({"name": "a", "action": "shred"}), "shred"),
    ] {
        let error = customers().process::<Mask>(json!({"columns": [rule]})).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}
