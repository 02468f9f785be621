//! What the batch itself costs: nanoseconds an event of this thread's own time.
//!
//! Batches of 500 events of one table of 12 columns (three integers, five texts, a decimal, a boolean, two
//! timestamps): 60 % created, 30 % updated with both images, 10 % deleted. Edits are made outside the time taken,
//! so a row here is what the engine adds to a stage that makes them.

#![allow(clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use deltaforge_model::edit::{Emit, SideEdit};
use deltaforge_model::json::{EventWriter, RowEncoders};
use deltaforge_model::value::CellKind;
use deltaforge_model::{
    Batch, BatchBuilder, Cell, Column, EventHead, EventId, Image, Kind, Op, Overlay, SnapshotMark,
    SourceInfo, TableSchema, View,
};
use rustix::time::{ClockId, clock_gettime};

const EVENTS: usize = 500;
const BATCHES: usize = 8;
const ROUNDS: usize = 400;

fn main() {
    let batches: Vec<Arc<Batch>> = (0..BATCHES).map(|seed| Arc::new(batch(seed))).collect();
    println!("{:<34} {:>8} {:>8} {:>8}", "ns an event", "least", "p25", "median");
    let mut seeds = (0..BATCHES).cycle();
    measure("build", || seeds.next().unwrap_or_default(), batch);

    let mut encoders = RowEncoders::default();
    let mut out = Vec::new();
    let mut next = cycle(&batches);
    measure("native JSON", &mut next, |batch| {
        out.clear();
        let mut writer = EventWriter::new(&batch, &mut encoders);
        for event in batch.events() {
            writer.write_event(&event, false, &mut out);
        }
        black_box(&out);
    });
    let mut out = Vec::new();
    measure("write the durable form", &mut next, |batch| {
        out.clear();
        batch.write_durable(&mut out);
        black_box(&out);
    });
    let mut forms = batches.iter().cycle().map(|batch| {
        let mut form = Vec::new();
        batch.write_durable(&mut form);
        form
    });
    let form = || forms.next().unwrap_or_default();
    measure("read the durable form", form, |form| Batch::read_durable(&form));

    let mut apply = |name: &str, edit: fn(&View, &mut Overlay)| {
        let prepare = || {
            let batch = next();
            let mut edits = Overlay::new();
            edit(&View::all(batch.clone()), &mut edits);
            ((*batch).clone(), edits)
        };
        measure(&format!("apply: {name}"), prepare, |(mut batch, edits)| {
            edits.apply(&mut batch, "stage");
            batch
        });
    };
    apply("two columns, whole", |view, edits| {
        for image in Image::BOTH {
            for column in ["email", "note"] {
                edits.fill(view, image, column, &Cell::Text("***")).expect("it fits");
            }
        }
    });
    apply("a cell of each row", |view, edits| {
        for row in 0..view.len() {
            if view.event(row).after().is_some() {
                edits.set(view, row, Image::After, "quantity", &Cell::Int(77)).expect("it fits");
            }
        }
    });
    apply("the same values again", |view, edits| {
        let column = view.flats(Image::After, "email");
        edits.set_flats(view, Image::After, "email", &column).expect("it fits");
    });
    apply("a tag on each event", |view, edits| {
        edits.side_all(view, SideEdit::Tag("seen".into()), None).expect("no mask");
    });
    apply("an event added to each", |view, edits| {
        for row in 0..view.len() {
            let after =
                vec![("id".to_owned(), (&Cell::Int(1)).into()), ("note".to_owned(), (&Cell::Null).into())];
            let emit = Emit { op: Op::Create, before: None, after: Some(after), side: Vec::new() };
            edits.emit(view, row, emit).expect("it fits");
        }
    });
    apply("half of the rows dropped", |view, edits| {
        for row in (0..view.len()).step_by(2) {
            edits.drop_row(view, row).expect("it is there");
        }
    });
}

fn cycle(batches: &[Arc<Batch>]) -> impl FnMut() -> Arc<Batch> {
    let mut at = 0;
    move || {
        at += 1;
        batches[at % batches.len()].clone()
    }
}

fn measure<T, R>(name: &str, mut prepare: impl FnMut() -> T, mut work: impl FnMut(T) -> R) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let input = prepare();
            let start = thread_nanos();
            let result = black_box(work(black_box(input)));
            let took = thread_nanos() - start;
            drop(result);
            took as f64 / EVENTS as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:<34} {:>8.1} {:>8.1} {:>8.1}", rounds[0], rounds[ROUNDS / 4], rounds[ROUNDS / 2]);
}

fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn batch(seed: usize) -> Batch {
    let info = SourceInfo {
        connector: "sqlite".into(),
        version: "0.1.0".into(),
        pipeline: "orders".into(),
        tenant: "acme".into(),
        source_id: "shop".into(),
        pos_name: "sequence".into(),
        pos_is_lsn: false,
    };
    let column = |(name, kind): (&str, CellKind)| Column::new(name, Kind::Of(kind), "");
    let columns = [
        ("id", CellKind::Int),
        ("customer", CellKind::Int),
        ("quantity", CellKind::Int),
        ("status", CellKind::Text),
        ("email", CellKind::Text),
        ("sku", CellKind::Text),
        ("address", CellKind::Text),
        ("note", CellKind::Text),
        ("total", CellKind::Decimal),
        ("paid", CellKind::Bool),
        ("created_at", CellKind::Timestamp),
        ("updated_at", CellKind::Timestamp),
    ];
    let schema = TableSchema::new("shop", None, "orders", columns.into_iter().map(column).collect(), &["id"]);
    let mut builder = BatchBuilder::new(Arc::new(info));
    for at in 0..EVENTS {
        let id = (seed * EVENTS + at) as i64;
        let op = match at % 10 {
            0..=5 => Op::Create,
            6..=8 => Op::Update,
            _ => Op::Delete,
        };
        let table = builder.table(&schema);
        builder.event(EventHead {
            id: EventId::derive(1_705_314_600_000, &[&id.to_le_bytes()]),
            op,
            table,
            transaction: None,
            ordinal: 0,
            ts_us: 1_705_314_600_123_456,
            pos: id as u64,
            last: true,
            snapshot: SnapshotMark::No,
        });
        for image in Image::BOTH {
            let there = if image == Image::Before { op != Op::Create } else { op != Op::Delete };
            if there {
                builder.image(image, |row| {
                    row.push(&Cell::Int(id)).push(&Cell::Int(id * 7919 % 100_000)).push(&Cell::Int(id % 10));
                    row.push(&Cell::Text(if id % 2 == 0 { "active" } else { "cancelled" }));
                    row.push(&Cell::Text(&format!("customer{id}@mail.example.com")));
                    row.push(&Cell::Text(&format!("SKU-{:08}", id * 31)));
                    row.push(&Cell::Text(&format!("{id} Long Winding Road, Some Town, 12345")));
                    let note = format!("leave it at the door of number {id}, please");
                    row.push(&if id % 4 == 0 { Cell::Null } else { Cell::Text(&note) });
                    row.push(&Cell::Decimal(&format!("{}.{:02}", id * 13 % 9999, id % 100)));
                    row.push(&Cell::Bool(id % 3 == 0));
                    row.push(&Cell::Timestamp(1_705_314_600_123_456));
                    row.push(&Cell::Timestamp(1_705_404_660_000_000));
                });
            }
        }
    }
    builder.finish()
}
