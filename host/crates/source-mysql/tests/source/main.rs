//! The MySQL source against real servers, both of them.
#![allow(clippy::unwrap_used, missing_docs)]

mod adhoc;
mod changes;
mod doctor;
mod failover;
mod harness;
mod large;
mod login;
mod reach;
mod readers;
mod resume;
mod snapshot;
mod types;
mod views;
mod xa;
