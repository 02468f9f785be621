//! The batch model against naive references, hostile bytes and its own past.
//!
//! A failing property prints the smallest input it found; `PROPTEST_RNG_SEED=N` repeats a run, and
//! `PROPTEST_CASES=N` widens it.
#![allow(clippy::unwrap_used)]

mod build;
mod durable;
mod edits;
mod exercise;
mod generate;
mod golden;
mod hostile;
mod input;
mod regressions;
mod sides;
