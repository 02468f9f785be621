#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use deltaforge_model::value::CellKind;
use deltaforge_model::{
    Cell, Column, EventHead, EventId, Image, Kind, Op, SnapshotMark, SourceInfo, TableSchema,
};

use super::*;

/// Limits that nothing reaches.
const NONE: BatchLimits = BatchLimits {
    max_events: usize::MAX,
    max_bytes: usize::MAX,
    max_wait: Duration::MAX,
    respect_source_tx: true,
    hard_bytes: usize::MAX,
};

fn position(n: u64) -> Position {
    Position::new(n.to_string())
}

/// A batch of rows with texts of these lengths.
fn batcher(limits: BatchLimits, texts: &[usize]) -> Batcher {
    let info = SourceInfo {
        connector: "test".into(),
        version: "test".into(),
        pipeline: "p".into(),
        tenant: "t".into(),
        source_id: "s".into(),
        pos_name: "pos".into(),
        pos_is_lsn: false,
    };
    let mut batcher = Batcher::new(BatchBuilder::new(Arc::new(info)), limits, position(7));
    texts.iter().for_each(|text| add(&mut batcher, *text));
    batcher
}

fn add(batcher: &mut Batcher, text: usize) {
    let columns = vec![Column::new("text", Kind::Of(CellKind::Text), "text")];
    let table = batcher.builder.table(&TableSchema::new("shop", None, "notes", columns, &["text"]));
    let ordinal = batcher.builder.len() as u32;
    batcher.builder.event(EventHead {
        id: EventId::derive(1, &[&ordinal.to_le_bytes()]),
        op: Op::Create,
        table,
        transaction: None,
        ordinal,
        ts_us: 1,
        pos: 1,
        last: true,
        snapshot: SnapshotMark::No,
    });
    batcher.builder.image(Image::After, |row| {
        row.push(&Cell::Text(&"x".repeat(text)));
    });
}

#[test]
fn an_empty_batch_is_never_closed() {
    let zero = BatchLimits { max_events: 0, max_bytes: 0, max_wait: Duration::ZERO, hard_bytes: 0, ..NONE };
    assert!(!batcher(zero, &[]).is_full(true, true));
}

#[test]
fn a_batch_without_limits_waits_for_the_source_to_be_idle() {
    assert!(!batcher(NONE, &[100; 50]).is_full(true, false));
    assert!(batcher(NONE, &[1]).is_full(true, true));
}

#[test]
fn it_is_closed_at_its_count() {
    let limits = BatchLimits { max_events: 3, ..NONE };
    let mut batch = batcher(limits, &[1, 1]);
    assert!(!batch.is_full(true, false));
    add(&mut batch, 1);
    assert!(batch.is_full(true, false));
}

#[test]
fn it_is_closed_at_its_bytes() {
    let rows = batcher(NONE, &[100; 3]).builder.row_bytes();
    let limits = BatchLimits { max_bytes: rows, ..NONE };
    let mut batch = batcher(limits, &[100; 2]);
    assert!(!batch.is_full(true, false));
    add(&mut batch, 100);
    assert!(batch.is_full(true, false));
}

#[test]
fn it_is_closed_once_its_first_event_has_waited() {
    let limits = BatchLimits { max_wait: Duration::from_millis(50), ..NONE };
    let mut batch = batcher(limits, &[1]);
    assert!(!batch.is_full(true, false), "the wait begins now");
    std::thread::sleep(Duration::from_millis(60));
    add(&mut batch, 1);
    assert!(batch.is_full(true, false), "a later event does not prolong it");
}

#[test]
fn it_passes_every_soft_limit_to_end_with_its_transaction() {
    let limits = BatchLimits { max_events: 1, max_bytes: 1, max_wait: Duration::ZERO, ..NONE };
    let mut batch = batcher(limits, &[100; 5]);
    assert!(!batch.is_full(false, false));
    assert!(!batch.is_full(false, true), "nor while the rest of the transaction is still to come");
    assert!(batch.is_full(true, false));
}

#[test]
fn a_source_whose_transactions_do_not_matter_is_cut_anywhere() {
    let free = BatchLimits { respect_source_tx: false, ..NONE };
    for limits in [
        BatchLimits { max_events: 5, ..free },
        BatchLimits { max_bytes: 500, ..free },
        BatchLimits { max_wait: Duration::ZERO, ..free },
    ] {
        assert!(batcher(limits, &[100; 5]).is_full(false, false), "{limits:?}");
    }
    assert!(!batcher(free, &[100; 5]).is_full(false, false));
}

#[test]
fn no_transaction_passes_the_hard_limit() {
    let rows = batcher(NONE, &[100; 3]).builder.row_bytes();
    let limits = BatchLimits { hard_bytes: rows + 3 * MESSAGE_BYTES, ..NONE };
    let mut batch = batcher(limits, &[100; 2]);
    assert!(!batch.is_full(false, false));
    add(&mut batch, 100);
    assert!(batch.is_full(false, false));
}

#[test]
fn a_closed_batch_covers_what_follows_its_start() {
    let inside = Boundary::Inside { transaction: "tx".into(), rows_done: 2 };
    let closed = batcher(NONE, &[1, 1]).close(position(9), inside.clone());
    assert_eq!((closed.batch.len(), closed.boundary), (2, inside));
    assert_eq!((closed.covers.from, closed.covers.through), (position(7), position(9)));
}
