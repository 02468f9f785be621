//! deltaforge-wasm
pub mod v0_1;
