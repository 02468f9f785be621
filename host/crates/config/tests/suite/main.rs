//! Whole documents against a catalog like a real host's.
#![allow(clippy::unwrap_used)]

mod fixtures;
mod host;
mod hostile;
mod reading;
mod schema;
mod secrets;
