use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_model::{
    BatchBuilder, EventHead, EventId, Op, SnapshotMark, SourceInfo, TableSchema, Transaction,
};
use serde_json::Value;

use super::*;
use crate::error::ConfigError;
use crate::run::standing::tests::Numbers;
use crate::source::{SourceContext, SourceError, SourceReader};

/// Positions are the transactions that were read, each a letter.
pub(in crate::run) struct Sets;

fn set(position: &Position) -> BTreeSet<char> {
    position.as_str().chars().collect()
}

#[async_trait]
impl SourceFactory for Sets {
    fn kind(&self) -> &'static str {
        "sets"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::Schema::default()
    }

    fn validate(&self, _: &Value) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    async fn connect(&self, _: &Value, _: SourceContext) -> Result<Box<dyn SourceReader>, SourceError> {
        Err(SourceError::operator("no_source", "there is none"))
    }

    fn compare(&self, a: &Position, b: &Position) -> Order {
        let (a, b) = (set(a), set(b));
        match (a.is_subset(&b), b.is_subset(&a)) {
            (true, true) => Order::Same,
            (true, false) => Order::Before,
            (false, true) => Order::After,
            (false, false) => Order::Unrelated,
        }
    }

    fn has(&self, position: &Position, transaction: &str) -> Option<bool> {
        Some(position.as_str().contains(transaction))
    }

    fn rows_through(&self, batch: &Batch, position: &Position) -> usize {
        let had = |transaction: &Transaction| position.as_str().contains(&transaction.id);
        batch.events().take_while(|event| event.transaction().is_some_and(had)).count()
    }
}

/// A batch behind `from`: two rows of each of these transactions. In lower case: the last one's rest is yet to come.
fn batch(from: &str, transactions: &str) -> SourceBatch {
    let info = SourceInfo {
        connector: "sets".into(),
        version: "1".into(),
        pipeline: "p".into(),
        tenant: "t".into(),
        source_id: "shop".into(),
        pos_name: "pos".into(),
        pos_is_lsn: false,
    };
    let mut builder = BatchBuilder::new(Arc::new(info));
    let table = builder.table(&TableSchema::new("shop", None, "orders", Vec::new(), &[]));
    let (mut through, mut boundary) = (from.to_owned(), Boundary::Transaction);
    for letter in transactions.chars() {
        let id = letter.to_ascii_uppercase().to_string();
        match letter.is_lowercase() {
            true => boundary = Boundary::Inside { transaction: format!("{id} tables"), rows_done: 2 },
            false => through.push(letter),
        }
        let transaction = builder.transaction(Transaction { id, source: Vec::new() });
        for ordinal in 0..2 {
            builder.event(EventHead {
                id: EventId::derive(0, &[&[letter as u8, ordinal as u8]]),
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
    }
    let covers = LogSpan { from: Position::new(from), through: Position::new(through) };
    SourceBatch { batch: builder.finish(), covers, boundary }
}

/// A sink that has had `resume`.
fn skip(resume: &str, keeps: bool) -> Skip {
    Skip::of("out", &Start { resume: Some(Position::new(resume)), keeps, ..Start::default() })
}

/// The first row of a batch that comes to the sink; `u32::MAX`: none.
fn comes(skip: &mut Skip, source: &dyn SourceFactory, of: &SourceBatch) -> Result<u32, String> {
    skip.check(source, of).map_err(|failure| failure.code)?;
    let LogSpan { from, through } = &of.covers;
    let covered = skip.covers(source, through, &of.boundary);
    let first =
        skip.first_row(source, &of.batch, from, through, &of.boundary).map_err(|failure| failure.code)?;
    assert!(!covered || first == u32::MAX, "what it has had is nothing that comes to it");
    Ok(first)
}

#[test]
fn what_a_sink_has_had_is_passed_by() {
    for keeps in [false, true] {
        let mut out = skip("ABC", keeps);
        assert_eq!(comes(&mut out, &Sets, &batch("A", "B")), Ok(u32::MAX));
        assert_eq!(comes(&mut out, &Sets, &batch("AB", "c")), Ok(u32::MAX), "a piece of what it has had");
        assert_eq!(comes(&mut out, &Sets, &batch("AB", "CDE")), Ok(2));
        assert_eq!(comes(&mut out, &Sets, &batch("ABCDE", "B")), Ok(0), "it is past that");
        assert_eq!(
            comes(&mut skip("ABC", keeps), &Sets, &batch("A", "CBd")),
            Ok(4),
            "in whatever order it had them"
        );
        assert_eq!(comes(&mut skip("ABC", keeps), &Sets, &batch("ABC", "D")), Ok(0));
    }
}

/// Another server has them in another order, and a sink that is further than others has had one of the later ones.
#[test]
fn transactions_in_another_order_stop_a_sink_before_one_comes_twice() {
    for (at, transactions) in [("AB", "D"), ("AB", "DCE"), ("A", "BDCE"), ("A", "BDECF")] {
        let disordered = batch(at, transactions);
        let failure = skip("ABC", true).check(&Sets, &disordered).expect_err("C would come twice");
        assert_eq!((failure.code.as_str(), failure.retriable), ("source_reordered", false), "{transactions}");
        assert!(failure.message.contains("sink out"), "{failure}");
        let mut again = skip("ABC", false);
        let first = comes(&mut again, &Sets, &disordered);
        assert_eq!(first, Ok(if at == "A" { 2 } else { 0 }), "{transactions}: from the first that it lacks");
        let through = disordered.covers.through.as_str();
        assert_eq!(comes(&mut again, &Sets, &batch(through, "CF")), Ok(0));
    }
}

#[test]
fn pieces_of_a_transaction_that_comes_earlier_than_before_are_not_passed_by() {
    for (at, transactions, first) in [("AB", "d", 0), ("A", "Bd", 2)] {
        let piece = batch(at, transactions);
        assert_eq!(comes(&mut skip("ABC", false), &Sets, &piece), Ok(first), "{transactions}");
        assert_eq!(comes(&mut skip("ABC", true), &Sets, &piece), Err("source_reordered".to_owned()));
    }
}

#[test]
fn pieces_are_passed_by_where_the_order_of_positions_says_all() {
    let (mut piece, mut out) = (batch("", "d"), skip("5", true));
    (piece.covers.from, piece.covers.through) = (Position::new("3"), Position::new("4"));
    assert_eq!(comes(&mut out, &Numbers, &piece), Ok(u32::MAX));
}
