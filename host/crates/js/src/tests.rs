#![allow(clippy::unwrap_used)]

mod first;
mod support;
