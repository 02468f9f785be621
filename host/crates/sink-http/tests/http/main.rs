//! The HTTP sink against a real server that answers as it is told.

#![allow(clippy::unwrap_used)]

mod batches;
mod config;
mod events;
mod server;
mod support;
