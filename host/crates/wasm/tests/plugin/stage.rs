//! A plugin as a stage: what good guests may do, what bad ones cannot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{limits, mixed, notes, puppet, registry, runtime, scattered};
use deltaforge_engine::stage::{Stage, StageAction, StageError, StageFactory, StageSpec};
use deltaforge_model::{Batch, Cell, Op, Overlay, View};
use deltaforge_wasm::{MAX_GUEST_TEXT, WasmStageFactory};

fn factory() -> WasmStageFactory {
    let dir = tempfile::tempdir().unwrap();
    WasmStageFactory::new(runtime(), registry(dir.path()))
}

pub async fn stage(spec: &StageSpec) -> Box<dyn Stage> {
    let dir = tempfile::tempdir().unwrap();
    WasmStageFactory::new(runtime(), registry(dir.path())).build(spec, None).await.unwrap().0
}

/// What becomes of a batch; the error leaves it as it was.
pub async fn run(stage: &mut dyn Stage, batch: Batch) -> Result<Batch, StageError> {
    let view = View::all(Arc::new(batch));
    let mut edits = Overlay::new();
    edits.drop_row(&view, view.len() - 1).unwrap(); // made by somebody else, to be kept whatever happens
    let answer = stage.process(&view, &mut edits).await;
    let mut batch = view.into_batch();
    let applied = edits.apply(&mut batch, "stage");
    assert!(applied.dropped >= 1, "the edits handed in are handed back");
    match answer {
        Ok(()) => Ok(batch),
        Err(error) => {
            assert_eq!((applied.dropped, applied.rejected, applied.added), (1, 0, 0), "{error}");
            Err(error)
        }
    }
}

pub fn durable(batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::new();
    batch.write_durable(&mut bytes);
    bytes
}

async fn error_of(act: &str) -> StageError {
    let mut spec = puppet(act);
    spec.limits = limits(2_000, 20_000, 64);
    let mut stage = stage(&spec).await;
    let error = run(&mut *stage, mixed(20)).await.unwrap_err();
    // The next slice finds the stage fit to work: it fails by itself again, and does not say that it is dead.
    let again = run(&mut *stage, mixed(20)).await.unwrap_err();
    assert_eq!((error.code, error.action), (again.code, again.action), "{act}: {again}");
    error
}

#[tokio::test]
async fn an_identity_leaves_the_durable_form_byte_equal() {
    for act in
        ["pass", "identity-columns", "identity-texts", "identity-rows", "identity-cells", "identity-json"]
    {
        let mut stage = stage(&puppet(act)).await;
        let batch = mixed(200);
        let before = durable(&batch);
        let view = View::all(Arc::new(batch));
        let mut edits = Overlay::new();
        stage.process(&view, &mut edits).await.unwrap_or_else(|error| panic!("{act}: {error}"));
        let mut batch = view.into_batch();
        edits.apply(&mut batch, "stage");
        assert!(durable(&batch) == before, "{act}");
    }
}

#[tokio::test]
async fn every_kind_of_edit_is_applied_after_ok() {
    let mut stage = stage(&puppet("all-edits")).await;
    let batch = run(&mut *stage, mixed(10)).await.unwrap();
    let ids: Vec<i64> = batch
        .events()
        .map(|event| match event.latest().unwrap().cell(0) {
            Cell::Int(id) => id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [-3, 99, 0, 1, 2, 3, 4, 5]); // row 1 dropped, 99 in its place, row 2 rejected, 9 dropped before
    let first = batch.event(0);
    assert_eq!(first.side().tags.as_deref(), Some(&["t".to_owned()][..]));
    assert_eq!((first.side().topic.as_deref(), first.side().key.as_deref()), (Some("top"), Some("k")));
    let table = first.table();
    assert_eq!(first.after().unwrap().cell(table.column("extra").unwrap() as usize), Cell::Int(5));
    assert_eq!(first.after().unwrap().cell(1), Cell::Absent); // note
    assert!(batch.events().flat_map(|e| e.after()).all(|row| row.cell(2) == Cell::Absent)); // email
    let added = batch.event(1);
    assert_eq!((added.op(), added.side().topic.as_deref()), (Op::Create, Some("audit")));
    assert_eq!(batch.event(2).op(), Op::Read);
    let (rejected, reject) = batch.rejects().next().unwrap();
    assert_eq!(rejected.source_row(), 2);
    assert_eq!((reject.code.as_str(), reject.reason.len()), ("plugin_rejected", MAX_GUEST_TEXT + "…".len()));
}

#[tokio::test]
async fn columns_and_cells_redact_the_same() {
    let mut by_columns = stage(&puppet("redact-columns")).await;
    let mut by_cells = stage(&puppet("redact-cells")).await;
    let columns = run(&mut *by_columns, notes(&["a", "b", "c"])).await.unwrap();
    let cells = run(&mut *by_cells, notes(&["a", "b", "c"])).await.unwrap();
    assert_eq!(columns.len(), 2);
    assert_eq!(cells.len(), 2);
}

#[tokio::test]
async fn a_trap_names_the_guests_functions_and_is_not_the_stages_end() {
    let error = error_of("traps").await;
    assert_eq!((error.code, error.action), ("plugin_trap", StageAction::Isolate));
    assert!(error.message.contains("trap_deep_inside"), "{error}");
    assert!(error.message.contains("stage stage"), "{error}");

    let mut stage = stage(&puppet("traps-on-bad")).await;
    assert_eq!(run(&mut *stage, notes(&["a", "bad", "c", "d"])).await.unwrap_err().code, "plugin_trap");
    let good = run(&mut *stage, notes(&["a", "c", "d"])).await.unwrap();
    assert_eq!(good.event(0).side().tags.as_deref(), Some(&["seen".to_owned()][..]));
}

#[tokio::test]
async fn recursion_without_end_is_a_trap() {
    let error = error_of("recurses").await;
    assert_eq!(error.code, "plugin_trap");
    assert!(error.message.contains("stack"), "{error}");
    assert!(error.message.contains("recurse"), "{error}");
}

#[tokio::test]
async fn a_loop_is_ended_at_its_deadline_while_others_go_on() {
    let mut spec = puppet("loops");
    spec.limits = limits(200, 5_000, 64);
    let mut looping = stage(&spec).await;
    let mut working = stage(&puppet("identity-columns")).await;
    let started = Instant::now();
    let done = std::cell::Cell::new(false);
    let ended = async {
        let error = run(&mut *looping, mixed(20)).await.unwrap_err();
        done.set(true);
        (error, started.elapsed())
    };
    // On this one thread the other stage gets its turns while the loop runs.
    let turns = async {
        let mut turns = 0;
        while !done.get() {
            run(&mut *working, mixed(20)).await.unwrap();
            turns += 1;
            tokio::task::yield_now().await;
        }
        turns
    };
    let ((error, took), turns) = tokio::join!(ended, turns);
    assert_eq!((error.code, error.action), ("plugin_deadline", StageAction::Isolate));
    assert!(error.message.contains("spin"), "{error}");
    assert!(error.message.contains("limits.cpu_ms"), "{error}");
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(turns >= 5, "{turns}");
}

#[tokio::test]
async fn a_deadline_is_met_within_twenty_milliseconds() {
    for act in ["loops", "loops-in-host"] {
        let mut spec = puppet(act);
        spec.limits = limits(100, 60_000, 64);
        let mut stage = stage(&spec).await;
        let started = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let error = run(&mut *stage, mixed(20)).await.unwrap_err();
        let ended = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let ran = (ended.tv_sec - started.tv_sec) * 1000 + (ended.tv_nsec - started.tv_nsec) / 1_000_000;
        assert_eq!(error.code, "plugin_deadline", "{error}");
        assert!((100..=120).contains(&ran), "{act}: {ran} ms of thread time");
    }
}

#[tokio::test]
async fn wall_time_is_bounded_too() {
    let mut spec = puppet("loops");
    spec.limits = limits(60_000, 200, 64);
    let mut stage = stage(&spec).await;
    let started = Instant::now();
    let error = run(&mut *stage, mixed(20)).await.unwrap_err();
    assert_eq!(error.code, "plugin_deadline");
    assert!(error.message.contains("limits.timeout_ms"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_dropped_call_leaves_the_stage_fit() {
    let mut spec = puppet("loops");
    spec.limits = limits(10_000, 60_000, 64);
    let mut stage = stage(&spec).await;
    for _ in 0..2 {
        let view = View::all(Arc::new(mixed(20)));
        let mut edits = Overlay::new();
        let call = stage.process(&view, &mut edits);
        assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
    }
}

#[tokio::test]
async fn memory_is_bounded() {
    let error = error_of("grows").await;
    assert_eq!(error.code, "plugin_memory");
    assert!(error.message.contains("64 MiB (limits.mem_mb)"), "{error}");
}

#[tokio::test]
async fn a_grown_instance_is_replaced_and_work_goes_on() {
    let mut spec = puppet("leaks");
    spec.limits = limits(1000, 5000, 32);
    let mut stage = stage(&spec).await;
    for _ in 0..40 {
        let batch = run(&mut *stage, mixed(3)).await.unwrap();
        assert!(batch.event(0).side().tags.is_some());
    }
}

#[tokio::test]
async fn memory_lives_from_slice_to_slice() {
    let mut stage = stage(&puppet("counts")).await;
    for call in 1..=3 {
        let batch = run(&mut *stage, mixed(3)).await.unwrap();
        assert_eq!(batch.event(0).side().headers, [("calls".to_owned(), call.to_string())]);
    }
}

#[tokio::test]
async fn no_stage_shares_an_instance_with_another_tenants() {
    let factory = factory();
    let mut stages = Vec::new();
    for tenant in ["acme", "rival"] {
        let spec = StageSpec { tenant: tenant.to_owned(), ..puppet("counts") };
        stages.push(factory.build(&spec, None).await.unwrap().0);
    }
    for call in 1..=3 {
        for stage in &mut stages {
            let batch = run(&mut **stage, mixed(3)).await.unwrap();
            assert_eq!(batch.event(0).side().headers, [("calls".to_owned(), call.to_string())]);
        }
    }
}

#[tokio::test]
async fn impossible_edits_end_the_call() {
    for (act, text) in [
        ("edits-nowhere", "row 27 does not exist"),
        ("edits-no-column", "no column #4711"),
        ("edits-dropped", "row 0 was dropped"),
        ("edits-no-image", "no Before image"),
        ("short-mask", "1 bytes for 20 rows"),
        ("bad-flat", "outside its data"),
        ("bad-utf8", "not UTF-8"),
        ("bad-json", "not JSON"),
        ("bad-json-column", "not JSON"),
        ("bad-uuid", "16 bytes, not 1"),
        ("bad-array", "not well-formed"),
        ("bad-op", "7 is no operation"),
        ("asks-for-all", "fewer columns"),
        ("floods-edits", "bytes of edits"),
        ("floods-images", "bytes of edits"),
        ("floods-tags", "bytes of edits"),
        ("floods-events", "10000 added events"),
        ("floods-columns", "1000 added columns"),
    ] {
        let error = error_of(act).await;
        assert_eq!((error.code, error.action), ("plugin_edit", StageAction::Isolate), "{act}: {error}");
        assert!(error.message.contains(text), "{act}: {error}");
        assert!(error.message.contains("process"), "{act} names the guest's functions: {error}");
    }
}

#[tokio::test]
async fn many_tags_of_one_event_cost_each_its_own() {
    let mut spec = puppet("tags-much");
    spec.limits = limits(20_000, 60_000, 64);
    let before = mixed(3).byte_size();
    let batch = run(&mut *stage(&spec).await, mixed(3)).await.unwrap();
    assert_eq!(batch.event(0).side().tags.as_ref().unwrap().len(), 20_000);
    assert!(batch.byte_size() < before + (2 << 20), "{} bytes", batch.byte_size());
}

#[tokio::test]
async fn columns_are_not_looked_up_in_tables_whose_rows_do_not_fit() {
    let mut spec = puppet("asks-for-all");
    spec.limits = limits(20_000, 60_000, 64);
    let mut stage = stage(&spec).await;
    let began = Instant::now();
    let error = run(&mut *stage, scattered(500)).await.unwrap_err();
    assert!(error.message.contains("fewer columns"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn texts_that_share_their_bytes_do_not_multiply_in_the_host() {
    let error = error_of("floods-aliases").await;
    assert!(["plugin_edit", "plugin_trap"].contains(&error.code), "{error}");
}

#[tokio::test]
async fn failures_say_what_to_do_and_are_cut() {
    let error = error_of("retries").await;
    assert_eq!((error.code, error.action), ("plugin_failed", StageAction::Retry));
    assert!(error.message.contains("the other side sleeps"), "{error}");
    let error = error_of("fails").await;
    assert_eq!((error.code, error.action), ("plugin_failed", StageAction::Stop));
    assert!(error.message.len() < MAX_GUEST_TEXT + 100, "{}", error.message.len());
    let error = error_of("fails-oddly").await;
    assert_eq!((error.code, error.action), ("plugin_failed", StageAction::Stop));
    let error = error_of("bad-events").await;
    assert_eq!(error.code, "plugin_failed");
    assert!(error.message.contains("there is no event"), "{error}");
}

#[tokio::test]
async fn a_flood_of_log_lines_is_not_a_failure() {
    for act in ["floods-log", "logs"] {
        let mut spec = puppet(act);
        spec.limits = limits(5_000, 10_000, 64);
        run(&mut *stage(&spec).await, mixed(3)).await.unwrap();
    }
}

#[tokio::test]
async fn open_is_tried_by_validate() {
    for (act, path, text) in [
        ("open-fails", "config", "no such act"),
        ("open-traps", "config", "trapped"),
        ("open-loops", "config", "limits."),
        ("open-retries", "plugin", "sleeps"),
    ] {
        let problems = factory().validate(&puppet(act)).await.unwrap_err();
        assert_eq!(problems[0].path, path, "{problems:?}");
        assert!(problems[0].message.contains(text), "{act}: {problems:?}");
        let error = factory().build(&puppet(act), None).await.err().unwrap();
        let expected = if act == "open-retries" { StageAction::Retry } else { StageAction::Stop };
        assert_eq!(error.action, expected);
    }
    factory().validate(&puppet("pass")).await.unwrap();
}

#[tokio::test]
async fn only_the_tables_it_wants_are_shown() {
    let path = crate::support::guest("clock,metrics");
    let mut spec = crate::support::spec(
        "./puppet.wasm",
        path.parent().unwrap(),
        serde_json::json!({ "act": "tells-time" }),
    );
    spec.grants = vec!["clock".to_owned(), "metrics".to_owned()];
    let mut stage = stage(&spec).await;
    let batch = run(&mut *stage, mixed(20)).await.unwrap();
    for event in batch.events() {
        assert_eq!(event.side().headers.is_empty(), event.table().name() != "orders");
    }
}
