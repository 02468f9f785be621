//! Schemas, cells and batches to try things on.

use std::sync::Arc;

use deltaforge_model::edit::OwnedCell;
use deltaforge_model::value::{ArrayWriter, CellKind};
use deltaforge_model::{
    Batch, BatchBuilder, Cell, Column, EventHead, EventId, Image, Kind, Op, Side, SnapshotMark, SourceInfo,
    TableSchema, Transaction,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// One event as it was put in.
#[derive(Debug, Clone)]
pub struct Planned {
    pub table: usize,
    pub op: Op,
    pub before: Option<Vec<OwnedCell>>,
    pub after: Option<Vec<OwnedCell>>,
    pub transaction: Option<u32>,
    pub side: Side,
    pub numbers: (i64, u64, u32, bool),
}

/// A batch as it was put in.
#[derive(Debug, Clone)]
pub struct Plan {
    pub tables: Vec<Arc<TableSchema>>,
    pub transactions: Vec<Transaction>,
    pub events: Vec<Planned>,
}

pub fn info() -> Arc<SourceInfo> {
    Arc::new(SourceInfo {
        connector: "postgresql".into(),
        version: "0.1.0".into(),
        pipeline: "orders".into(),
        tenant: "acme".into(),
        source_id: "pg1".into(),
        pos_name: "lsn".into(),
        pos_is_lsn: true,
    })
}

pub fn owned(cell: &Cell<'_>) -> OwnedCell {
    OwnedCell::from(cell)
}

pub fn id_of(number: usize) -> EventId {
    EventId::derive(1_700_000_000_000, &[b"event", &number.to_le_bytes()])
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z\u{e9}\u{1f600}\"\\\\\n ]{0,12}", 1 => "[a-z]{100,300}"]
}

pub fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![(3u8..20).prop_map(|byte| Kind::Of(CellKind::from_byte(byte).unwrap())), Just(Kind::Any)]
}

pub fn cell() -> impl Strategy<Value = OwnedCell> {
    let flat = prop_oneof![
        Just(owned(&Cell::Absent)),
        Just(owned(&Cell::Null)),
        Just(owned(&Cell::Unavailable)),
        any::<bool>().prop_map(|v| owned(&Cell::Bool(v))),
        any::<i64>().prop_map(|v| owned(&Cell::Int(v))),
        any::<u64>().prop_map(|v| owned(&Cell::UInt(v))),
        any::<f32>().prop_map(|v| owned(&Cell::Float32(v))),
        any::<f64>().prop_map(|v| owned(&Cell::Float64(v))),
        "-?[0-9]{1,30}\\.[0-9]{1,9}".prop_map(|v| owned(&Cell::Decimal(&v))),
        text().prop_map(|v| owned(&Cell::Text(&v))),
        vec(any::<u8>(), 0..40).prop_map(|v| owned(&Cell::Bytes(&v))),
        any::<i32>().prop_map(|v| owned(&Cell::Date(v))),
        any::<i64>().prop_map(|v| owned(&Cell::Time(v))),
        any::<i64>().prop_map(|v| owned(&Cell::DateTime(v))),
        any::<i64>().prop_map(|v| owned(&Cell::Timestamp(v))),
        prop_oneof![Just("{\"a\": [1, 2e400]}".to_owned()), text()].prop_map(|v| owned(&Cell::Json(&v))),
        any::<[u8; 16]>().prop_map(|v| owned(&Cell::Uuid(v))),
        text().prop_map(|v| owned(&Cell::Enum(&v))),
        text().prop_map(|v| owned(&Cell::Set(&v))),
    ];
    flat.prop_recursive(3, 20, 5, |inner| {
        vec(inner, 0..5).prop_map(|cells| {
            let mut writer = ArrayWriter::default();
            for cell in &cells {
                writer.push(&cell.as_cell());
            }
            owned(&writer.as_cell())
        })
    })
}

fn side() -> impl Strategy<Value = Side> {
    let pairs = || vec(("[a-z]{1,3}", text()), 0..3);
    let rare = (option::of(text()), option::of(text()), option::of((text(), text())), option::of(text()));
    let full = (option::of(vec(text(), 0..3)), pairs(), rare, option::of(text()), pairs()).prop_map(
        |(tags, headers, (topic, key, ddl, message), synthetic, fields)| Side {
            tags,
            headers,
            topic,
            key,
            ddl,
            message,
            synthetic,
            fields,
        },
    );
    prop_oneof![3 => Just(Side::default()), 1 => full]
}

fn table(number: usize) -> impl Strategy<Value = Arc<TableSchema>> {
    (vec((kind(), any::<bool>()), 0..7), any::<bool>()).prop_map(move |(columns, schema)| {
        let columns: Vec<Column> = columns
            .into_iter()
            .enumerate()
            .map(|(at, (kind, nullable))| Column {
                name: format!("c{at}"),
                kind,
                source_type: format!("{}({at})", kind.name()),
                nullable,
            })
            .collect();
        // Tables 0 and 1 are two versions of one table.
        TableSchema::new(
            "db",
            schema.then(|| "public".into()),
            format!("t{}", number / 2),
            columns,
            &["c1", "c0"],
        )
    })
}

pub fn plan(events: std::ops::Range<usize>) -> impl Strategy<Value = Plan> {
    let transactions = vec(
        (text(), vec(("[a-z]{1,4}", prop_oneof![Just("12".to_owned()), text()]), 0..3))
            .prop_map(|(id, source)| Transaction { id, source }),
        0..3,
    );
    ((table(0), table(1), table(2)), transactions).prop_flat_map(move |((a, b, c), transactions)| {
        let tables = vec![a, b, c];
        let widths: Vec<usize> = tables.iter().map(|table| table.columns().len()).collect();
        let (some, count) = (transactions.len() as u32, events.clone());
        let event = (0..tables.len()).prop_flat_map(move |table| {
            let image = || option::weighted(0.8, vec(cell(), 0..=widths[table]));
            let numbers = (any::<i64>(), any::<u64>(), any::<u32>(), any::<bool>());
            let op = (0u8..8).prop_map(|byte| Op::from_byte(byte).unwrap());
            (Just(table), op, image(), image(), option::of(any::<u32>()), side(), numbers).prop_map(
                move |(table, op, before, after, transaction, side, numbers)| Planned {
                    table,
                    op,
                    before,
                    after,
                    transaction: transaction.filter(|_| some > 0).map(|tx| tx % some),
                    side,
                    numbers,
                },
            )
        });
        (Just(tables), Just(transactions), vec(event, count))
            .prop_map(|(tables, transactions, events)| Plan { tables, transactions, events })
    })
}

impl Plan {
    pub fn build(&self) -> Batch {
        let mut builder = BatchBuilder::new(info());
        let transactions: Vec<u32> =
            self.transactions.iter().map(|tx| builder.transaction(tx.clone())).collect();
        for (number, event) in self.events.iter().enumerate() {
            let table = builder.table(&self.tables[event.table]);
            let (ts_us, pos, ordinal, last) = event.numbers;
            builder.event(EventHead {
                id: id_of(number),
                op: event.op,
                table,
                transaction: event.transaction.map(|tx| transactions[tx as usize]),
                ordinal,
                ts_us,
                pos,
                last,
                snapshot: [SnapshotMark::No, SnapshotMark::First, SnapshotMark::True, SnapshotMark::Last]
                    [number % 4],
            });
            for (image, cells) in [(Image::Before, &event.before), (Image::After, &event.after)] {
                if let Some(cells) = cells {
                    builder.image(image, |row| {
                        for cell in cells {
                            row.push(&cell.as_cell());
                        }
                    });
                }
            }
            if event.side != Side::default() {
                builder.side(event.side.clone());
            }
        }
        builder.finish()
    }
}
