//! What a sink received, held against what happened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

use crate::lines;
use crate::shop::{Change, Shop, Step, Table, key_of, live_rows, steps};

/// One event as it arrived, in the native envelope.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its id.
    pub event_id: String,
    /// What it says; the operation may be `r` as well.
    pub step: Step,
    /// The event's text.
    pub text: String,
}

impl Arrival {
    /// Reads an event.
    ///
    /// # Panics
    ///
    /// When something that every event has is missing.
    pub fn parse(text: &str) -> Self {
        let event: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
        let read = || {
            let table = event["source"]["table"].as_str()?;
            let table = Table::ALL.into_iter().find(|known| known.name() == table)?;
            let op = event["op"].as_str()?.chars().next()?;
            let image = if op == 'd' { &event["before"] } else { &event["after"] };
            Some(Self {
                event_id: event["event_id"].as_str()?.to_owned(),
                step: Step { row: (table, key_of(table, image)?), op, rev: image["rev"].as_u64()? },
                text: text.to_owned(),
            })
        };
        read().unwrap_or_else(|| panic!("not an event of the shop: {text}"))
    }

    /// The event as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// What arrived, in order.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    /// Everything, repeats included.
    pub all: Vec<Arrival>,
}

impl Arrivals {
    /// Of a file sink.
    pub fn of_file(path: &Path) -> Self {
        Self::parse(&lines::read(path))
    }

    /// Of events' texts.
    pub fn parse(texts: &[String]) -> Self {
        Self { all: texts.iter().map(|text| Arrival::parse(text)).collect() }
    }

    /// Each event once, where it came first.
    ///
    /// # Panics
    ///
    /// When two different events have the same id, other than copies of existing rows.
    #[track_caller]
    pub fn distinct(&self) -> Vec<&Arrival> {
        let mut first: HashMap<&str, &Arrival> = HashMap::with_capacity(self.all.len());
        let mut distinct = Vec::with_capacity(self.all.len());
        for arrival in &self.all {
            match first.insert(&arrival.event_id, arrival) {
                None => distinct.push(arrival),
                // A row copied again after a kill may be a newer state of it: the changes in between came before.
                Some(_) if arrival.step.op == 'r' => {}
                Some(known) => {
                    assert_eq!(known.text, arrival.text, "two events with the id {}", arrival.event_id)
                }
            }
        }
        distinct
    }

    /// How many came again.
    #[track_caller]
    pub fn repeats(&self) -> usize {
        self.all.len() - self.distinct().len()
    }

    /// Holds them against what happened: nothing missing, nothing made up, nothing twice under another id, each
    /// row's changes in order.
    ///
    /// # Panics
    ///
    /// When anything differs; says what.
    #[track_caller]
    pub fn assert_tell(&self, happened: &[Change]) {
        let by_row = |steps: &mut dyn Iterator<Item = Step>| {
            let mut rows: BTreeMap<(Table, u64), Vec<(char, u64)>> = BTreeMap::new();
            steps.for_each(|step| rows.entry(step.row).or_default().push((step.op, step.rev)));
            rows
        };
        let expected = by_row(&mut steps(happened).into_iter());
        let arrived = by_row(&mut self.distinct().into_iter().map(|arrival| arrival.step));
        let rows: BTreeSet<_> = expected.keys().chain(arrived.keys()).collect();
        for row in rows {
            let of = |rows: &BTreeMap<_, Vec<_>>| rows.get(row).cloned().unwrap_or_default();
            let (expected_steps, arrived_steps) = (of(&expected), of(&arrived));
            if expected_steps != arrived_steps {
                let same = expected_steps.iter().zip(&arrived_steps).take_while(|(a, b)| a == b).count();
                let part =
                    |steps: &[_]| format!("{:?}", &steps[same.saturating_sub(2)..steps.len().min(same + 6)]);
                let count = |rows: &BTreeMap<_, Vec<_>>| rows.values().map(Vec::len).sum::<usize>();
                panic!(
                    "row {row:?} differs from its step {same} on: happened {} (in all {}), arrived {} (in all {}); \
                     of all rows {} steps happened and {} arrived, besides {} repeats",
                    part(&expected_steps),
                    expected_steps.len(),
                    part(&arrived_steps),
                    arrived_steps.len(),
                    count(&expected),
                    count(&arrived),
                    self.repeats(),
                );
            }
        }
    }

    /// Holds the last image of every row against the database.
    ///
    /// # Panics
    ///
    /// When a row differs.
    #[track_caller]
    pub fn assert_end_as(&self, shop: &Shop) {
        let mut last: HashMap<(Table, u64), &Arrival> = HashMap::new();
        for arrival in self.distinct() {
            last.insert(arrival.step.row, arrival);
        }
        last.retain(|_, arrival| arrival.step.op != 'd');
        let db = shop.connect();
        for table in Table::ALL {
            for row in live_rows(&db, table) {
                let key = key_of(table, &row).unwrap();
                let arrived = last.remove(&(table, key)).map(|arrival| arrival.json()["after"].clone());
                assert_eq!(arrived, Some(row), "{} {key}", table.name());
            }
        }
        assert!(last.is_empty(), "rows arrived that the database does not have: {:?}", last.keys());
    }
}
