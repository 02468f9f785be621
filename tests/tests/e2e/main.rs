//! End to end: the built binary, driven through YAML, REST, real files and real servers, and nothing else.
//!
//! `DELTAFORGE_BIN` names the binary (`./dev test` builds it and sets this). `DELTAFORGE_TEST_SCALE=0.05` makes the
//! heavy tests short, `DELTAFORGE_TEST_SEED` repeats a failure.
#![allow(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod access;
mod adhoc;
mod author;
mod budget;
mod config;
mod crash;
mod dead_letters;
mod examples;
mod follow;
mod health;
mod hostile;
mod kafka;
mod mysql;
mod mysql_kafka;
mod operations;
mod outbox;
mod plugins;
mod secrets;
mod shapes;
mod snapshot;
mod stop;
mod swap;
mod tenants;

use std::path::{Path, PathBuf};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use deltaforge_testkit::arrivals::Arrival;
use deltaforge_testkit::http::HttpSink;
use deltaforge_testkit::shop::{Change, Shop, Writer, steps};
use deltaforge_testkit::{lines, wait};
use tempfile::TempDir;

/// The program that writes to shops.
const WRITER: &str = env!("CARGO_BIN_EXE_shop-writer");

/// What a backlog may take.
const MINUTES: Duration = Duration::from_secs(300);

/// Tests that measure run alone.
static MACHINE: RwLock<()> = RwLock::new(());

/// Shares the machine with other tests.
fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Has the machine alone.
fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A directory with a shop in it.
struct Place {
    dir: TempDir,
    shop: Shop,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("deltaforge-e2e-").tempdir().unwrap();
        let shop = Shop::create(dir.path());
        Self { dir, shop }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the process that writes.
    fn writer(&self, seed: u64, changes: u64, per_second: u64) -> Writer {
        Writer::start(WRITER, &self.shop, seed, changes, per_second)
    }
}

/// A pipeline `shop` that captures the shop next to it; `rest` is the end of `spec`.
fn pipeline(rest: &str) -> String {
    format!(
        "apiVersion: deltaforge/v1
kind: Pipeline
metadata: {{ name: shop, tenant: acme }}
spec:
  source:
    type: sqlite
    config: {{ id: shop, path: shop.db, tables: [customers, orders, items] }}
{rest}"
    )
}

/// Waits until the last step of what happened is the last line of the file.
#[track_caller]
fn wait_for_last(file: &Path, happened: &[Change]) {
    let last = steps(happened).pop().unwrap();
    wait::until(&format!("{last:?} is the last line of {}", file.display()), MINUTES, || {
        lines::last(file).is_some_and(|line| Arrival::parse(&line).step == last).then_some(())
    });
}

/// Waits until the last step of what happened is at the endpoint. With `batch_mode` it need not come last there: only
/// each row's changes are in order.
#[track_caller]
fn wait_for_last_at(endpoint: &HttpSink, happened: &[Change]) {
    let last = steps(happened).pop().unwrap();
    let mut looked_at = 0;
    wait::until(&format!("{last:?} is at the endpoint"), 2 * MINUTES, || {
        let (events, taken) = endpoint.events_since(looked_at);
        looked_at = taken;
        events.iter().any(|event| Arrival::parse(event).step == last).then_some(())
    });
}
