//! The API over HTTP, against running pipelines.

#![allow(clippy::unwrap_used)]

mod commands;
mod dlq;
mod guards;
mod health;
mod host;
mod openapi;
mod parts;
mod swaps;
mod validation;
