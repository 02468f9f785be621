#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;
use deltaforge_model::schema::Column;
use deltaforge_model::value::CellKind;
use deltaforge_model::{
    BatchBuilder, Cell, EventHead, EventId, Image, Kind, RAW_MARK, Side, SnapshotMark, SourceInfo,
    TableSchema,
};

use super::*;

/// Writes an envelope around the row number and rejects every third row it is shown.
struct Envelope;

#[async_trait]
impl Formatter for Envelope {
    async fn format(&mut self, view: &View, tx_end: &[bool], bodies: &mut Bodies) -> Result<(), StageError> {
        assert_eq!(view.len(), tx_end.len());
        for event in view.events() {
            if event.pos() % 3 == 2 {
                bodies.reject("too odd");
                continue;
            }
            bodies.buffer().extend_from_slice(format!("<{}>", event.pos()).as_bytes());
            bodies.end();
        }
        Ok(())
    }

    fn content_type(&self) -> &str {
        "text/plain"
    }
}

#[test]
fn there_is_room_for_as_much_a_row_as_the_last_ones_took_and_no_more_than_for_them() {
    let mut room = Room::default();
    assert_eq!(room.of(10), 0, "nothing is known yet");
    room.took(100, 16_000);
    assert_eq!((room.of(100), room.of(1), room.of(5_000)), (17_000, 170, 17_000));
    room.took(1, 30 << 20);
    assert_eq!(room.of(1), MOST_AHEAD, "as the budget counts it");
}

/// Six rows; those whose bit is set in `raw` are marked so.
fn batch(raw: u32) -> Arc<Batch> {
    batch_of(raw, 0, &["id"])
}

/// The same with deletes where a bit is set in `deleted`, of a table with this primary key.
fn batch_of(raw: u32, deleted: u32, key: &[&str]) -> Arc<Batch> {
    let info = SourceInfo {
        connector: "sqlite".into(),
        version: "test".into(),
        pipeline: "p".into(),
        tenant: "t".into(),
        source_id: "s".into(),
        pos_name: "sequence".into(),
        pos_is_lsn: false,
    };
    let columns = [("id", CellKind::Int), ("name", CellKind::Text)];
    let columns = columns.map(|(name, kind)| Column::new(name, Kind::Of(kind), ""));
    let schema = TableSchema::new("shop", None, "orders", columns.to_vec(), key);
    let mut builder = BatchBuilder::new(Arc::new(info));
    let table = builder.table(&schema);
    for pos in 0..6_u64 {
        builder.event(EventHead {
            id: EventId::derive(1_700_000_000_000, &[&pos.to_le_bytes()]),
            op: if deleted & (1 << pos) != 0 { Op::Delete } else { Op::Create },
            table,
            transaction: None,
            ordinal: 0,
            ts_us: 1_700_000_000_000_000,
            pos,
            last: true,
            snapshot: SnapshotMark::No,
        });
        let image = if deleted & (1 << pos) != 0 { Image::Before } else { Image::After };
        builder.image(image, |row| {
            row.push(&Cell::Int(pos as i64)).push(&Cell::Text("a\"b"));
        });
        if raw & (1 << pos) != 0 {
            builder.side(Side { tags: Some(vec!["own".into(), RAW_MARK.into()]), ..Side::default() });
        }
    }
    Arc::new(builder.finish())
}

#[tokio::test]
async fn a_row_that_is_marked_raw_is_delivered_without_an_envelope() {
    for raw in [0b000000, 0b000001, 0b101010, 0b100100, 0b111111] {
        let mut composer =
            Composer::new(Box::new(Envelope), &Addressing::default(), SinkFilter::default()).unwrap();
        let (messages, unwritten) = composer.compose(&batch(raw), &Boundary::Transaction, 0).await.unwrap();
        let is_raw = |pos: u32| raw & (1 << pos) != 0;
        let failed: Vec<u32> = (0..6).filter(|pos| !is_raw(*pos) && pos % 3 == 2).collect();
        assert_eq!(unwritten.iter().map(|lost| lost.row as u32).collect::<Vec<_>>(), failed, "{raw:06b}");
        let made: Vec<u32> = (0..6).filter(|pos| !failed.contains(pos)).collect();
        assert_eq!(messages.len(), made.len());
        for (at, pos) in made.into_iter().enumerate() {
            let body = String::from_utf8(messages.get(at).body.unwrap().to_vec()).unwrap();
            let expected =
                if is_raw(pos) { format!(r#"{{"id":{pos},"name":"a\"b"}}"#) } else { format!("<{pos}>") };
            assert_eq!(body, expected, "{raw:06b}");
            assert_eq!(messages.get(at).key, Some(format!(r#"{{"id":{pos}}}"#).as_bytes()));
        }
    }
}

#[tokio::test]
async fn a_delete_is_followed_by_its_key_alone_where_that_is_asked_for() {
    // Row 2 is rejected, and row 4 is raw: what is left of a row that is gone is nothing.
    for (tombstones, key, expected) in [
        (
            true,
            "id",
            vec!["0=<0>", "0=-", "1=<1>", "3=<3>", "3=-", "4=-", "5={\"id\":5,\"name\":\"a\\\"b\"}"],
        ),
        (false, "id", vec!["0=<0>", "1=<1>", "3=<3>", "4=-", "5={\"id\":5,\"name\":\"a\\\"b\"}"]),
        (true, "", vec!["0=<0>", "1=<1>", "3=<3>", "4=-", "5={\"id\":5,\"name\":\"a\\\"b\"}"]),
    ] {
        let key: Vec<&str> = Some(key).filter(|key| !key.is_empty()).into_iter().collect();
        let addressing = Addressing { tombstones, ..Addressing::default() };
        let mut composer = Composer::new(Box::new(Envelope), &addressing, SinkFilter::default()).unwrap();
        let batch = batch_of(0b110000, 0b011101, &key);
        let (messages, unwritten) = composer.compose(&batch, &Boundary::Transaction, 0).await.unwrap();
        assert_eq!(unwritten.len(), 1);
        let shown: Vec<String> = (0..messages.len())
            .map(|at| {
                let message = messages.get(at);
                let of_key = format!(r#"{{"id":{}}}"#, message.meta.batch_row);
                assert_eq!(message.key, (!key.is_empty()).then_some(of_key.as_bytes()));
                let body = message.body.map_or("-".into(), String::from_utf8_lossy);
                format!("{}={body}", message.meta.batch_row)
            })
            .collect();
        assert_eq!(shown, expected);
    }
}

/// Fails as a whole on slices with a bad row, in the middle of its work; other bodies have this many bytes, and a call may
/// make so many of them.
struct Failing {
    bad: fn(u64) -> bool,
    bytes: usize,
    most: usize,
    calls: Arc<AtomicUsize>,
}

#[async_trait]
impl Formatter for Failing {
    async fn format(&mut self, view: &View, _: &[bool], bodies: &mut Bodies) -> Result<(), StageError> {
        self.calls.fetch_add(1, Relaxed);
        if view.len() > self.most {
            return Err(StageError::isolate("plugin_edit", "too much"));
        }
        for event in view.events() {
            let body = vec![b'a' + event.pos() as u8; self.bytes];
            bodies.buffer().extend_from_slice(&body);
            if (self.bad)(event.pos()) {
                return Err(StageError::isolate("plugin_trap", format!("it trapped at {}", event.pos())));
            }
            bodies.end();
        }
        Ok(())
    }

    fn content_type(&self) -> &str {
        "text/plain"
    }
}

impl Failing {
    fn on(bad: fn(u64) -> bool) -> Self {
        Self { bad, bytes: 3, most: 500, calls: Arc::default() }
    }

    fn composer(self, on_error: OnError) -> Composer {
        let composer = Composer::new(Box::new(self), &Addressing::default(), SinkFilter::default());
        composer.unwrap().on_error(on_error)
    }
}

#[tokio::test]
async fn only_events_that_a_formatter_fails_on_by_themselves_have_no_message() {
    for raw in [0b000000, 0b000010, 0b010100] {
        let mut composer = Failing::on(|pos| matches!(pos, 1 | 4)).composer(OnError::Dlq);
        let (messages, unwritten) = composer.compose(&batch(raw), &Boundary::Transaction, 0).await.unwrap();
        let is_raw = |pos: &usize| raw & (1 << pos) != 0;
        let failed: Vec<usize> = [1, 4].into_iter().filter(|pos| !is_raw(pos)).collect();
        assert_eq!(unwritten.iter().map(|lost| lost.row).collect::<Vec<_>>(), failed, "{raw:06b}");
        for Unwritten { row, kind, code, reason, on_error } in unwritten {
            assert_eq!((kind, code, on_error), ("serialization", "plugin_trap", OnError::Dlq));
            assert_eq!(reason, format!("it trapped at {row}"));
        }
        let made = (0..6).filter(|pos| !failed.contains(pos));
        for (at, pos) in made.enumerate() {
            let body = messages.get(at).body.unwrap();
            assert!(is_raw(&pos) || body == [b'a' + pos as u8; 3], "{raw:06b}: {at} is {body:?}");
        }
    }
}

#[tokio::test]
async fn where_the_first_event_is_the_end_none_is_looked_for() {
    let formatter = Failing::on(|pos| pos == 3);
    let calls = formatter.calls.clone();
    let mut composer = formatter.composer(OnError::Fail);
    let error = composer.compose(&batch(0), &Boundary::Transaction, 0).await.unwrap_err();
    assert_eq!((error.code, calls.load(Relaxed)), ("plugin_trap", 2), "the whole slice, and once more");
}

#[tokio::test]
async fn bodies_that_are_made_one_by_one_come_to_no_more_than_those_of_one_call() {
    let formatter = Failing { bytes: 7 << 20, most: 1, ..Failing::on(|_| false) };
    let mut composer = formatter.composer(OnError::Dlq);
    let (messages, unwritten) = composer.compose(&batch(0), &Boundary::Transaction, 0).await.unwrap();
    assert_eq!((messages.len(), unwritten.len()), (2, 4));
    for Unwritten { code, reason, .. } in unwritten {
        assert!(code == "plugin_edit" && reason.contains("bytes of bodies"), "{code}: {reason}");
    }
}
