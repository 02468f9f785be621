//! What scripts cost: lazy events against a JSON round trip of the same events in the same run.
//!
//! `cargo run --profile bench-fat -p deltaforge-js --example bench_js [-- --check]`: with `--check` it fails when a
//! ratio is below its target. Times are CPU time of the whole process. The JSON side is what a host does that knows
//! nothing better: serde_json out, `JSON.parse`, the script, `JSON.stringify`, serde_json to values; the way from
//! there to typed cells is not in. The lazy side ends at typed edits.

#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::stage::{Stage, StageCode, StageFactory, StageLimits, StageSpec};
use deltaforge_js::Javascript;
use deltaforge_model::json::{EventWriter, RowEncoders, write_cell};
use deltaforge_model::value::CellKind;
use deltaforge_model::{
    Batch, BatchBuilder, Cell, Column, Event, EventHead, EventId, Image, Kind, Op, Overlay, Row,
    SnapshotMark, SourceInfo, TableSchema, View,
};
use deno_core::{JsRuntime, RuntimeOptions, v8};
use serde::ser::SerializeMap;

const EVENTS: u32 = 500;
const ROUNDS: usize = 24;
/// Slices in one round.
const SLICES: usize = 6;

/// Name, script, and how many times faster than JSON it has to be.
const SCRIPTS: [(&str, &str, Option<f64>); 5] = [
    (
        "E enrich",
        "function processBatch(events) {
           return events.map(event => {
             event.tags = event.tags || [];
             if (event.table.includes('orders')) {
               event.tags.push('entity:order');
               if (event.after && event.after.total > 1000) event.tags.push('priority:high');
             }
             event.tags.push('enriched');
             return event;
           });
         }",
        Some(4.0),
    ),
    (
        "R redact",
        "function processBatch(events) {
           for (const e of events) if (e.after) {
             if (e.after.email) e.after.email = '[redacted]';
             e.after.phone = null;
           }
           return events;
         }",
        Some(5.0),
    ),
    (
        "F filter",
        "function processBatch(events) {
           return events.filter(e => e.after && e.after.status !== 'cancelled' && e.after.quantity > 2);
         }",
        Some(5.0),
    ),
    (
        "S spread",
        "function processBatch(events) {
           return events.map(e => ({ ...e, after: e.after && { ...e.after, seen: true } }));
         }",
        Some(1.0),
    ),
    ("N nothing", "function processBatch(events) { return events; }", None),
];

fn table(name: &str) -> Arc<TableSchema> {
    let of = |name: &str, kind| Column::new(name, Kind::Of(kind), "");
    let columns = vec![
        of("id", CellKind::Int),
        of("customer_id", CellKind::Int),
        of("quantity", CellKind::Int),
        of("email", CellKind::Text),
        of("phone", CellKind::Text),
        of("status", CellKind::Text),
        of("address", CellKind::Text),
        of("note", CellKind::Text),
        of("total", CellKind::Decimal),
        of("paid", CellKind::Bool),
        of("created_at", CellKind::Timestamp),
        of("updated_at", CellKind::Timestamp),
    ];
    TableSchema::new("shop", None, name, columns, &["id"])
}

/// Rows of about 400 bytes as JSON: half inserts, 40 % updates and 10 % deletes with a before image.
fn batch() -> Batch {
    let mut builder = BatchBuilder::new(Arc::new(SourceInfo {
        connector: "sqlite".into(),
        version: "deltaforge-0.1.0".into(),
        pipeline: "bench".into(),
        tenant: "acme".into(),
        source_id: "shop".into(),
        pos_name: "sequence".into(),
        pos_is_lsn: false,
    }));
    let tables = [builder.table(&table("orders")), builder.table(&table("order_items"))];
    for n in 0..EVENTS {
        let op = match n % 10 {
            0..5 => Op::Create,
            5..9 => Op::Update,
            _ => Op::Delete,
        };
        builder.event(EventHead {
            id: EventId::derive(1_700_000_000_000, &[&n.to_le_bytes()]),
            op,
            table: tables[n as usize / 7 % 2],
            transaction: None,
            ordinal: n,
            ts_us: 1_700_000_000_000_000 + i64::from(n) * 1000,
            pos: u64::from(n) + 1,
            last: true,
            snapshot: SnapshotMark::No,
        });
        for image in [Image::Before, Image::After] {
            if (image == Image::Before && op == Op::Create) || (image == Image::After && op == Op::Delete) {
                continue;
            }
            let id = if n % 50 == 0 { i64::MAX - i64::from(n) } else { i64::from(n) };
            let status = ["pending", "paid", "cancelled", "shipped"][n as usize / 3 % 4];
            builder.image(image, |row| {
                row.push(&Cell::Int(id))
                    .push(&Cell::Int(i64::from(n % 97)))
                    .push(&Cell::Int(i64::from(n % 5)))
                    .push(&Cell::Text(&format!("customer{n}@example.com")))
                    .push(&Cell::Text(&format!("+49 170 {:07}", n * 31)))
                    .push(&Cell::Text(status))
                    .push(&Cell::Text(&format!(
                        "{n} Long Strasse, 10115 Berlin, Germany, near the \u{e9}glise"
                    )));
                if n % 4 == 0 {
                    row.push(&Cell::Null);
                } else {
                    row.push(&Cell::Text(
                        "please ring twice and leave the parcel with the neighbours upstairs",
                    ));
                }
                row.push(&Cell::Decimal(&format!("{}.99", n * 7 % 2000)))
                    .push(&Cell::Bool(n % 2 == 0))
                    .push(&Cell::Timestamp(1_700_000_000_000_000 + i64::from(n)))
                    .push(&Cell::Timestamp(1_700_000_100_000_000 + i64::from(n)));
            });
        }
    }
    builder.finish()
}

/// CPU time of this process so far.
#[allow(unsafe_code)]
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The plain way: all events as JSON text into the engine, and all results as JSON text out of it.
struct RoundTrip {
    runtime: JsRuntime,
}

/// An event as a host would hand it to serde.
#[derive(serde::Serialize)]
struct PlainEvent<'a> {
    before: Option<PlainRow<'a>>,
    after: Option<PlainRow<'a>>,
    source: PlainSource<'a>,
    op: &'a str,
    ts_ms: i64,
    event_id: String,
    tenant_id: &'a str,
    schema_version: String,
    table: &'a str,
}

#[derive(serde::Serialize)]
struct PlainSource<'a> {
    version: &'a str,
    connector: &'a str,
    name: &'a str,
    ts_ms: i64,
    db: &'a str,
    table: &'a str,
    sequence: u64,
}

impl<'a> PlainEvent<'a> {
    fn new(event: Event<'a>) -> Self {
        let (table, info, ts_ms) = (event.table(), event.info(), event.ts_us() / 1000);
        Self {
            before: event.before().map(|row| PlainRow(table, row)),
            after: event.after().map(|row| PlainRow(table, row)),
            source: PlainSource {
                version: &info.version,
                connector: &info.connector,
                name: &info.pipeline,
                ts_ms,
                db: table.database(),
                table: table.name(),
                sequence: event.pos(),
            },
            op: event.op().code(),
            ts_ms,
            event_id: event.id().to_string(),
            tenant_id: &info.tenant,
            schema_version: format!("{:016x}", table.fingerprint()),
            table: table.qualified(),
        }
    }
}

struct PlainRow<'a>(&'a TableSchema, Row<'a>);

impl serde::Serialize for PlainRow<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.1.len()))?;
        for (column, cell) in self.0.columns().iter().zip(self.1.cells()) {
            match cell {
                Cell::Null => map.serialize_entry(&column.name, &())?,
                Cell::Int(value) => map.serialize_entry(&column.name, &value)?,
                Cell::Bool(value) => map.serialize_entry(&column.name, &value)?,
                Cell::Text(value) | Cell::Decimal(value) => map.serialize_entry(&column.name, value)?,
                other => {
                    let mut text = Vec::new();
                    write_cell(&other, &mut text);
                    let text = String::from_utf8(text).expect("JSON is text");
                    map.serialize_entry(&column.name, text.trim_matches('"'))?;
                }
            }
        }
        map.end()
    }
}

impl RoundTrip {
    fn new() -> Self {
        Self { runtime: JsRuntime::new(RuntimeOptions::default()) }
    }

    fn load(&mut self, script: &str) -> v8::Global<v8::Function> {
        let text = format!(
            "(() => {{ {script}; return (text) => JSON.stringify(processBatch(JSON.parse(text))); }})()"
        );
        let value = self.runtime.execute_script("<bench>", text).expect("the script compiles");
        deno_core::scope!(scope, &mut self.runtime);
        let function = v8::Local::<v8::Function>::try_from(v8::Local::new(scope, value)).expect("a function");
        v8::Global::new(scope, function)
    }

    fn run(&mut self, function: &v8::Global<v8::Function>, batch: &Batch) -> usize {
        let events: Vec<PlainEvent<'_>> = batch.events().map(PlainEvent::new).collect();
        let text = serde_json::to_string(&events).expect("events are JSON");
        deno_core::scope!(scope, &mut self.runtime);
        let (nothing, text) = (v8::undefined(scope).into(), v8::String::new(scope, &text).expect("room"));
        let function = v8::Local::new(scope, function);
        let out = function.call(scope, nothing, &[text.into()]).expect("the script runs");
        let out = out.to_rust_string_lossy(scope);
        let out: Vec<serde_json::Value> = serde_json::from_str(&out).expect("JSON");
        out.len()
    }
}

fn quartiles(mut times: Vec<f64>) -> (f64, f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 4], times[times.len() * 3 / 4])
}

fn main() {
    let check = std::env::args().any(|arg| arg == "--check");
    let rounds = if check { ROUNDS / 3 } else { ROUNDS };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let batch = Arc::new(batch());
    let mut json = RoundTrip::new();
    let bytes = {
        let mut out = Vec::new();
        let mut encoders = RowEncoders::default();
        let mut writer = EventWriter::new(&batch, &mut encoders);
        batch.events().for_each(|event| writer.write_event(&event, false, &mut out));
        out.len() / batch.len()
    };
    println!(
        "{EVENTS} events a slice, {bytes} bytes an event as JSON; ns of CPU an event: p25 of {rounds} rounds (least .. p75)"
    );
    println!("{:10} {:>28} {:>28} {:>7}", "script", "lazy events", "JSON round trip", "ratio");
    let mut failed = false;
    for (name, script, target) in SCRIPTS {
        let function = json.load(script);
        let factory = Javascript::default();
        let spec = StageSpec {
            id: "bench".into(),
            pipeline: "bench".into(),
            tenant: "acme".into(),
            code: StageCode::Builtin("javascript".into()),
            config: serde_json::json!({ "inline": script }),
            limits: Some(StageLimits {
                cpu_ms: 60_000,
                timeout_ms: 60_000,
                mem_mb: 128,
                ..StageLimits::DEFAULT
            }),
            grants: Vec::new(),
            base_dir: None,
        };
        let (mut stage, _) = runtime.block_on(factory.build(&spec, None)).expect("the script loads");
        let view = View::all(batch.clone());
        let lazily = |stage: &mut dyn Stage| {
            let mut edits = Overlay::new();
            runtime.block_on(stage.process(&view, &mut edits)).expect("the script runs");
            edits.byte_size()
        };
        let (mut lazy, mut plain) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let began = cpu();
            for _ in 0..SLICES {
                std::hint::black_box(lazily(&mut *stage));
            }
            let between = cpu();
            for _ in 0..SLICES {
                std::hint::black_box(json.run(&function, &batch));
            }
            let ended = cpu();
            if round > 0 {
                let each = |time: Duration| time.as_nanos() as f64 / f64::from(EVENTS) / SLICES as f64;
                lazy.push(each(between - began));
                plain.push(each(ended - between));
            }
        }
        let (lazy, plain) = (quartiles(lazy), quartiles(plain));
        let ratio = plain.1 / lazy.1;
        let show = |(least, p25, p75): (f64, f64, f64)| format!("{p25:.0} ({least:.0} .. {p75:.0})");
        let verdict = match target {
            Some(target) if ratio < target => {
                failed = true;
                format!("below {target}")
            }
            Some(target) => format!("at least {target}"),
            None => String::new(),
        };
        println!(
            "{name:10} {:>28} {:>28} {ratio:>6.1}x  {verdict}  {:.0} k events/s per core",
            show(lazy),
            show(plain),
            1e6 / lazy.1
        );
    }
    if check && failed {
        std::process::exit(1);
    }
}
