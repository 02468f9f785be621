#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use deltaforge_model::schema::Column;
use deltaforge_model::value::CellKind;
use deltaforge_model::{
    BatchBuilder, Boundary, Cell, EventHead, EventId, Image, Kind, Op, Side, SnapshotMark, SourceInfo,
    TableSchema, View,
};

use super::*;
use crate::compose::{Composer, SinkFilter, Unwritten};
use crate::message::{Bodies, Formatter, MessageBatch};
use crate::sink::Addressing;
use crate::stage::StageError;

/// Gives every event a body.
struct Plain;

#[async_trait]
impl Formatter for Plain {
    async fn format(&mut self, view: &View, _: &[bool], bodies: &mut Bodies) -> Result<(), StageError> {
        for _ in 0..view.len() {
            bodies.buffer().push(b'.');
            bodies.end();
        }
        Ok(())
    }

    fn content_type(&self) -> &str {
        "text/plain"
    }
}

/// A row of `orders`: `id`, `customer`.
type Cells = [Cell<'static>; 2];
/// What happened to a row, that row before and after it, and a header that the source marks it with.
type Happened = (Op, Option<Cells>, Option<Cells>, Option<&'static str>);

fn batch(events: &[Happened]) -> Arc<Batch> {
    let info = SourceInfo {
        connector: "sqlite".into(),
        version: "test".into(),
        pipeline: "p".into(),
        tenant: "t".into(),
        source_id: "s".into(),
        pos_name: "sequence".into(),
        pos_is_lsn: false,
    };
    let columns = [("id", CellKind::Int), ("customer", CellKind::Text)];
    let columns = columns.map(|(name, kind)| Column::new(name, Kind::Of(kind), ""));
    let schema = TableSchema::new("shop", None, "orders", columns.to_vec(), &["id"]);
    let mut builder = BatchBuilder::new(Arc::new(info));
    let table = builder.table(&schema);
    for (ordinal, (op, before, after, header)) in (0_u32..).zip(events) {
        builder.event(EventHead {
            id: EventId::derive(1_700_000_000_000, &[&ordinal.to_le_bytes()]),
            op: *op,
            table,
            transaction: None,
            ordinal,
            ts_us: 1_700_000_000_000_000,
            pos: 1,
            last: true,
            snapshot: SnapshotMark::No,
        });
        if let Some(header) = header {
            let headers = vec![((*header).to_owned(), String::new())];
            builder.side(Side { headers, ..Side::default() });
        }
        for (image, row) in [(Image::Before, before), (Image::After, after)] {
            let Some(cells) = row else { continue };
            builder.image(image, |row| {
                row.push(&cells[0]).push(&cells[1]);
            });
        }
    }
    Arc::new(builder.finish())
}

async fn composed(template: &str, events: &[Happened]) -> (MessageBatch, Vec<Unwritten>) {
    let key = Some(template.to_owned());
    let addressing = Addressing { key, tombstones: true, ..Addressing::default() };
    let mut composer = Composer::new(Box::new(Plain), &addressing, SinkFilter::default()).unwrap();
    composer.compose(&batch(events), &Boundary::Transaction, 0).await.unwrap()
}

/// As [`Happened`] without a header, and the key of its message, or the value that is missing.
type Keyed = (Op, Option<Cells>, Option<Cells>, Result<Option<&'static str>, &'static str>);

/// Composes the events with a key template and tombstones, and compares the keys.
async fn assert_keys(template: &str, events: &[Keyed]) {
    let happened: Vec<Happened> =
        events.iter().map(|(op, before, after, _)| (*op, *before, *after, None)).collect();
    let (messages, unwritten) = composed(template, &happened).await;
    let mut lost = unwritten.into_iter();
    let mut made = (0..messages.len()).map(|at| {
        let message = messages.get(at);
        let key = message.key.map(|key| String::from_utf8(key.to_vec()).unwrap());
        (message.meta.batch_row as usize, key, message.body.is_none())
    });
    for (row, (op, .., expected)) in events.iter().enumerate() {
        let what = format!("{template}, event {row}");
        match expected {
            Ok(key) => {
                let key = key.map(str::to_owned);
                assert_eq!(made.next(), Some((row, key.clone(), false)), "{what}");
                if *op == Op::Delete {
                    assert_eq!(made.next(), Some((row, key, true)), "{what}: its tombstone");
                }
            }
            Err(path) => {
                let lost = lost.next().expect(&what);
                assert_eq!((lost.row, lost.kind, lost.code), (row, "routing", "routing_missing_value"));
                assert!(lost.reason.contains(&format!("the key needs ${{{path}}}")), "{}", lost.reason);
            }
        }
    }
    assert_eq!((made.next(), lost.next()), (None, None), "{template}");
}

#[tokio::test]
async fn a_key_template_gives_all_that_happens_to_a_row_one_key() {
    use Cell::{Absent, Bytes, Int, Null, Text, Unavailable};
    let (ann, bob) = ([Int(7), Text("ann")], [Int(7), Text("bob")]);
    for template in ["${after.id}", "${before.id}"] {
        let events = [
            (Op::Read, None, Some(ann), Ok(Some("7"))),
            (Op::Create, None, Some(ann), Ok(Some("7"))),
            (Op::Update, Some(ann), Some(bob), Ok(Some("7"))),
            (Op::Delete, Some(bob), None, Ok(Some("7"))),
            // About no row.
            (Op::Truncate, None, None, Ok(None)),
            (Op::Ddl, None, None, Ok(None)),
        ];
        assert_keys(template, &events).await;
    }
    // What an update did not log of the new row is as it was; what it did not log of the old one is not known.
    let unlogged = [Int(7), Unavailable];
    let events = [
        (Op::Update, Some(ann), Some(bob), Ok(Some("bob"))),
        (Op::Update, Some(ann), Some(unlogged), Ok(Some("ann"))),
        (Op::Update, Some(unlogged), Some(bob), Ok(Some("bob"))),
    ];
    assert_keys("${after.customer}", &events).await;
    let events = [
        (Op::Update, Some(ann), Some(unlogged), Ok(Some("ann"))),
        (Op::Update, Some(unlogged), Some(bob), Err("before.customer")),
    ];
    assert_keys("${before.customer}", &events).await;
    // NULL is a value of the row, and the same before and after.
    let nobody = [Int(7), Null];
    let events = [
        (Op::Create, None, Some(nobody), Ok(Some("7/"))),
        (Op::Update, Some(ann), Some(nobody), Ok(Some("7/"))),
        (Op::Delete, Some(nobody), None, Ok(Some("7/"))),
    ];
    assert_keys("${after.id}/${after.customer}", &events).await;
    // One key for all rows without a value would make them one row.
    for cell in [Absent, Unavailable, Bytes(b"ann")] {
        let row = [Int(7), cell];
        let events = [
            (Op::Create, None, Some(row), Err("after.customer")),
            (Op::Delete, Some(row), None, Err("after.customer")),
        ];
        assert_keys("${after.customer}", &events).await;
    }
    assert_keys("${after.custmer}", &[(Op::Create, None, Some(ann), Err("after.custmer"))]).await;
    // What is not about the row may be empty, and is there without one.
    let events = [
        (Op::Create, None, Some(ann), Ok(Some("orders--"))),
        (Op::Delete, Some(ann), None, Ok(Some("orders--"))),
        (Op::Truncate, None, None, Ok(Some("orders--"))),
    ];
    assert_keys("${source.table}-${transaction.id}-${source.schema}", &events).await;
}

#[tokio::test]
async fn the_halves_of_a_changed_key_name_each_others_key_as_the_template_has_it() {
    let (old, new) = ([Cell::Int(1), Cell::Null], [Cell::Int(2), Cell::Null]);
    let moved = [
        (Op::Delete, Some(old), None, Some(NEW_KEY_HEADER)),
        (Op::Create, None, Some(new), Some(OLD_KEY_HEADER)),
    ];
    let (messages, _) = composed("no. ${after.id}", &moved).await;
    let shown: Vec<_> = (0..messages.len())
        .map(|at| {
            let message = messages.get(at);
            (String::from_utf8_lossy(message.key.unwrap()).into_owned(), message.meta.headers.to_vec())
        })
        .collect();
    let header = |name: &str, key: &str| vec![(name.to_owned(), key.to_owned())];
    let expected = [
        ("no. 1".to_owned(), header(NEW_KEY_HEADER, "no. 2")),
        ("no. 1".to_owned(), header(NEW_KEY_HEADER, "no. 2")), // the tombstone
        ("no. 2".to_owned(), header(OLD_KEY_HEADER, "no. 1")),
    ];
    assert_eq!(shown, expected);
}
