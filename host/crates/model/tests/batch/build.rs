//! What a builder was given is what a batch shows.

use std::sync::Arc;

use deltaforge_model::view::presence;
use deltaforge_model::{
    Batch, BatchBuilder, Cell, Column, EventHead, Image, Kind, Op, SnapshotMark, TableSchema, View,
};
use proptest::prelude::*;

use crate::generate::{Plan, id_of, info, owned, plan};

pub fn holds(batch: &Batch, plan: &Plan) {
    assert_eq!(batch.len(), plan.events.len());
    for (number, (event, planned)) in batch.events().zip(&plan.events).enumerate() {
        let (ts_us, pos, ordinal, last) = planned.numbers;
        assert_eq!(event.id(), id_of(number));
        assert_eq!(event.op(), planned.op);
        assert_eq!(event.table().fingerprint(), plan.tables[planned.table].fingerprint());
        assert_eq!(
            (event.ts_us(), event.pos(), event.ordinal(), event.is_last()),
            (ts_us, pos, ordinal, last)
        );
        assert_eq!(event.source_row(), number as u32);
        assert_eq!(event.transaction(), planned.transaction.map(|tx| &plan.transactions[tx as usize]));
        assert_eq!(event.side(), &planned.side);
        for (image, cells) in [(Image::Before, &planned.before), (Image::After, &planned.after)] {
            let row = event.image(image);
            assert_eq!(row.is_some(), cells.is_some());
            let (Some(row), Some(cells)) = (row, cells) else { continue };
            assert_eq!(row.len(), event.table().columns().len());
            assert_eq!(row.cells().len(), row.len());
            for (at, cell) in row.cells().enumerate() {
                let put = cells.get(at).cloned().unwrap_or(owned(&Cell::Absent));
                assert_eq!(owned(&cell), put);
                assert_eq!(owned(&row.cell(at)), put);
            }
            assert_eq!(row.cell(row.len()).kind(), Cell::Absent.kind());
        }
    }
}

proptest! {
    #[test]
    fn a_batch_shows_what_was_put_in(plan in plan(0..12)) {
        holds(&plan.build(), &plan);
    }

    #[test]
    fn columns_agree_with_cells(plan in plan(0..12), column in "c[0-7]") {
        let view = View::all(Arc::new(plan.build()));
        for image in Image::BOTH {
            let (ints, floats, flats) =
                (view.ints(image, &column), view.floats(image, &column), view.flats(image, &column));
            for row in 0..view.len() {
                let cell = view.cell(row, image, &column);
                let special = match cell {
                    Cell::Absent => Some(presence::NONE),
                    Cell::Null => Some(presence::NULL),
                    Cell::Unavailable => Some(presence::UNAVAILABLE),
                    _ => None,
                };
                let int = match cell {
                    Cell::Bool(v) => Some(i64::from(v)),
                    Cell::Date(v) => Some(i64::from(v)),
                    Cell::UInt(v) => i64::try_from(v).ok(),
                    Cell::Int(v) | Cell::Time(v) | Cell::DateTime(v) | Cell::Timestamp(v) => Some(v),
                    _ => None,
                };
                let float = match cell {
                    Cell::Float32(v) => Some(f64::from(v)),
                    Cell::Float64(v) => Some(v),
                    _ => None,
                };
                let flat = match cell {
                    Cell::Bytes(bytes) => Some(bytes),
                    cell => cell.as_str().map(str::as_bytes),
                };
                let expected = |found: bool| special.unwrap_or(if found { presence::VALUE } else { presence::OTHER });
                prop_assert_eq!(ints.present[row], expected(int.is_some()));
                prop_assert_eq!(ints.values[row], int.unwrap_or_default());
                prop_assert_eq!(floats.present[row], expected(float.is_some()));
                prop_assert_eq!(floats.values[row].to_bits(), float.unwrap_or_default().to_bits());
                prop_assert_eq!(flats.present[row], expected(flat.is_some()));
                prop_assert_eq!(flats.get(row), Some(flat.unwrap_or_default()));
            }
        }
    }

    #[test]
    fn a_batch_splits_anywhere(plan in plan(0..8), at in 0usize..9) {
        let at = at.min(plan.events.len());
        let mut head = plan.build();
        let whole = head.clone();
        let tail = head.split_off(at);
        prop_assert_eq!((head.len(), tail.len()), (at, whole.len() - at));
        for (event, part) in whole.events().zip(head.events().chain(tail.events())) {
            prop_assert_eq!(format!("{event:?}"), format!("{part:?}"));
            prop_assert_eq!(event.transaction(), part.transaction());
        }
        let rows: Vec<usize> = (0..whole.len()).filter(|row| row % 2 == at % 2).collect();
        let picked = whole.pick(&rows);
        prop_assert_eq!(picked.len(), rows.len());
        for (row, part) in rows.iter().zip(picked.events()) {
            let event = whole.event(*row);
            prop_assert_eq!(format!("{event:?}"), format!("{part:?}"));
            prop_assert_eq!(event.transaction(), part.transaction());
            prop_assert_eq!(event.byte_size(), part.byte_size());
        }
        prop_assert!(picked.row_bytes() <= whole.row_bytes());
    }
}

fn head(number: usize, table: u16) -> EventHead {
    EventHead {
        id: id_of(number),
        op: Op::Create,
        table,
        transaction: None,
        ordinal: 0,
        ts_us: 0,
        pos: 0,
        last: false,
        snapshot: SnapshotMark::No,
    }
}

#[test]
fn wide_and_large_rows() {
    let columns: Vec<Column> = (0..1500).map(|at| Column::new(format!("c{at}"), Kind::Any, "")).collect();
    let wide = TableSchema::new("db", None, "wide", columns, &[]);
    let big = "x".repeat((1 << 20) + 1);
    let edge = vec![7u8; 1 << 20];
    let mut builder = BatchBuilder::new(info());
    for number in 0..3 {
        let table = builder.table(&wide);
        builder.event(head(number, table));
        builder.image(Image::After, |row| {
            for at in 0..1500i64 {
                match at {
                    3 | 1499 => row.push(&Cell::Text(&big)),
                    4 => row.push(&Cell::Bytes(&edge)),
                    _ => row.push(&Cell::Int(at)),
                };
            }
        });
    }
    let size = builder.row_bytes();
    // What is taken back leaves nothing behind, large cells included.
    let table = builder.table(&wide);
    builder.event(head(9, table));
    builder.image(Image::Before, |row| {
        row.push(&Cell::Text(&big)).push(&Cell::Null);
    });
    builder.image(Image::After, |row| {
        row.push(&Cell::Null).push(&Cell::Text(&big));
    });
    builder.undo();
    assert_eq!(builder.row_bytes(), size);
    let batch = builder.finish();
    let mut bytes = Vec::new();
    batch.write_durable(&mut bytes);
    for batch in [&batch, &Batch::read_durable(&bytes).unwrap()] {
        for event in batch.events() {
            let row = event.after().unwrap();
            assert_eq!(row.cell(3).as_str(), Some(big.as_str()));
            assert_eq!(row.cell(1499).as_str(), Some(big.as_str()));
            assert_eq!(row.cell(4), Cell::Bytes(&edge));
            assert_eq!(row.cell(1498), Cell::Int(1498));
            assert!(row.byte_size() > 3 << 20);
        }
    }
}
