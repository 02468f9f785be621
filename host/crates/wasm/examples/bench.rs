//! What a plugin costs: nanoseconds an event of thread time, by how it touches the batch.
//!
//! `cargo run --profile bench-fat -p deltaforge-wasm --example bench -- PROCESSOR.wasm [FORMATTER.wasm]`, where
//! the components are the puppets of `tests/guests`. Slices of 500 events with 12 columns (3 integers, 5 texts,
//! a decimal, a boolean, 2 timestamps), 60 % inserts, 30 % updates with a before image, 10 % deletes.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use deltaforge_engine::message::{Bodies, FormatterFactory};
use deltaforge_engine::stage::{StageCode, StageFactory, StageSpec};
use deltaforge_model::batch::{SnapshotMark, SourceInfo, Transaction};
use deltaforge_model::builder::{BatchBuilder, EventHead};
use deltaforge_model::json::{EventWriter, RowEncoders};
use deltaforge_model::schema::{Column, Kind};
use deltaforge_model::value::CellKind;
use deltaforge_model::{Batch, Cell, EventId, Image, Op, Overlay, TableSchema, View};
use deltaforge_wasm::{Registry, Runtime, WasmFormatterFactory, WasmStageFactory};
use rustix::time::{ClockId, clock_gettime};

const EVENTS: u32 = 500;
const SLICES: usize = 40;
const ROUNDS: usize = 30;

fn main() {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(processor) = arguments.next() else {
        println!("usage: bench PROCESSOR.wasm [FORMATTER.wasm]");
        return;
    };
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(measure(&processor, arguments.next().as_deref()));
}

async fn measure(processor: &Path, formatter: Option<&Path>) {
    let dir = tempfile::tempdir().unwrap();
    let registry = Arc::new(Registry::new(dir.path().join("plugins"), dir.path().join("components")));
    let cache = dir.path().join("cache");
    let batch = Arc::new(orders());
    let json: usize = {
        let mut encoders = RowEncoders::default();
        let mut out = Vec::new();
        let mut writer = EventWriter::new(&batch, &mut encoders);
        batch.events().for_each(|event| writer.write_event(&event, false, &mut out));
        out.len()
    };
    println!("{EVENTS} events a slice, {} bytes an event as JSON", json / EVENTS as usize);

    for round in ["compiled", "cached", "cached"] {
        let runtime = Runtime::new(Some(&cache)).unwrap();
        let factory = WasmStageFactory::new(runtime, registry.clone());
        let started = Instant::now();
        let built = factory.build(&spec(processor, "pass"), None).await.unwrap();
        println!("cold start, {round}: {:.2} ms", started.elapsed().as_secs_f64() * 1000.0);
        drop(built);
    }

    let runtime = Runtime::new(Some(&cache)).unwrap();
    let factory = WasmStageFactory::new(runtime.clone(), registry.clone());
    println!("{:<22} {:>10} {:>10} {:>10}", "ns an event", "best", "p25", "and apply");
    for act in [
        "pass",
        "filter",
        "redact-columns",
        "redact-cells",
        "identity-columns",
        "identity-rows",
        "identity-cells",
        "identity-json",
    ] {
        let (mut stage, _) = factory.build(&spec(processor, act), None).await.unwrap();
        let (mut processed, mut applied) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (mut of_process, mut of_apply) = (0, 0);
            for _ in 0..SLICES {
                let view = View::all(batch.clone());
                let mut edits = Overlay::new();
                let start = thread_nanos();
                stage.process(&view, &mut edits).await.unwrap();
                let end = thread_nanos();
                of_process += end - start;
                drop(view);
                let mut copy = (*batch).clone();
                let start = thread_nanos();
                edits.apply(&mut copy, "stage");
                of_apply += thread_nanos() - start;
            }
            processed.push(of_process);
            applied.push(of_process + of_apply);
        }
        report(act, &mut processed, &mut applied);
    }
    native(&batch);
    if let Some(formatter) = formatter {
        let factory = WasmFormatterFactory::new(runtime, registry);
        let mut plugin = factory.build(&spec(formatter, "pass"), None).await.unwrap().0;
        let view = View::all(batch.clone());
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let start = thread_nanos();
            for _ in 0..SLICES {
                let mut bodies = Bodies::default();
                plugin.format(&view, &[false; EVENTS as usize], &mut bodies).await.unwrap();
            }
            rounds.push(thread_nanos() - start);
        }
        report("formatter", &mut rounds.clone(), &mut rounds);
    }
}

/// The same envelope without a guest.
fn native(batch: &Arc<Batch>) {
    let mut encoders = RowEncoders::default();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = thread_nanos();
        for _ in 0..SLICES {
            let mut bodies = Bodies::default();
            let mut writer = EventWriter::new(batch, &mut encoders);
            for event in batch.events() {
                writer.write_event(&event, false, bodies.buffer());
                bodies.end();
            }
        }
        rounds.push(thread_nanos() - start);
    }
    report("native formatter", &mut rounds.clone(), &mut rounds);
}

fn report(name: &str, processed: &mut [u64], applied: &mut [u64]) {
    processed.sort_unstable();
    applied.sort_unstable();
    let each = |nanos: u64| nanos as f64 / (SLICES * EVENTS as usize) as f64;
    println!(
        "{name:<22} {:>10.1} {:>10.1} {:>10.1}",
        each(processed[0]),
        each(processed[ROUNDS / 4]),
        each(applied[ROUNDS / 4])
    );
}

fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn spec(path: &Path, act: &str) -> StageSpec {
    let path = path.canonicalize().unwrap();
    StageSpec {
        id: "stage".to_owned(),
        pipeline: "bench".to_owned(),
        tenant: "default".to_owned(),
        code: StageCode::Plugin(format!("./{}", path.file_name().unwrap().to_str().unwrap())),
        config: serde_json::json!({ "act": act }),
        limits: None,
        grants: Vec::new(),
        base_dir: path.parent().map(Path::to_owned),
    }
}

fn orders() -> Batch {
    let columns = [
        ("id", CellKind::Int),
        ("customer_id", CellKind::Int),
        ("quantity", CellKind::Int),
        ("status", CellKind::Text),
        ("email", CellKind::Text),
        ("name", CellKind::Text),
        ("address", CellKind::Text),
        ("note", CellKind::Text),
        ("price", CellKind::Decimal),
        ("paid", CellKind::Bool),
        ("created_at", CellKind::Timestamp),
        ("updated_at", CellKind::Timestamp),
    ];
    let columns = columns.map(|(name, kind)| Column::new(name, Kind::Of(kind), ""));
    let table = TableSchema::new("shop", None, "orders", columns.to_vec(), &["id"]);
    let mut builder = BatchBuilder::new(Arc::new(SourceInfo {
        connector: "sqlite".to_owned(),
        version: "deltaforge-0.1.0".to_owned(),
        pipeline: "bench".to_owned(),
        tenant: "default".to_owned(),
        source_id: "shop".to_owned(),
        pos_name: "sequence".to_owned(),
        pos_is_lsn: false,
    }));
    let table = builder.table(&table);
    let transaction = builder.transaction(Transaction { id: "tx".to_owned(), source: Vec::new() });
    for row in 0..EVENTS {
        let op = match row % 10 {
            0..6 => Op::Create,
            6..9 => Op::Update,
            _ => Op::Delete,
        };
        let id = i64::from(row);
        builder.event(EventHead {
            id: EventId::derive(1_700_000_000_000, &[&row.to_le_bytes()]),
            op,
            table,
            transaction: Some(transaction),
            ordinal: row,
            ts_us: 1_700_000_000_000_000 + id,
            pos: u64::from(row),
            last: row + 1 == EVENTS,
            snapshot: SnapshotMark::No,
        });
        for image in [Image::Before, Image::After] {
            let there = match op {
                Op::Create => image == Image::After,
                Op::Delete => image == Image::Before,
                _ => true,
            };
            if !there {
                continue;
            }
            let text = format!("{row:06}");
            builder.image(image, |writer| {
                writer.push(&Cell::Int(id)).push(&Cell::Int(id * 7)).push(&Cell::Int(id % 5));
                writer.push(&Cell::Text(if row % 2 == 0 { "new" } else { "shipped" }));
                writer.push(&Cell::Text(&format!("customer.{text}@example.com")));
                writer.push(&Cell::Text(&format!("Customer Number {text}")));
                writer.push(&Cell::Text(&format!("{text} Long Street, 12345 Some Town")));
                if row % 4 == 0 {
                    writer.push(&Cell::Null);
                } else {
                    writer.push(&Cell::Text("please leave the parcel with the neighbour at the back door"));
                }
                writer.push(&Cell::Decimal("1234.50")).push(&Cell::Bool(row % 3 == 0));
                writer.push(&Cell::Timestamp(1_700_000_000_000_000 + id));
                writer.push(&Cell::Timestamp(1_700_000_100_000_000 + id));
            });
        }
    }
    builder.finish()
}
