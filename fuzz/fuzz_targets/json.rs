//! JSON from scripts and plugins: as a cell, as a row and as a stage's answer.
#![no_main]

use std::sync::Arc;

use deltaforge_model::View;

#[path = "../../host/crates/model/tests/batch/exercise.rs"]
#[allow(dead_code)]
mod exercise;
#[path = "../../host/crates/model/tests/batch/input.rs"]
#[allow(dead_code)]
mod input;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (seed, rest) = bytes.split_at(bytes.len().min(32));
    let view = View::all(Arc::new(input::Input(seed).batch()));
    if let Ok(text) = std::str::from_utf8(rest) {
        exercise::json(&view, text);
    }
    exercise::patched_json(&view, rest);
});
