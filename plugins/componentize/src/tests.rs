#![allow(clippy::unwrap_used)]

use std::os::unix::fs::MetadataExt;
use std::{env, fs, process};

use serde_json::json;

use super::{encode, encode_file, plugins};

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

#[test]
fn an_unchanged_component_keeps_its_file() {
    let folder = env::temp_dir().join(format!("componentize-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (core, out) = (folder.join("core.wasm"), folder.join("out.wasm"));
    let file = || fs::metadata(&out).unwrap().ino();
    fs::write(&core, b"\0asm\x01\0\0\0").unwrap();
    encode_file(&core, &out, encode).unwrap();
    let first = file();
    encode_file(&core, &out, encode).unwrap();
    assert_eq!(file(), first, "the host need not be linked anew");
    // A custom section named `x`.
    fs::write(&core, b"\0asm\x01\0\0\0\0\x02\x01x").unwrap();
    encode_file(&core, &out, encode).unwrap();
    assert_ne!(file(), first);
    fs::remove_dir_all(&folder).unwrap();
}
