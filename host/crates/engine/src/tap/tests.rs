#![allow(clippy::unwrap_used)]

use deltaforge_model::{
    BatchBuilder, Cell, Column, EventHead, Image, Kind, Op, SnapshotMark, SourceInfo, TableSchema,
};
use futures::FutureExt;

use super::*;

const HERE: Place = Place::Stage(1);

/// Rows of these numbers, each with a text of so many bytes.
fn batch(numbers: std::ops::Range<u64>, bytes: usize) -> Batch {
    let info = SourceInfo {
        connector: "sqlite".to_owned(),
        version: "deltaforge-0.1.0".to_owned(),
        pipeline: "pipe".to_owned(),
        tenant: String::new(),
        source_id: "db".to_owned(),
        pos_name: String::new(),
        pos_is_lsn: false,
    };
    let mut builder = BatchBuilder::new(Arc::new(info));
    let schema = TableSchema::new("shop", None, "t", vec![Column::new("c", Kind::Any, "")], &["c"]);
    let table = builder.table(&schema);
    for number in numbers {
        builder.event(EventHead {
            id: EventId::derive(1_700_000_000_000, &[&number.to_le_bytes()]),
            op: Op::Create,
            table,
            transaction: None,
            ordinal: 0,
            ts_us: 0,
            pos: number,
            last: true,
            snapshot: SnapshotMark::No,
        });
        builder.image(Image::After, |cells| {
            cells.push(&Cell::Text(&"x".repeat(bytes)));
        });
    }
    builder.finish()
}

fn budget() -> Budget {
    Budget::new(64 << 20, None)
}

fn got((batches, ended): (Vec<Batch>, Ended)) -> (Vec<u64>, Ended) {
    (batches.iter().flat_map(Batch::events).map(|event| event.pos()).collect(), ended)
}

#[test]
fn each_tap_gets_so_many_in_order_and_each_once() {
    let (taps, budget) = (Taps::default(), budget());
    let [five, many, other] = [(HERE, 5), (HERE, 100), (Place::Envelope(1), 5)]
        .map(|(place, events)| taps.open(place, events, &budget).unwrap());
    let odd = |event: &Event<'_>| event.pos() % 2 == 1;
    for numbers in [0..6, 4..9, 0..20] {
        taps.enter(HERE, &batch(numbers, 10), odd);
    }
    assert!(five.ended().now_or_never().is_some());
    assert!(many.ended().now_or_never().is_none());
    assert_eq!(got(five.close(Ended::Time)), (vec![1, 3, 5, 7, 9], Ended::Full));
    assert_eq!(got(many.close(Ended::Time)), ((0..10).map(|n| 2 * n + 1).collect(), Ended::Time));
    assert_eq!(got(other.close(Ended::Stopped)), (vec![], Ended::Stopped));
    taps.enter(HERE, &batch(30..40, 10), odd);
    assert_eq!(got(many.close(Ended::Time)).0, [0; 0], "it was closed");
}

#[test]
fn a_tap_ends_before_the_event_that_is_too_large() {
    let taps = Taps::default();
    let tap = taps.open(HERE, 100, &budget()).unwrap();
    taps.enter(HERE, &batch(0..3, MOST_BYTES / 4), |_| true);
    taps.enter(HERE, &batch(3..6, MOST_BYTES / 4), |_| true);
    taps.enter(HERE, &batch(6..7, 1), |_| true);
    assert!(tap.ended().now_or_never().is_some());
    assert_eq!(got(tap.close(Ended::Time)), (vec![0, 1, 2], Ended::Bytes));
}

#[test]
fn taps_are_few_and_forgotten_with_who_asked() {
    let (taps, host) = (Taps::default(), Budget::new(64 << 20, None));
    let open: Vec<Tapping> = (0..AT_ONCE).map(|_| taps.open(HERE, 1, &host).unwrap()).collect();
    assert_eq!(host.held(), AT_ONCE * RESERVED);
    assert_eq!(taps.open(HERE, 1, &host).err().unwrap().code, "taps_busy");
    drop(open);
    assert_eq!((host.held(), taps.0.open.load(Ordering::Relaxed), taps.0.taps.lock().len()), (0, 0, 0));

    let small = Budget::new(RESERVED, None);
    let one = taps.open(HERE, 1, &small).unwrap();
    assert_eq!(taps.open(HERE, 1, &small).err().unwrap().code, "taps_busy", "there is no memory");
    drop(one);
    assert!(taps.open(HERE, 1, &small).is_ok());
}
