//! One test for each mistake that was found.

use std::sync::Arc;

use deltaforge_model::edit::{EditError, Emit, Slot};
use deltaforge_model::json::{EventWriter, RowEncoders, cell_from_json};
use deltaforge_model::value::{ArrayWriter, CellKind, check};
use deltaforge_model::view;
use deltaforge_model::{
    Batch, BatchBuilder, Cell, Column, EventHead, EventId, Image, Kind, Op, Overlay, Side, SnapshotMark,
    TableSchema, View,
};

use crate::exercise::bytes_of;
use crate::generate::{id_of, info};

pub fn batch_of(columns: usize, rows: usize, side: &Side) -> Batch {
    let kind = Kind::Of(CellKind::Text);
    let columns: Vec<Column> = (0..columns).map(|at| Column::new(format!("c{at}"), kind, "text")).collect();
    let schema = TableSchema::new("db", None, "t", columns, &["c0"]);
    let mut builder = BatchBuilder::new(info());
    for number in 0..rows {
        let table = builder.table(&schema);
        builder.event(EventHead {
            id: id_of(number),
            op: Op::Create,
            table,
            transaction: None,
            ordinal: 0,
            ts_us: 0,
            pos: 0,
            last: false,
            snapshot: SnapshotMark::No,
        });
        builder.image(Image::After, |row| {
            for _ in 0..schema.columns().len() {
                row.push(&Cell::Text("held"));
            }
        });
        builder.side(side.clone());
    }
    builder.finish()
}

fn view_of(columns: usize, rows: usize) -> View {
    View::all(Arc::new(batch_of(columns, rows, &Side::default())))
}

fn apply(view: View, edits: Overlay) -> Batch {
    let mut batch = view.into_batch();
    edits.apply(&mut batch, "stage");
    assert!(Batch::read_durable(&bytes_of(&batch)).is_ok(), "what is written can be read");
    batch
}

fn emit(op: Op) -> Emit {
    Emit { op, before: None, after: None, side: Vec::new() }
}

#[test]
fn deep_arrays_from_a_script_neither_overflow_the_stack_nor_break_the_durable_form() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let array = Kind::Of(CellKind::Array);
    assert!(cell_from_json(&deep(100_000), array).is_err());
    for depth in [1, 8, 9, 40] {
        let cell = cell_from_json(&deep(depth), array).unwrap();
        let mut bytes = Vec::new();
        cell.as_cell().write(&mut bytes);
        assert!(check(cell.as_cell().kind(), &bytes), "{depth}");
    }
    let mut outer = ArrayWriter::default();
    for _ in 0..20 {
        let mut next = ArrayWriter::default();
        next.push(&outer.as_cell());
        outer = next;
        let Cell::Array(array) = outer.as_cell() else { unreachable!() };
        assert!(check(CellKind::Array, array.as_bytes()));
    }
}

#[test]
fn members_set_beside_json_that_a_parser_cannot_hold() {
    for message in ["{\"n\":1e400}".to_owned(), "\"\\ud800\"".to_owned(), "[".repeat(128) + &"]".repeat(128)]
    {
        let path = "a.".repeat(100_000);
        let fields = vec![("x.y".into(), "1.10".into()), (path, "2".into())];
        let side = Side { message: Some(message.clone()), fields, ..Side::default() };
        let batch = batch_of(1, 1, &side);
        let mut encoders = RowEncoders::default();
        let mut out = Vec::new();
        EventWriter::new(&batch, &mut encoders).write_event(&batch.event(0), false, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(&format!("\"message\":{message}")) && text.contains("\"x\":{\"y\":1.10}"));
    }
}

#[test]
fn members_that_a_script_takes_away() {
    let message = r#"{"keep":1e400,"drop":{"a":1,"b":2},"odd":{"\ud800":1}}"#;
    let gone = ["source.connector", "message.drop.a", "message.odd.b", "message.keep.x", "no.such", "op"];
    let fields = gone.iter().map(|path| ((*path).to_owned(), String::new())).collect();
    let batch = batch_of(1, 1, &Side { message: Some(message.to_owned()), fields, ..Side::default() });
    let mut out = Vec::new();
    EventWriter::new(&batch, &mut RowEncoders::default()).write_event(&batch.event(0), false, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains(r#""message":{"keep":1e400,"drop":{"b":2},"odd":{"\ud800":1}}"#), "{text}");
    assert!(!text.contains("connector") && !text.contains("\"op\":") && !text.contains("\"no\""), "{text}");
}

#[test]
fn an_empty_image_of_a_table_without_columns_can_be_written_and_read() {
    let view = view_of(0, 1);
    let mut edits = Overlay::new();
    edits.set_image(&view, 0, Image::Before, Some(&Vec::new())).unwrap();
    assert_eq!(apply(view, edits).event(0).before().unwrap().len(), 0);
}

#[test]
fn an_image_that_was_taken_away_stays_away() {
    let view = view_of(2, 1);
    let mut edits = Overlay::new();
    edits.set_image(&view, 0, Image::After, None).unwrap();
    edits.remove_column(&view, "c1");
    edits.fill(&view, Image::After, "c0", &Cell::Null).unwrap();
    assert!(apply(view, edits).event(0).after().is_none());
}

#[test]
fn what_is_dropped_after_a_new_order_is_gone_and_what_is_added_is_there() {
    let view = view_of(1, 3);
    let mut edits = Overlay::new();
    edits.reorder(&view, vec![Slot::Row(2), Slot::Row(1), Slot::Row(0)]).unwrap();
    edits.reject(&view, 1, "code", "why").unwrap();
    edits.drop_row(&view, 2).unwrap();
    edits.emit(&view, 0, emit(Op::Delete)).unwrap();
    let batch = apply(view, edits);
    let ops: Vec<Op> = batch.events().map(|event| event.op()).collect();
    assert_eq!((ops, batch.event(0).id()), (vec![Op::Create, Op::Delete], id_of(0)));
    assert_eq!(batch.rejects().len(), 1);
}

#[test]
fn orders_of_overlapping_views_lose_nothing() {
    let view = view_of(1, 4);
    let mut edits = Overlay::new();
    edits.reorder(&view, [3, 2, 1, 0].map(Slot::Row).to_vec()).unwrap();
    edits.reorder(&view.slice(0..2), [1, 0].map(Slot::Row).to_vec()).unwrap();
    let batch = apply(view, edits);
    let ids: Vec<EventId> = batch.events().map(|event| event.id()).collect();
    assert_eq!(ids, [1, 0, 3, 2].map(id_of));
}

#[test]
fn a_setter_that_fails_leaves_nothing_behind() {
    let view = view_of(1, 2);
    let mut edits = Overlay::new();
    let mut values = view::Flat::default();
    values.push(view::presence::VALUE, b"fine");
    values.push(view::presence::VALUE, b"\xff");
    assert!(edits.set_flats(&view, Image::After, "c0", &values).is_err());
    assert!(edits.is_empty());
}

#[test]
fn one_column_too_many_is_refused_and_overwrites_no_other() {
    let view = view_of(TableSchema::MAX_COLUMNS, 1);
    let mut edits = Overlay::new();
    let cells = vec![("more".to_owned(), (&Cell::Int(1)).into())];
    let refused = Err(EditError::TooManyColumns { column: "more".into() });
    assert_eq!(edits.set_image(&view, 0, Image::After, Some(&cells)), refused);
    assert_eq!(edits.add_column(&view, "more", Kind::Any), refused);
    assert!(edits.set(&view, 0, Image::After, "more", &Cell::Int(1)).is_err());
    assert_eq!(edits.emit(&view, 0, Emit { after: Some(cells), ..emit(Op::Create) }).err(), refused.err());
    assert!(edits.is_empty());
}

#[test]
fn the_last_column_that_fits_is_taken() {
    let view = view_of(TableSchema::MAX_COLUMNS - 1, 2);
    let mut edits = Overlay::new();
    let two = ["one", "two"].map(|name| (name.to_owned(), (&Cell::Int(1)).into())).to_vec();
    assert!(edits.emit(&view, 0, Emit { after: Some(two), ..emit(Op::Create) }).is_err());
    assert_eq!(edits.byte_size(), 0);
    edits.add_column(&view, "last", Kind::Any).unwrap();
    edits.fill(&view, Image::After, "last", &Cell::Int(7)).unwrap();
    // Two slices of one batch that together add one column too many.
    let mut other = Overlay::new();
    other.add_column(&view, "other", Kind::Any).unwrap();
    other.fill(&view, Image::After, "other", &Cell::Int(8)).unwrap();
    let refused = Err(EditError::TooManyColumns { column: "other".into() });
    assert_eq!(edits.absorb(view.batch(), other), refused);
    let batch = apply(view, edits);
    let row = batch.event(1).after().unwrap();
    assert_eq!((row.len(), row.cell(TableSchema::MAX_COLUMNS - 1)), (TableSchema::MAX_COLUMNS, Cell::Int(7)));
}

#[test]
fn rejects_become_drops_before_a_rollback() {
    let view = view_of(1, 2);
    let mut edits = Overlay::new();
    edits.reject(&view, 0, "code", "why").unwrap();
    let start = edits.savepoint();
    edits.reject(&view, 1, "code", "why").unwrap();
    assert_eq!(edits.drop_rejects(), 2);
    edits.rollback(start);
    assert!(edits.drop_row(&view, 1).is_ok());
}

#[test]
fn edits_of_a_row_share_its_large_cells() {
    let big = "x".repeat(2 << 20);
    let view = view_of(3, 1);
    let mut edits = Overlay::new();
    edits.set(&view, 0, Image::After, "c1", &Cell::Text(&big)).unwrap();
    let mut batch = apply(view, edits);
    let size = batch.byte_size();
    for value in ["a", "b", "c"] {
        let view = View::all(Arc::new(batch));
        let mut edits = Overlay::new();
        edits.set(&view, 0, Image::After, "c0", &Cell::Text(value)).unwrap();
        batch = apply(view, edits);
    }
    assert!(batch.byte_size() < size + 4096);
    let row = batch.event(0).after().unwrap();
    assert_eq!([0, 1, 2].map(|at| row.cell(at).as_str()), [Some("c"), Some(big.as_str()), Some("held")]);
}

#[test]
fn texts_beside_the_rows_count() {
    let side = Side { message: Some("m".repeat(1 << 20)), ..Side::default() };
    assert!(batch_of(1, 1, &side).byte_size() > 1 << 20);
    let view = view_of(1, 1);
    let mut edits = Overlay::new();
    edits.reject(&view, 0, "code", &"r".repeat(1 << 20)).unwrap();
    assert!(edits.byte_size() > 1 << 20);
}

#[test]
fn an_event_named_twice_is_rejected_once() {
    let mut batch = batch_of(1, 3, &Side::default());
    batch.reject_events(&[2, 0, 2], "sink", "code", "why");
    assert_eq!((batch.len(), batch.rejects().len(), batch.event(0).id()), (1, 2, id_of(1)));
}

#[test]
fn an_event_id_has_its_dashes_where_they_belong() {
    assert_eq!(id_of(1).to_string().parse(), Ok(id_of(1)));
    assert!("0-0-0-0-00000000000000000000000000000".parse::<EventId>().is_err());
    assert!("----00000000000000000000000000000000".parse::<EventId>().is_err());
}
