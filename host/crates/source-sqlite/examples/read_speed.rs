//! Measures how fast a prefilled log is read, and how long a lone commit takes to arrive: for `--release`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::snapshots::Snapshots;
use deltaforge_engine::source::{SourceContext, SourceFactory};
use deltaforge_model::SourceInfo;
use deltaforge_source_sqlite::SqliteSource;
use rusqlite::Connection;
use serde_json::json;

const ROWS: usize = 500_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    let app = Connection::open(&path).unwrap();
    app.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = NORMAL;
         CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INT, email TEXT, status TEXT, amount DECIMAL(10,2),
             currency TEXT, created_at DATETIME, updated_at DATETIME, note TEXT, address TEXT, paid BOOLEAN, weight REAL);",
    )
    .unwrap();
    let config = json!({"id": "shop", "path": path});
    deltaforge_source_sqlite::install(&serde_json::from_value(config.clone()).unwrap()).unwrap();
    let began = Instant::now();
    app.execute_batch(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO orders SELECT i, i % 1000, 'customer' || i || '@example.com', 'paid', i * 1.25, 'EUR',
             '2024-02-29 12:00:00', '2024-02-29T12:00:00Z', hex(zeroblob(60)), hex(zeroblob(70)), i % 2, i / 3.0 FROM n;"
    ))
    .unwrap();
    println!("written with capture: {:.0} rows/s", ROWS as f64 / began.elapsed().as_secs_f64());

    let source = SqliteSource::new();
    let info = SourceInfo {
        connector: String::new(),
        version: String::new(),
        pipeline: "bench".into(),
        tenant: "t".into(),
        source_id: "s".into(),
        pos_name: String::new(),
        pos_is_lsn: false,
    };
    let state = Arc::new(deltaforge_store::MemoryStore::new());
    let context = SourceContext {
        waits: Default::default(),
        run: "run".into(),
        info,
        resume: None,
        stands: Vec::new(),
        limits: BatchLimits::default(),
        snapshots: Snapshots::new(state.clone(), "t", "bench", "s"),
        state,
    };
    let mut reader = source.connect(&config, context).await.unwrap();
    let (began, cpu_began) = (Instant::now(), cpu_seconds());
    let (mut events, mut bytes) = (0, 0);
    while events < ROWS {
        let batch = reader.next_batch().await.unwrap().unwrap();
        events += batch.batch.len();
        bytes += batch.batch.byte_size();
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu_began;
    println!(
        "read: {:.0} events/s, {:.0} events per CPU second, {:.0} MB/s",
        events as f64 / seconds,
        events as f64 / cpu,
        bytes as f64 / seconds / 1e6
    );

    let mut waits = Vec::new();
    for i in 0..2_000 {
        let began = Instant::now();
        app.execute("UPDATE orders SET status = 'sent' WHERE id = ?1", [i + 1]).unwrap();
        let batch = reader.next_batch().await.unwrap().unwrap();
        assert_eq!(batch.batch.len(), 1);
        waits.push(began.elapsed());
    }
    waits.sort();
    println!("lone commit to batch: p50 {:?}, p99 {:?}, max {:?}", waits[1_000], waits[1_980], waits[1_999]);
}

/// What this process has used so far, from the kernel's count of ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
