#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use deltaforge_store::MemoryStore;

use super::*;
use crate::ddl::{Context, Mode, Server, Statement, read};

/// Positions of these tests are numbers; those above 1000 belong to another log.
fn compare(a: &Position, b: &Position) -> Order {
    let number = |position: &Position| position.as_str().parse::<u32>().unwrap();
    let (a, b) = (number(a), number(b));
    match a.cmp(&b) {
        _ if (a > 1000) != (b > 1000) => Order::Unrelated,
        std::cmp::Ordering::Less => Order::Before,
        std::cmp::Ordering::Equal => Order::Same,
        std::cmp::Ordering::Greater => Order::After,
    }
}

fn at(number: u32) -> Position {
    Position::new(number.to_string())
}

async fn open(state: &Arc<MemoryStore>, resume: Option<u32>) -> Result<History, HistoryError> {
    let prefix = History::prefix("t", "p", "s");
    History::open(state.clone(), prefix, resume.map(at).as_ref(), compare).await
}

async fn run(history: &mut History, number: u32, sql: &str) -> Vec<String> {
    let context = Context { server: Server::MySql, database: "d", mode: Mode::default(), fold_names: false };
    let Statement::Changes(changes) = read(sql, &context) else { panic!("{sql}") };
    let charsets = Charsets { database: Some(("d", "utf8mb4")), server: Some("latin1") };
    let touched = history.change(&at(number), &changes, charsets).await.unwrap();
    touched.iter().map(TableName::to_string).collect()
}

/// A table's columns, `?` if they are not known, and nothing if there is none.
fn columns(history: &History, table: &str) -> String {
    match history.table(&TableName::new("d", table)) {
        Known::Gone => String::new(),
        Known::Unknown => "?".to_owned(),
        Known::Table(definition) => {
            let names: Vec<&str> = definition.columns.iter().map(|column| column.name.as_str()).collect();
            names.join(" ")
        }
    }
}

#[tokio::test]
async fn a_restart_knows_the_columns_of_its_checkpoint() {
    let state = Arc::new(MemoryStore::new());
    let mut history = open(&state, None).await.unwrap();
    run(&mut history, 10, "CREATE TABLE t (a int)").await;
    run(&mut history, 20, "ALTER TABLE t ADD b int").await;
    run(&mut history, 30, "ALTER TABLE t DROP a, RENAME TO u").await;
    for (resume, t, u) in
        [(9, "", ""), (10, "a", ""), (19, "a", ""), (20, "a b", ""), (30, "", "b"), (99, "", "b")]
    {
        let history = open(&state, Some(resume)).await.unwrap();
        assert_eq!((columns(&history, "t").as_str(), columns(&history, "u").as_str()), (t, u), "at {resume}");
    }
}

#[tokio::test]
async fn statements_that_come_again_change_nothing() {
    let state = Arc::new(MemoryStore::new());
    let mut history = open(&state, None).await.unwrap();
    run(&mut history, 10, "CREATE TABLE t (a int)").await;
    run(&mut history, 20, "ALTER TABLE t ADD b int").await;
    run(&mut history, 30, "ALTER TABLE t ADD c int").await;
    let before = state.list("").await.unwrap();
    let mut again = open(&state, Some(15)).await.unwrap();
    run(&mut again, 20, "ALTER TABLE t ADD b int").await;
    assert_eq!(columns(&again, "t"), "a b");
    run(&mut again, 30, "ALTER TABLE t ADD c int").await;
    assert_eq!(state.list("").await.unwrap(), before);
}

#[tokio::test]
async fn what_the_server_told_once_is_known_when_the_log_is_read_again() {
    let state = Arc::new(MemoryStore::new());
    let mut history = open(&state, None).await.unwrap();
    run(&mut history, 10, "CREATE TABLE t (a int)").await;
    run(&mut history, 20, "ALTER TABLE t FROBNICATE").await;
    assert_eq!(columns(&history, "t"), "?");
    let Change::Create { body: crate::ddl::Body::Definition(read), .. } = created("CREATE TABLE t (z int)")
    else {
        panic!()
    };
    history.learn_unknown(&TableName::new("d", "t"), *read, &at(25)).await.unwrap();
    assert_eq!(columns(&history, "t"), "z");
    let mut again = open(&state, Some(15)).await.unwrap();
    assert_eq!(columns(&again, "t"), "a");
    run(&mut again, 20, "ALTER TABLE t FROBNICATE").await;
    assert_eq!(columns(&again, "t"), "z");
}

fn created(sql: &str) -> Change {
    let context = Context { server: Server::MySql, database: "d", mode: Mode::default(), fold_names: false };
    match read(sql, &context) {
        Statement::Changes(mut changes) => changes.remove(0),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unknown_table_stays_unknown_under_every_name() {
    let mut history = open(&Arc::new(MemoryStore::new()), None).await.unwrap();
    history.learn(&at(1), Vec::new(), vec![(TableName::new("d", "t"), None)]).await.unwrap();
    run(&mut history, 2, "ALTER TABLE t ADD b int").await;
    run(&mut history, 3, "RENAME TABLE t TO u").await;
    run(&mut history, 4, "CREATE TABLE v LIKE u").await;
    run(&mut history, 5, "CREATE TABLE IF NOT EXISTS u (a int)").await;
    run(&mut history, 6, "ALTER TABLE nobody ADD b int").await;
    let known = ["t", "u", "v", "nobody"].map(|table| columns(&history, table));
    assert_eq!(known, ["", "?", "?", "?"]);
}

#[tokio::test]
async fn a_cut_over_gives_the_table_its_new_columns() {
    let mut history = open(&Arc::new(MemoryStore::new()), None).await.unwrap();
    run(&mut history, 1, "CREATE TABLE t (a int PRIMARY KEY)").await;
    run(&mut history, 2, "CREATE TABLE _t_gho LIKE t").await;
    run(&mut history, 3, "ALTER TABLE _t_gho ADD b int").await;
    let touched = run(&mut history, 4, "RENAME TABLE t TO _t_del, _t_gho TO t").await;
    assert_eq!(touched, ["d.t", "d._t_del", "d._t_gho"]);
    let known = ["t", "_t_del", "_t_gho"].map(|table| columns(&history, table));
    assert_eq!(known, ["a b", "a", ""]);
}

#[tokio::test]
async fn charsets_come_from_the_table_the_database_or_the_server() {
    let mut history = open(&Arc::new(MemoryStore::new()), None).await.unwrap();
    run(&mut history, 1, "CREATE DATABASE e").await;
    run(&mut history, 2, "CREATE DATABASE f CHARACTER SET koi8r").await;
    for (number, table) in [(3, "d.t"), (4, "e.t"), (5, "f.t")] {
        run(&mut history, number, &format!("CREATE TABLE {table} (a char(3))")).await;
    }
    run(&mut history, 6, "ALTER DATABASE f COLLATE utf8mb3_bin").await;
    run(&mut history, 7, "ALTER TABLE f.t ADD b text, ADD c text CHARACTER SET ascii").await;
    let charsets = |database: &str| match history.table(&TableName::new(database, "t")) {
        Known::Table(definition) => {
            let charset = |column: &crate::ddl::ColumnDefinition| column.charset.clone().unwrap_or_default();
            definition.columns.iter().map(charset).collect::<Vec<_>>().join(" ")
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(["d", "e", "f"].map(charsets), ["utf8mb4", "latin1", "koi8r koi8r ascii"]);
}

#[tokio::test]
async fn a_dropped_database_takes_its_tables_along() {
    let mut history = open(&Arc::new(MemoryStore::new()), None).await.unwrap();
    run(&mut history, 1, "CREATE TABLE t (a int)").await;
    run(&mut history, 2, "CREATE TABLE other.t (a int)").await;
    assert_eq!(run(&mut history, 3, "DROP DATABASE d").await, ["d.t"]);
    let left: Vec<String> = history.tables().map(TableName::to_string).collect();
    assert_eq!(left, ["other.t"]);
}

#[tokio::test]
async fn versions_that_every_checkpoint_has_passed_are_dropped() {
    let state = Arc::new(MemoryStore::new());
    let mut history = open(&state, None).await.unwrap();
    run(&mut history, 1, "CREATE TABLE t (a int)").await;
    for number in 2..50 {
        history.confirm(&at(number - 1));
        run(&mut history, number, &format!("ALTER TABLE t ADD c{number} int")).await;
    }
    let (_, bytes) = state.list("").await.unwrap().remove(0);
    let stored: Stored = serde_json::from_slice(&bytes).unwrap();
    let kept: Vec<&str> = stored.versions.iter().map(|version| version.at.as_str()).collect();
    assert_eq!(kept, ["48", "49"]);
    assert_eq!(columns(&open(&state, Some(48)).await.unwrap(), "t").split(' ').count(), 48);
}

#[tokio::test]
async fn tables_that_were_gone_where_every_checkpoint_has_passed_are_forgotten() {
    let state = Arc::new(MemoryStore::new());
    let mut history = open(&state, None).await.unwrap();
    run(&mut history, 1, "CREATE TABLE t (a int)").await;
    for number in (10..900).step_by(10) {
        run(&mut history, number, &format!("CREATE TABLE tmp_{number} (a int)")).await;
        // One that comes back again and again does not stand in the way of the others.
        run(&mut history, number + 1, "CREATE TABLE same (a int)").await;
        run(
            &mut history,
            number + 2,
            &format!("ALTER TABLE tmp_{number} ADD b int, RENAME TO tmp_{number}_old"),
        )
        .await;
        run(&mut history, number + 3, "DROP TABLE same").await;
        run(&mut history, number + 4, &format!("DROP TABLE tmp_{number}_old")).await;
        // The checkpoints follow, and lag behind.
        if number >= 40 {
            history.confirm(&at(number - 28));
        }
    }
    // What a restart from any checkpoint reads again stands as it was there.
    for (resume, known) in [
        (862, ["a", "", "a b", "", ""]),
        (863, ["", "", "a b", "", ""]),
        (864, ["", "", "", "", ""]),
        (870, ["", "", "", "a", ""]),
        (872, ["a", "", "", "", "a b"]),
        (884, ["", "", "", "", ""]),
    ] {
        let history = open(&state, Some(resume)).await.unwrap();
        let names = ["same", "tmp_860", "tmp_860_old", "tmp_870", "tmp_870_old"];
        assert_eq!(names.map(|table| columns(&history, table)), known, "at {resume}");
        assert_eq!(columns(&history, "t"), "a");
    }
    let keys = |stored: Vec<(String, Vec<u8>)>| -> Vec<String> {
        let last = |key: &str| key.rsplit_once('/').unwrap().1.to_owned();
        stored.iter().map(|(key, _)| last(key)).collect()
    };
    // From 852 on, so nothing that was gone there.
    let kept = keys(state.list("").await.unwrap());
    let expected = [
        "same",
        "t",
        "tmp_850_old",
        "tmp_860",
        "tmp_860_old",
        "tmp_870",
        "tmp_870_old",
        "tmp_880",
        "tmp_880_old",
        "tmp_890",
        "tmp_890_old",
    ];
    assert_eq!(kept, expected);
    assert_eq!(history.versions.len(), expected.len());

    // One that is opened again goes on with it, and is never left with nothing.
    let mut again = open(&state, Some(884)).await.unwrap();
    for (number, sql) in [
        (890, "CREATE TABLE tmp_890 (a int)"),
        (891, "CREATE TABLE same (a int)"),
        (892, "ALTER TABLE tmp_890 ADD b int, RENAME TO tmp_890_old"),
        (893, "DROP TABLE same"),
        (894, "DROP TABLE tmp_890_old"),
        (899, "DROP TABLE t"),
    ] {
        run(&mut again, number, sql).await;
    }
    again.confirm(&at(900));
    run(&mut again, 901, "CREATE TABLE u (a int)").await;
    run(&mut again, 902, "DROP TABLE u").await;
    again.confirm(&at(902));
    run(&mut again, 903, "CREATE TABLE v (a int)").await;
    again.confirm(&at(903));
    assert_eq!(keys(state.list("").await.unwrap()), ["v"]);
    run(&mut again, 904, "DROP TABLE v").await;
    again.confirm(&at(904));
    again.forget_gone().await.unwrap();
    assert_eq!(keys(state.list("").await.unwrap()), ["v"]);
    assert!(!open(&state, Some(904)).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_history_of_another_log_is_refused() {
    let state = Arc::new(MemoryStore::new());
    let mut history = open(&state, None).await.unwrap();
    run(&mut history, 10, "CREATE TABLE t (a int)").await;
    assert!(matches!(open(&state, Some(2000)).await, Err(HistoryError::Unrelated { .. })));
    // Without a checkpoint nothing of it counts.
    assert!(open(&state, None).await.unwrap().is_empty());
    assert_eq!(state.list("").await.unwrap(), []);
}
