#![allow(clippy::unwrap_used)]

mod errors;
mod exact;
mod limits;
mod semantics;
mod support;
