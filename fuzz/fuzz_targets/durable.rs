//! Bytes that should be a batch in its durable form, with a header or without one.
#![no_main]

#[path = "../../host/crates/model/tests/batch/exercise.rs"]
#[allow(dead_code)]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::durable(bytes));
