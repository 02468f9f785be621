#![allow(clippy::unwrap_used)]

mod documented;
mod errors;
mod exact;
mod limits;
mod semantics;
mod support;
