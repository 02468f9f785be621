//! The batches of the tests.

use std::sync::Arc;

use deltaforge_model::batch::{SnapshotMark, SourceInfo, Transaction};
use deltaforge_model::builder::{BatchBuilder, EventHead};
use deltaforge_model::schema::{Column, Kind};
use deltaforge_model::value::{ArrayWriter, CellKind};
use deltaforge_model::{Batch, Cell, EventId, Image, Op, TableSchema};

fn info() -> Arc<SourceInfo> {
    Arc::new(SourceInfo {
        connector: "sqlite".to_owned(),
        version: "deltaforge-0.1.0".to_owned(),
        pipeline: "pipe".to_owned(),
        tenant: "acme".to_owned(),
        source_id: "db".to_owned(),
        pos_name: "sequence".to_owned(),
        pos_is_lsn: false,
    })
}

fn head(row: u32, op: Op, table: u16, transaction: u32) -> EventHead {
    EventHead {
        id: EventId::derive(1_700_000_000_000, &[&row.to_le_bytes()]),
        op,
        table,
        transaction: Some(transaction),
        ordinal: row,
        ts_us: 1_700_000_000_000_000 + i64::from(row),
        pos: u64::from(row),
        last: row % 5 == 4,
        snapshot: SnapshotMark::No,
    }
}

/// Inserts of one row each into so many tables.
pub fn scattered(tables: u32) -> Batch {
    let mut builder = BatchBuilder::new(info());
    let transaction = builder.transaction(Transaction { id: "tx-1".to_owned(), source: Vec::new() });
    for number in 0..tables {
        let columns = vec![Column::new("note", Kind::Of(CellKind::Text), "")];
        let table = builder.table(&TableSchema::new("shop", None, format!("t{number}"), columns, &["note"]));
        builder.event(head(number, Op::Create, table, transaction));
        builder.image(Image::After, |row| {
            row.push(&Cell::Text("note"));
        });
    }
    builder.finish()
}

/// Rows of two tables with every kind of value, in both images, some absent, null or unavailable.
pub fn mixed(rows: u32) -> Batch {
    let kinds = [
        ("id", Kind::Of(CellKind::Int)),
        ("note", Kind::Of(CellKind::Text)),
        ("email", Kind::Of(CellKind::Text)),
        ("flag", Kind::Of(CellKind::Bool)),
        ("big", Kind::Of(CellKind::UInt)),
        ("f32", Kind::Of(CellKind::Float32)),
        ("f64", Kind::Of(CellKind::Float64)),
        ("price", Kind::Of(CellKind::Decimal)),
        ("blob", Kind::Of(CellKind::Bytes)),
        ("day", Kind::Of(CellKind::Date)),
        ("time", Kind::Of(CellKind::Time)),
        ("local", Kind::Of(CellKind::DateTime)),
        ("at", Kind::Of(CellKind::Timestamp)),
        ("doc", Kind::Of(CellKind::Json)),
        ("uid", Kind::Of(CellKind::Uuid)),
        ("state", Kind::Of(CellKind::Enum)),
        ("marks", Kind::Of(CellKind::Set)),
        ("list", Kind::Of(CellKind::Array)),
        ("any", Kind::Any),
    ];
    let columns: Vec<Column> = kinds.iter().map(|(name, kind)| Column::new(*name, *kind, "")).collect();
    let orders = TableSchema::new("shop", None, "orders", columns.clone(), &["id"]);
    let items = TableSchema::new("shop", None, "items", columns[..3].to_vec(), &["id"]);
    let mut builder = BatchBuilder::new(info());
    let tables = [builder.table(&orders), builder.table(&items)];
    let transaction = builder.transaction(Transaction { id: "tx-1".to_owned(), source: Vec::new() });
    let mut list = ArrayWriter::default();
    list.push(&Cell::Int(1)).push(&Cell::Text("zwei")).push(&Cell::Null);
    for row in 0..rows {
        let second = row % 7 == 6;
        let op = [Op::Create, Op::Update, Op::Delete][row as usize % 3];
        builder.event(head(row, op, tables[usize::from(second)], transaction));
        for image in [Image::Before, Image::After] {
            let there = match op {
                Op::Create => image == Image::After,
                Op::Delete => image == Image::Before,
                _ => true,
            };
            if !there {
                continue;
            }
            builder.image(image, |writer| {
                writer.push(&Cell::Int(i64::from(row) - 3));
                writer.push(&Cell::Text(&format!("Grüße \"{row}\"\n")));
                writer.push(&[Cell::Text("a@b.c"), Cell::Null, Cell::Unavailable][row as usize % 3]);
                if second {
                    return;
                }
                let values = [
                    Cell::Bool(row % 2 == 0),
                    Cell::UInt(u64::MAX - u64::from(row)),
                    Cell::Float32(0.1),
                    Cell::Float64(if row == 3 { f64::NAN } else { 1e300 }),
                    Cell::Decimal("123456789012345678901234567890.10"),
                    Cell::Bytes(&[0, 255, 7]),
                    Cell::Date(-1),
                    Cell::Time(-1_000_001),
                    Cell::DateTime(1_700_000_000_123_456),
                    Cell::Timestamp(1_700_000_000_123_456),
                    Cell::Json("{ \"a\": [1.0, \"x\"] }"),
                    Cell::Uuid([7; 16]),
                    Cell::Enum("open"),
                    Cell::Set("a,b"),
                    list.as_cell(),
                    [Cell::Int(i64::MAX), Cell::Text("t"), Cell::Float64(-0.0), Cell::Bytes(b"")]
                        [row as usize % 4],
                ];
                for (at, value) in values.iter().enumerate() {
                    match (row as usize + at) % 11 {
                        0 => writer.push(&Cell::Null),
                        1 => writer.push(&Cell::Unavailable),
                        2 if row % 5 == 0 => writer.push(&Cell::Absent),
                        _ => writer.push(value),
                    };
                }
            });
        }
    }
    builder.finish()
}

/// Orders whose `note` is what is given.
pub fn notes(notes: &[&str]) -> Batch {
    let columns = ["id", "note"].map(|name| {
        Column::new(name, Kind::Of(if name == "id" { CellKind::Int } else { CellKind::Text }), "")
    });
    let orders = TableSchema::new("shop", None, "orders", columns.to_vec(), &["id"]);
    let mut builder = BatchBuilder::new(info());
    let table = builder.table(&orders);
    let transaction = builder.transaction(Transaction::default());
    for (row, note) in notes.iter().enumerate() {
        builder.event(head(row as u32, Op::Create, table, transaction));
        builder.image(Image::After, |writer| {
            writer.push(&Cell::Int(row as i64)).push(&Cell::Text(note));
        });
    }
    builder.finish()
}
