//! How fast rows that are there are copied, to be held against `mysqldump --single-transaction --quick` of the same table:
//!
//! ```sh
//! cargo bench -p deltaforge-source-mysql --bench snapshot -- mysql://root@127.0.0.1:3306 shop.orders
//! cargo bench -p deltaforge-source-mysql --bench snapshot -- mysql://root@127.0.0.1:3306 shop.orders 4
//! ```
//!
//! The number at the end: how many parts of the table are read at once.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::snapshots::Snapshots;
use deltaforge_engine::source::{SourceContext, SourceFactory};
use deltaforge_model::{Op, SourceInfo};
use deltaforge_source_mysql::MysqlSource;
use deltaforge_store::MemoryStore;
use serde_json::json;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [dsn, table, rest @ ..] = &args[..] else {
        println!("no server to copy from: give a DSN and a table");
        return;
    };
    let parts: usize = rest.first().map_or(1, |parts| parts.parse().unwrap());
    let config = json!({"id": "bench", "dsn": dsn, "tables": [table], "snapshot": {
        "mode": "initial", "intra_table_parallel": parts > 1, "max_parallel_chunks": parts}});
    let state = Arc::new(MemoryStore::new());
    let context = SourceContext {
        info: SourceInfo {
            connector: String::new(),
            version: String::new(),
            pipeline: "bench".into(),
            tenant: "bench".into(),
            source_id: "bench".into(),
            pos_name: String::new(),
            pos_is_lsn: false,
        },
        resume: None,
        stands: Vec::new(),
        limits: BatchLimits::default(),
        snapshots: Snapshots::new(state.clone(), "bench", "bench", "bench"),
        state,
        waits: Default::default(),
        run: "run".into(),
    };
    let began = Instant::now();
    let mut reader = MysqlSource.connect(&config, context).await.unwrap();
    let (mut rows, mut bytes, mut is_last) = (0, 0, false);
    while !is_last {
        let batch = reader.next_batch().await.unwrap().unwrap();
        rows += batch.batch.events().filter(|event| event.op() == Op::Read).count();
        bytes += batch.batch.row_bytes();
        is_last = !batch.covers.through.as_str().contains("\"jobs\"");
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds());
    println!(
        "{rows} rows, {bytes} bytes in {seconds:.2} s of the clock ({:.0} rows/s) and {cpu:.2} s of the processor",
        rows as f64 / seconds
    );
}

/// What this process has used so far.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
