//! Random statements on tables with every kind of unique constraint, read at random moments: what the events add up to is
//! what the tables hold.

use std::time::Duration;

use crate::harness::{Db, content};
use crate::snapshot::Random;

/// Each has columns id, a, b, c.
const SCHEMA: &str = "
    CREATE TABLE u1 (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b, c, UNIQUE (b));
    CREATE TABLE u2 (id TEXT PRIMARY KEY, a TEXT COLLATE NOCASE, b, c) WITHOUT ROWID;
    CREATE UNIQUE INDEX u2a ON u2 (a);
    CREATE TABLE u3 (id INTEGER PRIMARY KEY, a TEXT, b, c);
    CREATE UNIQUE INDEX u3p ON u3 (a) WHERE b IS NOT NULL;
    CREATE TABLE u4 (id, a, b, c, UNIQUE (id, a));
    CREATE UNIQUE INDEX u4e ON u4 (lower(a), b);
    CREATE TABLE u5 (id INTEGER PRIMARY KEY ON CONFLICT REPLACE, a UNIQUE ON CONFLICT REPLACE, b, c,
        parent INT REFERENCES u1 (id) ON DELETE CASCADE);
    CREATE TABLE u7 (id INTEGER PRIMARY KEY, a TEXT, b, c, low TEXT AS (lower(a)) UNIQUE);
    CREATE TABLE u6 (id INT NOT NULL, a TEXT NOT NULL DEFAULT 'q', b INT, c INT, PRIMARY KEY (id, b), UNIQUE (a));";
/// Those whose rows have a key that the harness tells them apart by.
const TABLES: [&str; 6] = ["u1", "u2", "u3", "u5", "u6", "u7"];

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}

fn statement(random: &mut Random, step: u64) -> String {
    let table = pick(random, &["u1", "u2", "u3", "u4", "u5", "u6", "u7"]);
    let (id, other) = (1 + random.below(12), 1 + random.below(12));
    let a = pick(random, &["'a'", "'b'", "'c'", "'A'", "'é'", "NULL", "'x1'", "'x2'", "'x3'"]);
    let b = pick(random, &["1", "2", "3", "'1'", "NULL", "1.0", "2.5"]);
    let or = pick(random, &["", " OR REPLACE", " OR IGNORE", " OR FAIL"]);
    match random.below(11) {
        0..=3 => format!("INSERT{or} INTO {table} (id, a, b, c) VALUES ({id}, {a}, {b}, {step})"),
        4 => format!(
            "INSERT INTO {table} (id, a, b, c) VALUES ({id}, {a}, {b}, {step}) ON CONFLICT DO NOTHING"
        ),
        5 => format!("UPDATE{or} {table} SET a = {a}, b = {b}, c = {step} WHERE id = {id}"),
        10 => format!("UPDATE{or} {table} SET b = {b}, c = {step} WHERE id = {id}"),
        6 => format!("UPDATE{or} {table} SET id = {other} WHERE id = {id}"),
        7 => format!(
            "INSERT INTO {table} (id, a, b, c) VALUES ({id}, {a}, {b}, {step})
             ON CONFLICT DO UPDATE SET c = excluded.c, b = excluded.b"
        ),
        _ => format!("DELETE FROM {table} WHERE id = {id}"),
    }
}

#[tokio::test]
async fn random_statements_and_their_events_come_to_the_same() {
    for seed in 1..=6 {
        let recursive = ["OFF", "ON"][seed as usize % 2];
        let db = Db::with(SCHEMA);
        db.run(&format!(
            "PRAGMA recursive_triggers = {recursive}; PRAGMA foreign_keys = ON; PRAGMA synchronous = OFF"
        ));
        let mut reader = db.reader().await;
        let mut random = Random(seed);
        for step in 0..600 {
            // Many of them conflict with what is there and fail, as they should.
            let text = statement(&mut random, step);
            let _ = match random.below(8) {
                0 => {
                    let more = statement(&mut random, step);
                    db.app
                        .execute_batch(&format!("BEGIN; {text}; {more}; COMMIT"))
                        .or_else(|_| db.app.execute_batch("ROLLBACK"))
                }
                _ => db.app.execute_batch(&text),
            };
            if random.below(2) == 0 {
                // All that there is, or as much as comes at once.
                let patience = Duration::from_millis(1 + random.below(3));
                while tokio::time::timeout(patience, reader.batch()).await.is_ok() {}
            }
        }
        db.run("INSERT INTO u1 VALUES (1000, 'the end', 'the end', 0)");
        reader
            .until("the end", |seen| seen.iter().any(|seen| seen.table == "u1" && seen.key == "Int(1000)"))
            .await;
        let mut state = reader.state();
        state.retain(|(table, _), _| TABLES.contains(&table.as_str()));
        assert_eq!(state, content(&db, &TABLES).await, "seed {seed}, recursive_triggers {recursive}");
    }
}
