#![allow(clippy::unwrap_used)]

use super::encode;

/// What Go's toolchain makes of a plugin, but for the program in it.
fn module(call: &str, wasi: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" {wasi})
            (memory (export "memory") 1)
            (func (export "_initialize"))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "deltaforge:plugin/lifecycle@1.0.0#describe") (result i32) unreachable)
            (func (export "deltaforge:plugin/lifecycle@1.0.0#open") (param i32 i32) (result i32) unreachable)
            {call})"#
    );
    wat::parse_str(text).unwrap()
}

const PROCESSOR: &str =
    r#"(func (export "deltaforge:plugin/processing@1.0.0#process") (param i32) (result i32) unreachable)"#;
const FORMATTER: &str = r#"
    (func (export "deltaforge:plugin/formatting@1.0.0#content-type") (result i32) unreachable)
    (func (export "deltaforge:plugin/formatting@1.0.0#format") (param i32) (result i32) unreachable)"#;
const PRINTS: &str = r#""fd_write" (func (param i32 i32 i32 i32) (result i32))"#;

fn says(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn the_world_is_the_one_whose_exports_are_there_and_nothing_of_wasi_is_imported() {
    for (call, export) in
        [(PROCESSOR, "deltaforge:plugin/processing@1.0.0"), (FORMATTER, "deltaforge:plugin/formatting@1.0.0")]
    {
        let component = encode(&module(call, PRINTS)).unwrap();
        assert_eq!(component[6..8], [1, 0], "a component");
        assert!(says(&component, export), "{export}");
        assert!(!says(&component, "wasi:"), "{export}");
    }
}

#[test]
fn whatever_go_asks_of_its_system_has_an_answer() {
    let paths = r#""path_open" (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32))"#;
    encode(&module(PROCESSOR, paths)).unwrap();
    let unknown = encode(&module(PROCESSOR, r#""sock_dream" (func)"#)).unwrap_err();
    assert!(format!("{unknown:#}").contains("sock_dream"), "{unknown:#}");
}

#[test]
fn a_module_that_is_no_plugin_or_two_is_refused_with_a_reason() {
    let none = encode(&module("", PRINTS)).unwrap_err().to_string();
    assert!(none.contains("neither a processor nor a formatter"), "{none}");
    let both = encode(&module(&format!("{PROCESSOR}{FORMATTER}"), PRINTS)).unwrap_err().to_string();
    assert!(both.contains("import only one"), "{both}");
    assert!(encode(b"#!/bin/sh").unwrap_err().to_string().contains("not a WebAssembly module"));
    assert!(encode(b"\0asm\x01\0\0\0\x07\xff").is_err());
}
