//! Every way a row can change.

use crate::harness::{Db, content};

const T: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b)";

#[tokio::test]
async fn rows_are_captured_with_both_images_in_commit_order() {
    for journal in ["wal", "delete"] {
        let db = Db::new(journal);
        db.run(T);
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (1, 'x', 2.5); UPDATE t SET b = x'00ff', a = NULL; DELETE FROM t");
        assert_eq!(
            reader.events(3).await,
            [
                "c t id=Int(1) a='x' b=Float64(2.5)",
                "u t [id=Int(1) a='x' b=Float64(2.5)] id=Int(1) a=Null b=x[00, ff]",
                "d t [id=Int(1) a=Null b=x[00, ff]]",
            ]
        );
        assert!(reader.seen.windows(2).all(|w| w[0].pos < w[1].pos));
    }
}

#[tokio::test]
async fn a_rollback_leaves_nothing() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    db.run("BEGIN; INSERT INTO t VALUES (1, 'no', 1); ROLLBACK;");
    db.run("BEGIN; INSERT INTO t VALUES (2, 'a', 1); SAVEPOINT s; INSERT INTO t VALUES (3, 'no', 1); ROLLBACK TO s; COMMIT;");
    db.run("INSERT INTO t VALUES (4, 'b', 1)");
    assert_eq!(reader.events(2).await, ["c t id=Int(2) a='a' b=Int(1)", "c t id=Int(4) a='b' b=Int(1)"]);
}

#[tokio::test]
async fn a_changed_key_is_a_delete_and_an_insert_that_name_each_other() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'x', 0); UPDATE t SET id = 7");
    assert_eq!(
        reader.events(3).await[1..],
        ["d t [id=Int(1) a='x' b=Int(0)]", "c t id=Int(7) a='x' b=Int(0)"]
    );
    assert_eq!(reader.seen[1].headers, [("__debezium.newkey".into(), String::new())]);
    assert_eq!(reader.seen[2].headers, [("__debezium.oldkey".into(), String::new())]);
    assert_ne!(reader.seen[1].id, reader.seen[2].id);
    assert_eq!(reader.seen[1].pos, reader.seen[2].pos);
}

#[tokio::test]
async fn replaced_rows_are_deleted_whether_or_not_triggers_are_recursive() {
    for recursive in ["OFF", "ON"] {
        let db =
            Db::with("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b TEXT COLLATE NOCASE UNIQUE)");
        db.run(&format!("PRAGMA recursive_triggers = {recursive}"));
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (1, 'a', 'A'), (2, 'b', 'B'), (3, 'c', 'C')");
        db.run("REPLACE INTO t VALUES (1, 'a', 'A2')");
        db.run("REPLACE INTO t VALUES (4, 'b', 'c')");
        db.run("REPLACE INTO t (a, b) VALUES ('x', 'y')");
        db.run("UPDATE OR REPLACE t SET id = 1 WHERE id = 4");
        let lines = reader.all(&db).await;
        assert_eq!(lines[3..5], ["d t [id=Int(1) a='a' b='A']", "c t id=Int(1) a='a' b='A2'"], "{recursive}");
        let mut replaced = lines[5..7].to_vec();
        replaced.sort();
        assert_eq!(replaced, ["d t [id=Int(2) a='b' b='B']", "d t [id=Int(3) a='c' b='C']"], "{recursive}");
        assert_eq!(
            lines[7..],
            [
                "c t id=Int(4) a='b' b='c'",
                "c t id=Int(5) a='x' b='y'",
                "d t [id=Int(1) a='a' b='A2']",
                "d t [id=Int(4) a='b' b='c']",
                "c t id=Int(1) a='b' b='c'",
            ],
            "{recursive}"
        );
        let state: Vec<_> = reader.state().into_iter().filter(|((table, _), _)| table == "t").collect();
        assert_eq!(state, content(&db, &["t"]).await.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn ignored_inserts_and_upserts_delete_nothing() {
    for recursive in ["OFF", "ON"] {
        let db = Db::with("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE)");
        db.run(&format!("PRAGMA recursive_triggers = {recursive}"));
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (1, 'a'), (2, 'b')");
        db.run("INSERT OR IGNORE INTO t VALUES (1, 'z'), (3, 'c'), (4, 'b')");
        db.run("INSERT INTO t VALUES (1, 'up') ON CONFLICT (id) DO UPDATE SET a = excluded.a");
        db.run("INSERT INTO t VALUES (9, 'b') ON CONFLICT (a) DO NOTHING");
        assert!(db.app.execute_batch("INSERT OR FAIL INTO t VALUES (5, 'e'), (6, 'b'), (7, 'g')").is_err());
        db.run("UPDATE OR IGNORE t SET a = 'b' WHERE id = 5");
        db.run("DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (2, 'bb')");
        assert_eq!(
            reader.all(&db).await,
            [
                "c t id=Int(1) a='a'",
                "c t id=Int(2) a='b'",
                "c t id=Int(3) a='c'",
                "u t [id=Int(1) a='a'] id=Int(1) a='up'",
                "c t id=Int(5) a='e'",
                "d t [id=Int(2) a='b']",
                "c t id=Int(2) a='bb'",
            ]
        );
    }
}

#[tokio::test]
async fn a_delete_is_seen_whatever_an_ignored_insert_of_the_row_left_behind() {
    for recursive in ["OFF", "ON"] {
        for kind in ["", " WITHOUT ROWID"] {
            let db = Db::with(&format!("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE){kind}"));
            db.run(&format!("PRAGMA recursive_triggers = {recursive}"));
            let mut reader = db.reader().await;
            db.run("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')");
            db.run("INSERT OR IGNORE INTO t VALUES (1, 'z')");
            db.run("INSERT INTO t VALUES (9, 'b') ON CONFLICT DO NOTHING");
            db.run("UPDATE OR IGNORE t SET a = 'c' WHERE id = 2");
            // The reader is past what these left behind.
            db.run("INSERT INTO t VALUES (4, 'd')");
            reader.events(4).await;
            db.run("DELETE FROM t WHERE id = 1; DELETE FROM t WHERE id = 2; DELETE FROM t WHERE id = 3");
            assert_eq!(
                reader.events(7).await[4..],
                ["d t [id=Int(1) a='a']", "d t [id=Int(2) a='b']", "d t [id=Int(3) a='c']"],
                "recursive {recursive}{kind}"
            );
            // In one transaction with what was ignored, the order is the statements'.
            db.run("INSERT INTO t VALUES (5, 'e'), (6, 'f')");
            db.run("BEGIN; INSERT OR IGNORE INTO t VALUES (5, 'zz'); DELETE FROM t WHERE id = 6; DELETE FROM t WHERE id = 5; COMMIT");
            assert_eq!(reader.events(11).await[9..], ["d t [id=Int(6) a='f']", "d t [id=Int(5) a='e']"]);
        }
    }
}

#[tokio::test]
async fn a_trigger_that_updates_its_own_row_comes_after_what_fired_it() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    // Made after ours, so SQLite runs it first.
    db.run(
        "CREATE TRIGGER stamp AFTER INSERT ON t BEGIN UPDATE t SET b = 'stamped' WHERE id = NEW.id; END;
         CREATE TRIGGER again AFTER UPDATE ON t WHEN NEW.a = 'twice' BEGIN
             UPDATE t SET a = 'done' WHERE id = NEW.id; UPDATE OR IGNORE t SET id = 1 WHERE id = NEW.id; END;",
    );
    db.run("INSERT INTO t VALUES (1, 'x', 0); INSERT INTO t (a) VALUES ('y'); UPDATE t SET a = 'twice' WHERE id = 2");
    assert_eq!(
        reader.all(&db).await,
        [
            "c t id=Int(1) a='x' b=Int(0)",
            "u t [id=Int(1) a='x' b=Int(0)] id=Int(1) a='x' b='stamped'",
            "c t id=Int(2) a='y' b=Null",
            "u t [id=Int(2) a='y' b=Null] id=Int(2) a='y' b='stamped'",
            "u t [id=Int(2) a='y' b='stamped'] id=Int(2) a='twice' b='stamped'",
            "u t [id=Int(2) a='twice' b='stamped'] id=Int(2) a='done' b='stamped'",
        ]
    );
}

#[tokio::test]
async fn cascades_are_captured() {
    let db = Db::with(
        "PRAGMA foreign_keys = ON;
         CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE gone (id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE CASCADE);
         CREATE TABLE kept (id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE SET NULL);",
    );
    let mut reader = db.reader().await;
    db.run("INSERT INTO parent VALUES (1); INSERT INTO gone VALUES (1, 1); INSERT INTO kept VALUES (1, 1); DELETE FROM parent");
    let mut lines = reader.all(&db).await.split_off(3);
    lines.sort();
    assert_eq!(
        lines,
        [
            "d gone [id=Int(1) p=Int(1)]",
            "d parent [id=Int(1)]",
            "u kept [id=Int(1) p=Int(1)] id=Int(1) p=Null",
        ]
    );
}

#[tokio::test]
async fn tables_without_row_numbers_and_with_generated_columns() {
    let db = Db::with(
        "CREATE TABLE w (a TEXT, b INT, c, d AS (b * 2) STORED, e AS (a || '!') VIRTUAL, PRIMARY KEY (b, a)) WITHOUT ROWID",
    );
    let mut reader = db.reader().await;
    db.run("INSERT INTO w (a, b, c) VALUES ('x', 1, 'c'); UPDATE w SET c = 'd'; REPLACE INTO w (a, b) VALUES ('x', 1); UPDATE w SET b = 2");
    assert_eq!(
        reader.all(&db).await,
        [
            "c w a='x' b=Int(1) c='c' d=Int(2) e='x!'",
            "u w [a='x' b=Int(1) c='c' d=Int(2) e='x!'] a='x' b=Int(1) c='d' d=Int(2) e='x!'",
            "d w [a='x' b=Int(1) c='d' d=Int(2) e='x!']",
            "c w a='x' b=Int(1) c=Null d=Int(2) e='x!'",
            "d w [a='x' b=Int(1) c=Null d=Int(2) e='x!']",
            "c w a='x' b=Int(2) c=Null d=Int(4) e='x!'",
        ]
    );
    assert_eq!(reader.seen[4].headers[0].0, "__debezium.newkey");
}

#[tokio::test]
async fn names_may_be_hostile() {
    let db = Db::with(
        "CREATE TABLE \"a \"\"b'; DROP TABLE x; --\" (\"sel\"\"ect\" INTEGER PRIMARY KEY, \"op\" TEXT UNIQUE, \"rid\", \"new.x\", \"rowid\")",
    );
    let mut reader = db.reader().await;
    db.run("INSERT INTO \"a \"\"b'; DROP TABLE x; --\" VALUES (1, 'o', 2, 3, 4); REPLACE INTO \"a \"\"b'; DROP TABLE x; --\" VALUES (2, 'o', 2, 3, 4)");
    let lines = reader.events(3).await;
    assert!(lines[2].contains("sel\"ect=Int(2) op='o' rid=Int(2) new.x=Int(3) rowid=Int(4)"), "{lines:?}");
    assert!(lines[1].starts_with("d "), "{lines:?}");
}

#[tokio::test]
async fn unique_expressions_and_partial_indexes_are_seen_by_replace() {
    let db = Db::with(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, live INT);
         CREATE UNIQUE INDEX low ON t (lower(a), live) WHERE live = 1;",
    );
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'A', 1), (2, 'B', 0), (3, 'C', 1)");
    db.run("REPLACE INTO t VALUES (4, 'a', 1), (5, 'b', 0)");
    db.run("UPDATE OR REPLACE t SET a = 'c' WHERE id = 4");
    let lines = reader.all(&db).await;
    assert_eq!(
        lines[3..],
        [
            "d t [id=Int(1) a='A' live=Int(1)]",
            "c t id=Int(4) a='a' live=Int(1)",
            "c t id=Int(5) a='b' live=Int(0)",
            "d t [id=Int(3) a='C' live=Int(1)]",
            "u t [id=Int(4) a='a' live=Int(1)] id=Int(4) a='c' live=Int(1)",
        ]
    );
}

#[tokio::test]
async fn tables_may_be_two_thousand_columns_wide() {
    let columns: Vec<String> = (0..2_000).map(|at| format!("x{at}")).collect();
    let db =
        Db::with(&format!("CREATE TABLE wide (id INTEGER PRIMARY KEY, {})", columns[..1_999].join(", ")));
    db.run(T);
    let mut reader = db.reader().await;
    db.run(
        "INSERT INTO wide (id, x0, x300, x1998) VALUES (1, 'a', 'b', 'c'); INSERT INTO t VALUES (1, 'n', 1)",
    );
    db.run("UPDATE wide SET x1000 = 'd', x300 = NULL; REPLACE INTO wide (id, x1998) VALUES (1, 'e'); DELETE FROM wide");
    reader.events(6).await;
    let short: Vec<String> = reader
        .lines()
        .iter()
        .map(|line| {
            line.split(' ')
                .filter(|word| !word.contains("=Null") || word.contains("[Null"))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(
        short,
        [
            "c wide id=Int(1) x0='a' x300='b' x1998='c'",
            "c t id=Int(1) a='n' b=Int(1)",
            "u wide [id=Int(1) x0='a' x300='b' x1998='c'] id=Int(1) x0='a' x1000='d' x1998='c'",
            "d wide [id=Int(1) x0='a' x1000='d' x1998='c']",
            "c wide id=Int(1) x1998='e'",
            "d wide [id=Int(1) x1998='e']",
        ]
    );
}

#[tokio::test]
async fn tables_without_a_key_are_captured() {
    let db = Db::with("CREATE TABLE n (a, b)");
    let mut reader = db.reader().await;
    db.run("INSERT INTO n VALUES (1, 2), (1, 2); UPDATE n SET b = 3 WHERE rowid = 2; DELETE FROM n WHERE rowid = 1");
    assert_eq!(
        reader.events(4).await[2..],
        ["u n [a=Int(1) b=Int(2)] a=Int(1) b=Int(3)", "d n [a=Int(1) b=Int(2)]"]
    );
}

#[tokio::test]
async fn a_default_in_the_place_of_null_is_seen_by_replace() {
    let db = Db::with(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT 'q' UNIQUE, b NOT NULL DEFAULT open);
         CREATE TABLE w (k TEXT NOT NULL DEFAULT 'k', l INT, PRIMARY KEY (k, l)) WITHOUT ROWID;",
    );
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'q', 0)");
    db.run("INSERT OR REPLACE INTO t VALUES (2, NULL, NULL)");
    db.run("INSERT INTO t VALUES (3, 'x', 0); UPDATE OR REPLACE t SET a = NULL WHERE id = 3");
    db.run("INSERT INTO w VALUES ('k', 1); INSERT OR REPLACE INTO w VALUES (NULL, 1)");
    assert_eq!(
        reader.all(&db).await,
        [
            "c t id=Int(1) a='q' b=Int(0)",
            "d t [id=Int(1) a='q' b=Int(0)]",
            "c t id=Int(2) a='q' b='open'",
            "c t id=Int(3) a='x' b=Int(0)",
            "d t [id=Int(2) a='q' b='open']",
            "u t [id=Int(3) a='x' b=Int(0)] id=Int(3) a='q' b=Int(0)",
            "c w k='k' l=Int(1)",
            "d w [k='k' l=Int(1)]",
            "c w k='k' l=Int(1)",
        ]
    );
}

#[tokio::test]
async fn before_triggers_that_were_there_first_keep_their_order() {
    let db = Db::with(
        "CREATE TABLE pos (pos INTEGER PRIMARY KEY, v);
         CREATE TRIGGER shift BEFORE INSERT ON pos BEGIN UPDATE pos SET pos = pos + 1000 WHERE pos = NEW.pos; END;
         CREATE TRIGGER later AFTER INSERT ON pos BEGIN SELECT 1; END;",
    );
    let mut reader = db.reader().await;
    db.run("INSERT INTO pos VALUES (1, 'x'); INSERT INTO pos VALUES (1, 'y')");
    assert_eq!(
        reader.all(&db).await,
        [
            "c pos pos=Int(1) v='x'",
            "d pos [pos=Int(1) v='x']",
            "c pos pos=Int(1001) v='x'",
            "c pos pos=Int(1) v='y'",
        ]
    );
    let kept: Vec<String> = db
        .app
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name NOT GLOB '_df*' ORDER BY name",
        )
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(kept, ["later", "shift"]);
}

#[tokio::test]
async fn a_row_that_replaces_one_and_is_deleted_at_once_is_gone() {
    let db = Db::with("CREATE TABLE q (id INTEGER PRIMARY KEY, state)");
    let mut reader = db.reader().await;
    db.run("CREATE TRIGGER done AFTER INSERT ON q WHEN NEW.state = 'done' BEGIN DELETE FROM q WHERE id = NEW.id; END");
    db.run("INSERT INTO q VALUES (1, 'open'); REPLACE INTO q VALUES (1, 'done')");
    assert_eq!(
        reader.all(&db).await,
        [
            "c q id=Int(1) state='open'",
            "d q [id=Int(1) state='open']",
            "c q id=Int(1) state='done'",
            "d q [id=Int(1) state='done']",
        ]
    );
}
