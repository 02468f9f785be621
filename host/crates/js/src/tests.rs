#![allow(clippy::unwrap_used)]

mod documented;
mod errors;
mod exact;
mod limits;
mod lists;
mod semantics;
mod support;
