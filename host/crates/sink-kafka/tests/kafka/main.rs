//! The Kafka sink against a real broker.

#![allow(clippy::unwrap_used)]

mod config;
mod delivery;
mod exactly_once;
mod login;
mod refused;
mod support;
mod trouble;
