//! deltaforge-wasm
