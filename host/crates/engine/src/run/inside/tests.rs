use std::sync::Arc;

use deltaforge_model::{
    Batch, BatchBuilder, Boundary, EventHead, EventId, Op, Position, SnapshotMark, SourceInfo, TableSchema,
    Transaction,
};

use super::*;
use crate::run::skip::Skip;
use crate::run::standing::tests::Numbers;

fn info() -> Arc<SourceInfo> {
    Arc::new(SourceInfo {
        connector: "numbers".into(),
        version: "1".into(),
        pipeline: "p".into(),
        tenant: "t".into(),
        source_id: "shop".into(),
        pos_name: "pos".into(),
        pos_is_lsn: false,
    })
}

/// A sink that has three rows of the transaction behind position 5.
fn start(keeps: bool) -> Start {
    let inside = Some(("t:1 tables".to_owned(), 3));
    Start { known: true, resume: Some(Position::new("5")), inside, keeps, ..Start::default() }
}

/// So many rows of a transaction.
fn piece(transaction: &str, rows: u32) -> Batch {
    let mut builder = BatchBuilder::new(info());
    let transaction = builder.transaction(Transaction { id: transaction.to_owned(), source: Vec::new() });
    let table = builder.table(&TableSchema::new("shop", None, "orders", Vec::new(), &[]));
    for ordinal in 0..rows {
        builder.event(EventHead {
            id: EventId::derive(0, &[&ordinal.to_le_bytes()]),
            op: Op::Create,
            table,
            transaction: Some(transaction),
            ordinal,
            ts_us: 0,
            pos: 0,
            last: false,
            snapshot: SnapshotMark::No,
        });
    }
    builder.finish()
}

/// The first row of a piece that the sink has not had.
fn first(skip: &mut Skip, transaction: &str, rows: u32) -> Result<u32, Failure> {
    let boundary = Boundary::Inside { transaction: transaction.to_owned(), rows_done: rows.into() };
    let at = Position::new("5");
    skip.first_row(&Numbers, &piece(transaction, rows), &at, &at, &boundary)
}

#[test]
fn the_rows_of_a_transaction_that_a_sink_has_had_are_passed_by_over_pieces() {
    let mut skip = Skip::of("out", &start(true));
    assert!(skip.is_inside());
    assert_eq!(first(&mut skip, "t:1", 2), Ok(u32::MAX));
    assert_eq!(first(&mut skip, "t:1", 4), Ok(1));
    assert!(!skip.is_inside());
    assert_eq!(first(&mut skip, "t:1", 4), Ok(0));
}

/// Another server has them in another order.
#[test]
fn rows_of_another_transaction_are_not_passed_by_for_them() {
    let mut again = Skip::of("out", &start(false));
    assert_eq!(first(&mut again, "t:12", 4), Ok(0), "all of it comes, and then the other one, all of it");
    assert_eq!(first(&mut again, "t:1", 4), Ok(0));
    let failure =
        first(&mut Skip::of("out", &start(true)), "t:12", 4).expect_err("the other one would come twice");
    assert_eq!((failure.code.as_str(), failure.retriable), ("half_delivered", false));
    assert!(failure.message.contains("t:1") && failure.message.contains("t:12"), "{failure}");
}

/// A server that dies while it writes a transaction gives its name to the next one.
#[test]
fn rows_of_another_transaction_of_the_same_name_are_not_passed_by() {
    let of = |keeps, committed_us| {
        let inside = Some((format!("t:1 {committed_us} tables"), 3));
        Skip::of("out", &Start { inside, ..start(keeps) })
    };
    assert_eq!(first(&mut of(true, 0), "t:1", 4), Ok(3), "it is the same one");
    assert_eq!(first(&mut of(false, 7), "t:1", 4), Ok(0), "all of it comes");
    let failure = first(&mut of(true, 7), "t:1", 4).expect_err("consumers hold what never came to be");
    assert_eq!((failure.code.as_str(), failure.retriable), ("half_delivered", false));
    assert!(failure.message.contains("rolled it back"), "{failure}");
}

#[test]
fn when_what_is_captured_changes_a_part_of_a_transaction_comes_again_or_stops_the_sink() {
    let settled = |mut start: Start, counted: &str| {
        settle(&mut start, "out", |transaction| transaction == counted).map(|()| start.inside)
    };
    for keeps in [false, true] {
        assert_eq!(settled(start(keeps), "t:1 tables"), Ok(start(keeps).inside));
        let between = Start { inside: None, ..start(keeps) };
        assert_eq!(settled(between, "t:1 others"), Ok(None));
    }
    assert_eq!(settled(start(false), "t:1 others"), Ok(None), "it comes again from its beginning");
    let failure = settled(start(true), "t:1 others").expect_err("it would come twice");
    assert_eq!((failure.code.as_str(), failure.retriable), ("half_delivered", false));
    assert!(failure.message.contains("tables"), "{failure}");
    let older = |keeps| Start { inside: Some(("t:1".to_owned(), 3)), ..start(keeps) };
    assert_eq!(settled(older(false), "t:1 tables"), Ok(None));
    let failure = settled(older(true), "t:1 tables").expect_err("it would come twice");
    assert_eq!(failure.code, "half_delivered");
    for said in ["older version", "Run that version again", "`exactly_once: false`"] {
        assert!(failure.message.contains(said), "{said}: {failure}");
    }
}
