#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use deltaforge_model::edit::{Emit, OwnedCell, SideEdit};
use deltaforge_model::{
    BatchBuilder, Cell, Column, EventHead, EventId, Image, Kind, SnapshotMark, SourceInfo, TableSchema,
};

use super::*;
use crate::tenants::{TenantLimits, Tenants};

/// Does to each slice what the function says.
struct Doing<F>(F);

#[async_trait]
impl<F: Fn(&View, &mut Overlay) + Send> Stage for Doing<F> {
    async fn process(&mut self, view: &View, edits: &mut Overlay) -> Result<(), StageError> {
        (self.0)(view, edits);
        Ok(())
    }
}

fn running(on_error: OnError, what: impl Fn(&View, &mut Overlay) + Send + 'static) -> RunningStage {
    RunningStage {
        id: "stage".to_owned(),
        stage: Box::new(Doing(what)),
        version: StageVersion { plugin: "inline".to_owned(), digest: String::new() },
        generation: 1,
        on_error,
        limits: StageLimits::DEFAULT,
        tables: TableFilter::default(),
        max_row_bytes: 32 << 20,
        max_memory_bytes: 128 << 20,
        metrics: StageMetrics::new("pipe", "stage", Usage::of("acme", "inline")),
        given_up: GivenUp::new("stage"),
        refusals: Refusals::default(),
        rests: Rests::beside(Tenants::new(TenantLimits::default(), 1), "acme"),
        waits: Waits::default(),
        secrets: Secrets::default(),
        on_probation: false,
        is_compared: false,
        saw_rows: false,
    }
}

fn batch(rows: u32) -> Batch {
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
    for row in 0..rows {
        builder.event(EventHead {
            id: EventId::derive(1_700_000_000_000, &[&row.to_le_bytes()]),
            op: Op::Create,
            table,
            transaction: None,
            ordinal: row,
            ts_us: 0,
            pos: u64::from(row),
            last: true,
            snapshot: SnapshotMark::No,
        });
        builder.image(Image::After, |cells| {
            cells.push(&Cell::Int(i64::from(row)));
        });
    }
    builder.finish()
}

/// A header that all events of a slice share, until each gets a tag of its own.
fn shares_and_parts(view: &View, edits: &mut Overlay) {
    edits.side_all(view, SideEdit::Header("text".to_owned(), "x".repeat(1 << 20)), None).unwrap();
    for row in 0..view.len() {
        edits.side(view, row, SideEdit::Tag(view.event(row).id().to_string())).unwrap();
    }
}

/// Events that inherit a large header, each with a tag of its own.
fn multiplies(view: &View, edits: &mut Overlay) {
    edits.side(view, 0, SideEdit::Header("text".to_owned(), "x".repeat(1 << 20))).unwrap();
    for number in 0..10_000 {
        let side = vec![SideEdit::Tag(number.to_string())];
        edits.emit(view, 0, Emit { op: Op::Create, before: None, after: None, side }).unwrap();
    }
}

/// Columns that every added event gets room for.
fn widens(view: &View, edits: &mut Overlay) {
    for _ in 0..10_000 {
        let side = Vec::new();
        edits.emit(view, 0, Emit { op: Op::Create, before: None, after: Some(Vec::new()), side }).unwrap();
    }
    for number in 0..1_000 {
        edits.add_column(view, &format!("c{number}"), Kind::Any).unwrap();
    }
}

#[tokio::test]
async fn small_edits_that_come_to_much_are_refused() {
    for what in [shares_and_parts, multiplies, widens] {
        let error = running(OnError::Fail, what).run(batch(64)).await.unwrap_err();
        assert_eq!((error.code, error.action), ("edits_too_large", StageAction::Isolate), "{error}");
        assert!(error.message.contains("bytes of edits"), "{error}");
    }
}

#[tokio::test]
async fn rows_whose_edits_have_room_alone_go_on() {
    let batch = running(OnError::Skip, shares_and_parts).run(batch(64)).await.unwrap();
    assert_eq!(batch.len(), 64);
    assert!(batch.events().all(|event| event.side().headers[0].1.len() == 1 << 20));
}

#[tokio::test]
async fn a_row_that_grows_too_much_goes_where_on_error_says() {
    let grows = |view: &View, edits: &mut Overlay| {
        for row in 0..view.len() {
            let size = if view.event(row).pos() == 5 { 20 << 20 } else { 10 };
            let text = "x".repeat(size);
            edits.set(view, row, Image::After, "c", &Cell::Text(&text)).unwrap();
        }
    };
    let batch = running(OnError::Dlq, grows).run(batch(64)).await.unwrap();
    assert_eq!(batch.len(), 63);
    let rejects: Vec<_> =
        batch.rejects().map(|(event, reject)| (event.pos(), reject.code.as_str())).collect();
    assert_eq!(rejects, [(5, "edits_too_large")]);
}

#[tokio::test]
async fn a_row_that_edits_make_larger_than_a_row_may_be_goes_where_on_error_says() {
    let grows = |view: &View, edits: &mut Overlay| {
        for row in 0..view.len() {
            let size = if view.event(row).pos() == 5 { 1_000 } else { 800 };
            let text = "x".repeat(size);
            // What is written over counts no more.
            for text in ["y".repeat(900), text] {
                edits.set(view, row, Image::After, "c", &Cell::Text(&text)).unwrap();
            }
            if view.event(row).pos() == 7 {
                let cells = vec![("c".to_owned(), OwnedCell::from(&Cell::Text(&"z".repeat(1_000))))];
                let emit = Emit { op: Op::Create, before: None, after: Some(cells), side: Vec::new() };
                edits.emit(view, row, emit).unwrap();
            }
        }
    };
    let with = |on_error, max_row_bytes| RunningStage { max_row_bytes, ..running(on_error, grows) };
    let mut stage = with(OnError::Dlq, 1_000);
    let grown = stage.run(batch(64)).await.unwrap();
    assert_eq!(grown.len(), 62);
    let rejects = |batch: &Batch| -> Vec<(u64, String)> {
        batch.rejects().map(|(event, reject)| (event.pos(), reject.code.clone())).collect()
    };
    let too_large = |pos| (pos, "row_too_large".to_owned());
    assert_eq!(rejects(&grown), [too_large(5), too_large(7)]);
    // It has grown before, and may be written anew.
    let mut again = with(OnError::Dlq, 1_000);
    let mut grown = grown;
    grown.clear_rejects();
    assert_eq!(again.run(grown).await.unwrap().len(), 62);
    assert_eq!(with(OnError::Skip, 1_000).run(batch(64)).await.unwrap().len(), 62);
    let error = with(OnError::Fail, 1_000).run(batch(64)).await.unwrap_err();
    assert_eq!((error.code, error.action), ("row_too_large", StageAction::Isolate));
    assert!(error.message.contains("spec.max_memory_bytes"), "{error}");
    assert_eq!(with(OnError::Dlq, 2_000).run(batch(64)).await.unwrap().len(), 65);
}

/// What each event gets by itself has room in a call of its own.
fn four_mebibytes_each(view: &View, edits: &mut Overlay) {
    for row in 0..view.len() {
        let header = SideEdit::Header("text".to_owned(), "x".repeat(4 << 20));
        edits.side(view, row, header).unwrap();
    }
}

fn ten_thousand_events_each(view: &View, edits: &mut Overlay) {
    for row in 0..view.len() {
        for _ in 0..10_000 {
            let side = Vec::new();
            edits.emit(view, row, Emit { op: Op::Create, before: None, after: None, side }).unwrap();
        }
    }
}

#[tokio::test]
async fn rows_that_are_run_by_themselves_add_no_more_together_than_the_pipelines_memory() {
    for (what, go_on, left) in
        [(four_mebibytes_each as fn(&View, &mut Overlay), 7, 7), (ten_thousand_events_each, 4, 4 * 10_001)]
    {
        let mut stage = RunningStage { max_memory_bytes: 32 << 20, ..running(OnError::Dlq, what) };
        let batch = stage.run(batch(24)).await.unwrap();
        assert_eq!((batch.len(), batch.rejects().len()), (left, 24 - go_on));
        for (_, reject) in batch.rejects() {
            assert_eq!(reject.code, "edits_too_large");
            assert!(reject.reason.contains("(spec.max_memory_bytes)"), "{}", reject.reason);
        }
    }
}

#[tokio::test]
async fn what_is_run_aside_is_not_counted_as_the_streams() {
    let counted = || {
        let text = crate::usage::rendered();
        let own = text.lines().filter(|line| line.contains("plugin=\"aside\"")).map(str::to_owned);
        own.collect::<Vec<_>>()
    };
    let stage = || {
        let stage =
            running(OnError::Fail, |view, _| assert!(view.event(0).pos() != 0, "the first row fails"));
        RunningStage { metrics: StageMetrics::new("pipe", "stage", Usage::of("acme", "aside")), ..stage }
    };
    let mut aside = stage().aside();
    let before = counted();
    let (result, toll) = aside.attempt(batch(3)).await;
    assert_eq!((result.unwrap().len(), toll.failed), (2, 1), "what it fails on is left out");
    assert_eq!(counted(), before);
    stage().run(batch(3)).await.unwrap_err();
    assert_ne!(counted(), before, "the stream's is counted");
}

/// Traps at every call, each of which takes its time.
fn traps(_: &View, _: &mut Overlay) {
    std::thread::sleep(Duration::from_millis(30));
    std::panic::resume_unwind(Box::new("no good"));
}

#[tokio::test]
async fn a_search_that_is_far_from_its_end_makes_room_for_a_command() {
    let mut stage = running(OnError::Skip, traps);
    let command = stage.waits.command();
    let error = stage.run(batch(50)).await.unwrap_err();
    assert_eq!((error.code, error.action), ("plugin_trap", StageAction::Retry), "{error}");
    assert!(stage.waits.made_room());
    // What the command itself compares with makes none, and is no measure: it fails on everything.
    stage.is_compared = true;
    let error = stage.run(batch(50)).await.unwrap_err();
    assert_eq!((error.code, error.action), ("plugin_trap", StageAction::Isolate), "{error}");
    stage.is_compared = false;
    // Inside a transaction the next attempt would not begin with it.
    stage.waits.set_takes_commands(false);
    assert_eq!(stage.run(batch(50)).await.unwrap().len(), 0);
    stage.waits.set_takes_commands(true);
    drop(command);
    assert_eq!(stage.run(batch(50)).await.unwrap().len(), 0);
    assert!(!stage.waits.made_room());
}
