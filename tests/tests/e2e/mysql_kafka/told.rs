//! What a sink has, held against what the server says.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

use deltaforge_testkit::kafka::{Kafka, Record};
use deltaforge_testkit::mysql::Server;
use serde_json::Value;

use super::place::POISON_BYTES;

/// The tables whose rows are kept, with their keys. All that begin with `side` are one: they are renamed.
const KEYS: [(&str, &str); 3] = [("accounts", "id"), ("steps", "step"), ("side", "mark")];

/// What a consumer knows that begins at the beginning.
#[derive(Default)]
pub struct Told {
    /// Each event's id, and its text, both as hashes.
    ids: HashMap<u64, u64>,
    /// How many events came that were there already.
    pub repeats: usize,
    /// How many rows came from a copy, once each.
    pub copied: usize,
    /// Rows that were there before anything came were not told.
    begins_within: bool,
    /// By table and key: what the row is now; `None`: it is gone.
    rows: HashMap<(&'static str, String), Option<Value>>,
    /// How many changes each statement made, by its mark and the changes' operation.
    changes: BTreeMap<(i64, char), u64>,
    /// How many rows of `bulk` came, and the sum of their numbers.
    bulk: (u64, u64),
}

impl Told {
    /// By a topic: what is committed there.
    #[track_caller]
    pub fn by_topic(kafka: &Kafka, topic: &str) -> Self {
        Self::default().reading(kafka, topic)
    }

    /// By a topic of a pipeline that begins with a copy.
    #[track_caller]
    pub fn by_topic_with_copies(kafka: &Kafka, topic: &str) -> Self {
        Self { begins_within: true, ..Self::default() }.reading(kafka, topic)
    }

    #[track_caller]
    fn reading(mut self, kafka: &Kafka, topic: &str) -> Self {
        let mut follower = kafka.follow(topic);
        while !follower.is_at_end() {
            for Record { key, value, .. } in follower.poll() {
                self.hear(&value.expect("nobody asked for tombstones"), key.as_deref());
            }
        }
        self
    }

    /// By the lines of a file.
    pub fn by_lines(lines: &[String]) -> Self {
        let mut told = Self::default();
        lines.iter().for_each(|line| told.hear(line, None));
        told
    }

    /// How many events came, each counted once.
    pub fn events(&self) -> usize {
        self.ids.len()
    }

    /// How many rows of `bulk` came.
    pub fn bulk(&self) -> u64 {
        self.bulk.0
    }

    #[track_caller]
    fn hear(&mut self, text: &str, message_key: Option<&str>) {
        let event: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
        let op = event["op"].as_str().unwrap();
        let known = self.ids.insert(hash(event["event_id"].as_str().unwrap()), hash(text));
        if let Some(known) = known {
            self.repeats += 1;
            // A row that is copied again may be a newer state of it: the changes in between came before.
            assert!(op == "r" || known == hash(text), "another event has this one's id: {text}");
            if op != "r" {
                return;
            }
        }
        let table = event["source"]["table"].as_str().unwrap();
        let image = if op == "d" { &event["before"] } else { &event["after"] };
        let letter = op.chars().next().filter(|_| op != "ddl");
        if let (Some(letter), Some(mark)) = (letter, image["mark"].as_i64())
            && matches!(table, "accounts" | "bulk")
        {
            *self.changes.entry((mark, letter)).or_default() += 1;
        }
        if table == "bulk" && op == "c" {
            self.bulk = (self.bulk.0 + 1, self.bulk.1 + image["n"].as_u64().unwrap());
        }
        let Some((table, key)) = KEYS.into_iter().find(|(known, _)| table.starts_with(known)) else { return };
        if op != "ddl" {
            let key = format!("{{\"{key}\":{}}}", image[key]);
            assert!(message_key.is_none_or(|told| told == key), "{message_key:?} is not the key of {text}");
            self.change(table, key, op, &event, known.is_some());
        }
    }

    /// Each change is of the row as the last one left it.
    #[track_caller]
    fn change(&mut self, table: &'static str, key: String, op: &str, event: &Value, again: bool) {
        let before = self.rows.get(&(table, key.clone()));
        let fits = match (op, before) {
            ("c", before) => before.is_none_or(Option::is_none),
            ("u" | "d", Some(Some(before))) => holds(&event["before"], before),
            ("u" | "d", None) => self.begins_within,
            ("r", None) => self.begins_within,
            // The log has told of it already, or an earlier copy: the copy is not older, and not newer.
            ("r", Some(Some(before))) => holds(&event["after"], before),
            _ => false,
        };
        assert!(fits, "before this event (again: {again}) the row was {before:?}: {event}");
        self.copied += usize::from(op == "r" && !again);
        let after = (op != "d").then(|| event["after"].clone());
        self.rows.insert((table, key), after);
    }

    /// All that stands in the server came, and nothing else: every statement's changes, and what they come to. Answers how
    /// many steps were too large for the topic.
    #[track_caller]
    pub fn assert_all(&self, server: &Server, db: &str) -> usize {
        let poison = self.assert_rows(server, db);
        let statements = server.sql(&format!(
            "SELECT mark, kind, SUM(changed) FROM {db}.steps WHERE changed > 0 GROUP BY mark, kind"
        ));
        let mut made: BTreeMap<(i64, char), u64> = BTreeMap::new();
        for row in statements {
            let (mark, changed): (i64, u64) = (row[0].parse().unwrap(), row[2].parse().unwrap());
            // A key that changes is gone, and another one is there.
            let ops = if row[1] == "k" { "dc" } else { &row[1] };
            ops.chars().for_each(|op| *made.entry((mark, op)).or_default() += changed);
        }
        let differ = |(of, count): (&(i64, char), &u64)| (self.changes.get(of) != Some(count)).then_some(*of);
        let missing: Vec<_> = made.iter().filter_map(differ).collect();
        let first: Vec<_> =
            missing.iter().take(5).map(|of| (of, made.get(of), self.changes.get(of))).collect();
        assert!(
            missing.is_empty(),
            "the changes of {} of {} statements are not there as made: {first:?}",
            missing.len(),
            made.len()
        );
        let others: Vec<_> = self.changes.keys().filter(|of| !made.contains_key(of)).take(5).collect();
        assert!(others.is_empty(), "nobody made these: {others:?}");
        poison
    }

    /// The rows as told are the rows that the server has.
    #[track_caller]
    pub fn assert_rows(&self, server: &Server, db: &str) -> usize {
        self.assert_rows_and(server, db, 0)
    }

    /// The same, and so many besides.
    #[track_caller]
    pub fn assert_rows_and(&self, server: &Server, db: &str, more: usize) -> usize {
        let (mut poison, mut rows) = (0, 0);
        for (table, key) in KEYS {
            for real in server.sql(&format!("SHOW TABLES FROM {db} LIKE '{table}%'")).concat() {
                let columns = server.sql(&format!(
                    "SELECT column_name FROM information_schema.columns WHERE table_schema = '{db}' AND table_name = '{real}'
                     ORDER BY ordinal_position"
                ));
                for row in server.sql(&format!("SELECT * FROM {db}.{real}")) {
                    let row: BTreeMap<&str, &str> = columns
                        .iter()
                        .zip(&row)
                        .map(|(name, cell)| (name[0].as_str(), cell.as_str()))
                        .collect();
                    let key = format!("{{\"{key}\":{}}}", row[key]);
                    let told = self.rows.get(&(table, key.clone())).and_then(Option::as_ref);
                    if row.get("note").is_some_and(|note| note.len() >= POISON_BYTES) {
                        assert_eq!(told, None, "too large for the topic");
                        poison += 1;
                        continue;
                    }
                    rows += 1;
                    let told = told.unwrap_or_else(|| panic!("{real} {key} is not there: {row:?}"));
                    let same =
                        |(name, value): (&String, &Value)| row.get(name.as_str()) == Some(&&*cell(value));
                    assert!(
                        told.as_object().unwrap().iter().all(same),
                        "{real} {key} is {row:?}, told: {told}"
                    );
                }
            }
        }
        let told = self.rows.values().flatten().count();
        assert_eq!(told, rows + more, "rows were told that the server does not have");
        poison
    }

    /// Each id counts once.
    #[track_caller]
    pub fn assert_once(&self) {
        assert_eq!(self.repeats, 0, "of {} events some came again", self.ids.len());
    }
}

/// Whether an image has all that an older one says; it may have columns that were added.
fn holds(image: &Value, older: &Value) -> bool {
    older.as_object().is_some_and(|older| older.iter().all(|(name, value)| image.get(name) == Some(value)))
}

/// As the server's client writes it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
