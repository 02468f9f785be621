//! Snapshots that are asked for outlive whoever asked, and whoever takes them.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use deltaforge_engine::snapshots::{
    Command, MOST_AT_ONCE, Progress, SnapshotError, SnapshotState, Snapshots, Table,
};
use deltaforge_store::MemoryStore;

fn tables() -> Vec<Table> {
    vec![Table { name: "d.t".into(), condition: Some("id > 7".into()) }]
}

async fn desk(store: &Arc<MemoryStore>) -> Snapshots {
    let desk = Snapshots::new(store.clone(), "t", "p", "s");
    desk.load().await.unwrap();
    desk
}

fn wanted(desk: &Snapshots) -> Vec<(u64, bool)> {
    desk.wanted().borrow().iter().map(|one| (one.id, one.paused)).collect()
}

#[tokio::test]
async fn what_is_asked_for_is_wanted_until_it_has_ended_whoever_is_killed() {
    let store = Arc::new(MemoryStore::new());
    let desk = |_: ()| desk(&store);
    let first = desk(()).await;
    let one = first.ask(tables(), "ops").await.unwrap().id;
    let two = first.ask(tables(), "ops").await.unwrap().id;
    assert!(two > one);
    assert_eq!(Snapshots::new(store.clone(), "t", "p", "other").list().await.unwrap(), []);
    let second = desk(()).await;
    assert_eq!(wanted(&second), [(one, false), (two, false)]);
    let mut news = second.wanted();
    news.borrow_and_update();
    second.command(two, Command::Pause).await.unwrap();
    assert!(news.has_changed().unwrap());
    assert_eq!(wanted(&desk(()).await), [(one, false), (two, true)]);
    second.begun(one).await.unwrap();
    let started = second.get(one).await.unwrap().started_ms.unwrap();
    second
        .progress(one, Progress { rows: 5, is_at_work: true, key: vec!["7".into()], ..Progress::default() });
    let shown = second.get(one).await.unwrap();
    assert_eq!((shown.state, shown.rows, &shown.key[0][..]), (SnapshotState::Running, 5, "7"));
    // A kill, and all begins again.
    let third = desk(()).await;
    third.begun(one).await.unwrap();
    assert_eq!(third.get(one).await.unwrap().started_ms, Some(started));
    third.copied(one, 9).await.unwrap();
    assert_eq!(wanted(&desk(()).await).len(), 2, "it is not durable yet");
    third.ended(one).await.unwrap();
    third.ended(one).await.unwrap();
    third.command(two, Command::Stop).await.unwrap();
    let last = desk(()).await;
    assert_eq!(wanted(&last), []);
    let list = last.list().await.unwrap();
    let states: Vec<_> = list.iter().map(|one| (one.id, one.state, one.rows, one.by.as_str())).collect();
    assert_eq!(states, [(two, SnapshotState::Stopped, 0, "ops"), (one, SnapshotState::Done, 9, "ops")]);
    // What comes too late changes nothing.
    last.problem(two, "d.t", "too late").await.unwrap();
    assert_eq!(last.get(two).await.unwrap().why, Vec::<String>::new());
    assert!(matches!(
        last.command(one, Command::Stop).await,
        Err(SnapshotError::Ended { state: "done", .. })
    ));
    assert!(matches!(last.command(7, Command::Stop).await, Err(SnapshotError::NotFound(_))));
}

#[tokio::test]
async fn one_with_a_problem_fails_and_says_all_that_went_another_way() {
    let store = Arc::new(MemoryStore::new());
    let desk = desk(&store).await;
    let id = desk.ask(tables(), "ops").await.unwrap().id;
    desk.note(id, "begun anew").await.unwrap();
    for number in 0..40 {
        desk.problem(id, &format!("d.t{}", number % 30), "gone").await.unwrap();
    }
    desk.ended(id).await.unwrap();
    let shown = desk.get(id).await.unwrap();
    assert_eq!((shown.state, shown.why.len()), (SnapshotState::Failed, 21));
    assert_eq!((&shown.why[0][..], &shown.why[20][..]), ("d.t0 is gone", "begun anew"));
}

#[tokio::test]
async fn what_was_wrong_with_a_table_that_is_copied_after_all_is_forgotten() {
    let store = Arc::new(MemoryStore::new());
    let desk = desk(&store).await;
    let id = desk.ask(tables(), "ops").await.unwrap().id;
    desk.problem(id, "d.t", "not copied: it is gone").await.unwrap();
    desk.problem(id, "d.tt", "not copied: it is gone").await.unwrap();
    desk.mended(id, "d.t").await.unwrap();
    assert_eq!(desk.get(id).await.unwrap().why, ["d.tt is not copied: it is gone"]);
    desk.mended(id, "d.tt").await.unwrap();
    desk.ended(id).await.unwrap();
    assert_eq!(desk.get(id).await.unwrap().state, SnapshotState::Done);
}

#[tokio::test]
async fn rows_are_known_also_where_no_source_is_at_work() {
    let store = Arc::new(MemoryStore::new());
    let first = desk(&store).await;
    let rows = |rows| Progress { rows, ..Progress::default() };
    let [one, two] =
        [first.ask(tables(), "ops").await.unwrap().id, first.ask(tables(), "ops").await.unwrap().id];
    first.progress(one, rows(5));
    first.progress(two, rows(6));
    first.begun(one).await.unwrap();
    first.command(two, Command::Pause).await.unwrap();
    first.progress(one, rows(7));
    first.begun(one).await.unwrap();
    // Another start of the host, in which the pipeline is stopped.
    let second = desk(&store).await;
    for (id, rows) in [(one, 7), (two, 6)] {
        let stopped = second.command(id, Command::Stop).await.unwrap();
        assert_eq!((stopped.state, stopped.rows), (SnapshotState::Stopped, rows));
    }
}

#[tokio::test]
async fn one_that_had_ended_is_wanted_again_where_a_sink_lost_what_it_had() {
    let store = Arc::new(MemoryStore::new());
    let first = desk(&store).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(first.ask(tables(), "ops").await.unwrap().id);
    }
    let [done, lost, stopped, waiting] = ids[..] else { panic!("{ids:?}") };
    first.ended(done).await.unwrap();
    first.ended(lost).await.unwrap();
    first.command(stopped, Command::Stop).await.unwrap();
    let second = desk(&store).await;
    second.again(|id| id == done).await.unwrap();
    assert_eq!(wanted(&second), [(lost, false), (waiting, false)]);
    let shown = desk(&store).await.get(lost).await.unwrap();
    assert_eq!((shown.state, shown.ended_ms), (SnapshotState::Waiting, None));
    assert!(shown.why[0].contains("copied again"), "{shown:?}");
    let states = [done, stopped].map(|id| second.get(id));
    let [done, stopped] = states;
    assert_eq!(
        (done.await.unwrap().state, stopped.await.unwrap().state),
        (SnapshotState::Done, SnapshotState::Stopped)
    );
}

#[tokio::test]
async fn what_had_ended_before_the_source_began_anew_has_ended_for_good() {
    let store = Arc::new(MemoryStore::new());
    let first = desk(&store).await;
    let done = first.ask(tables(), "ops").await.unwrap().id;
    first.ended(done).await.unwrap();
    let open = first.ask(tables(), "ops").await.unwrap().id;
    desk(&store).await.settle().await.unwrap();
    let third = desk(&store).await;
    third.again(|_| false).await.unwrap();
    assert_eq!(wanted(&third), [(open, false)]);
    // What ends from now on is known by positions again.
    third.ended(open).await.unwrap();
    third.again(|_| false).await.unwrap();
    assert_eq!(wanted(&third), [(open, false)]);
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let store = Arc::new(MemoryStore::new());
    let desk = desk(&store).await;
    for _ in 0..MOST_AT_ONCE {
        desk.ask(tables(), "ops").await.unwrap();
    }
    assert!(matches!(desk.ask(tables(), "ops").await, Err(SnapshotError::TooMany)));
    for _ in 0..120 {
        let oldest = desk.wanted().borrow()[0].id;
        desk.command(oldest, Command::Stop).await.unwrap();
        desk.ask(tables(), "ops").await.unwrap();
    }
    assert_eq!(desk.list().await.unwrap().len(), 100 + MOST_AT_ONCE);
    assert_eq!(desk_again(&store).await, 100 + MOST_AT_ONCE);
}

async fn desk_again(store: &Arc<MemoryStore>) -> usize {
    desk(store).await.list().await.unwrap().len()
}
