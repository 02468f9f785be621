//! The SQLite source against real database files that other connections write.
#![allow(clippy::unwrap_used, missing_docs)]

mod config;
mod differential;
mod harness;
mod opening;
mod operations;
mod outbox;
mod polling;
mod processes;
mod readers;
mod resume;
mod schema;
mod sinks_apart;
mod snapshot;
mod values;
mod writers;
