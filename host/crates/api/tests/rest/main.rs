//! The API over HTTP, against running pipelines; and what their sinks get.

#![allow(clippy::unwrap_used)]

mod access;
mod audit;
mod commands;
mod dlq;
mod envelopes;
mod follow;
mod full_store;
mod gates;
mod guards;
mod health;
mod host;
mod hurry;
mod keepers;
mod mishaps;
mod openapi;
mod parts;
mod plugins;
mod setup;
mod silence;
mod sinks;
mod slow_disk;
mod snapshots;
mod spills;
mod swaps;
mod taps;
mod told;
mod turns;
mod validation;
mod versions;
