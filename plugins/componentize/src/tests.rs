#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::{encode, plugins};

#[test]
fn only_packages_with_a_cdylib_are_plugins() {
    let metadata = json!({ "packages": [
        { "name": "componentize", "targets": [{ "name": "componentize", "crate_types": ["bin"] }] },
        { "name": "plugin-mask", "targets": [
            { "name": "plugin-mask", "crate_types": ["rlib", "cdylib"] },
            { "name": "parity", "crate_types": ["bin"] },
        ] },
    ] });
    assert_eq!(plugins(&metadata).unwrap(), [("plugin-mask".to_owned(), "plugin_mask".to_owned())]);
}

#[test]
fn an_empty_module_becomes_a_component() {
    let component = encode(b"\0asm\x01\0\0\0").unwrap();
    // Bytes 4..8 of the preamble are version and layer; layer 1 says component.
    assert_eq!(component[..4], *b"\0asm");
    assert_eq!(component[6..8], [1, 0]);
}

#[test]
fn what_is_no_module_is_refused_with_a_reason() {
    assert!(encode(b"#!/bin/sh").unwrap_err().to_string().contains("not a WebAssembly module"));
    assert!(encode(b"\0asm\x01\0\0\0\xff").is_err());
}
