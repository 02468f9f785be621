//! What end-to-end tests need: the built host as a process, a shop database that another process writes, readers
//! of what arrived, and servers that misbehave on purpose.
//!
//! * [`host`]: the binary under test, with its own data directory, ports and log;
//! * [`shop`]: a database, what is going to happen in it, and the process that makes it happen;
//! * [`arrivals`]: what a sink received, held against what happened in the shop;
//! * [`lines`]: JSON Lines files, rotated ones included;
//! * [`http`]: an HTTP endpoint that can fail at random, hang, or be gone;
//! * `kafka`, with the feature of that name: a broker, and what is in its topics;
//! * `mysql`, with the feature of that name: MySQL and MariaDB servers;
//! * `sinks`, with the feature of that name: deliveries to hand to a sink;
//! * [`wait`]: waiting for a state, with a deadline;
//! * `pipelines`, with the feature of that name: pipelines inside a test's own process.
//!
//! Everything but those blocks: a test reads as the list of what it does. Every randomness has a seed, and a seed
//! that failed is printed. Helpers panic where a test should fail.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]
#![allow(clippy::print_stderr, reason = "what a failing test shows")]

pub mod arrivals;
pub mod host;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod lines;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "pipelines")]
pub mod pipelines;
pub mod ports;
pub mod proxy;
pub mod random;
pub mod rest;
pub mod scale;
pub mod shop;
#[cfg(feature = "sinks")]
pub mod sinks;
pub mod wait;

/// The runtime that clients and servers of the tests run on.
pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> = std::sync::LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("a runtime can be made")
    });
    &RUNTIME
}
