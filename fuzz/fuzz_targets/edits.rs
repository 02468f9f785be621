//! A batch and edits of it, compared with a naive picture.
#![no_main]

#[path = "../../host/crates/model/tests/batch/edits.rs"]
mod edits;
#[path = "../../host/crates/model/tests/batch/exercise.rs"]
#[allow(dead_code)]
mod exercise;
#[path = "../../host/crates/model/tests/batch/input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edits::edits(bytes));
