//! What happens in the shop: transactions of changes, made from a seed.

use std::collections::HashMap;

use crate::random::Random;

/// Most changes in one transaction.
const MOST_IN_TRANSACTION: u64 = 20;
/// How many keys each table can have. Small, so that rows are deleted and inserted again under the same key.
const KEYS: u64 = 600;

/// A table of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// `id INTEGER PRIMARY KEY`.
    Customers,
    /// `id INTEGER PRIMARY KEY`, with a text that is long now and then.
    Orders,
    /// `PRIMARY KEY (order_id, line)`, `WITHOUT ROWID`.
    Items,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Customers, Self::Orders, Self::Items];

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customers => "customers",
            Self::Orders => "orders",
            Self::Items => "items",
        }
    }
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub table: Table,
    /// Which row: a number from which the table makes its key.
    pub key: u64,
    /// What.
    pub kind: Kind,
    /// Its number in the story, from 1. A row's `rev` column holds that of the change that wrote the row last.
    pub rev: u64,
}

/// What a change does to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new row.
    Insert,
    /// Every column but the key gets a new value.
    Update,
    /// The row gets this key.
    Rekey(u64),
    /// The row goes.
    Delete,
}

/// The transactions of a seed, without an end.
#[derive(Debug, Clone)]
pub struct Story {
    random: Random,
    rev: u64,
    /// Per table and key: whether there is such a row.
    live: [Vec<bool>; 3],
}

impl Story {
    /// From the beginning.
    pub fn new(seed: u64) -> Self {
        let empty = vec![false; KEYS as usize];
        Self { random: Random::new(seed), rev: 0, live: [empty.clone(), empty.clone(), empty] }
    }

    /// The next transaction.
    pub fn transaction(&mut self) -> Vec<Change> {
        let changes = 1 + self.random.below(MOST_IN_TRANSACTION);
        (0..changes).map(|_| self.change()).collect()
    }

    fn change(&mut self) -> Change {
        let table = Table::ALL[self.random.below(3) as usize];
        let live = &mut self.live[table as usize];
        let key = self.random.below(KEYS);
        self.rev += 1;
        let rev = self.rev;
        let kind = match self.random.below(20) {
            _ if !live[key as usize] => Kind::Insert,
            0 | 1 => Kind::Delete,
            2 => match self.random.below(KEYS) {
                to if live[to as usize] => Kind::Update,
                to => Kind::Rekey(to),
            },
            _ => Kind::Update,
        };
        live[key as usize] = matches!(kind, Kind::Insert | Kind::Update);
        if let Kind::Rekey(to) = kind {
            live[to as usize] = true;
        }
        Change { table, key, kind, rev }
    }

    /// Whole transactions until at least `changes` changes have happened.
    pub fn until(seed: u64, changes: u64) -> Vec<Change> {
        let mut story = Self::new(seed);
        let mut happened = Vec::new();
        while story.rev < changes {
            happened.extend(story.transaction());
        }
        happened
    }
}

/// What a consumer sees of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Table and key.
    pub row: (Table, u64),
    /// `c`, `u` or `d`.
    pub op: char,
    /// The `rev` column of the image there is: after, or before for a delete.
    pub rev: u64,
}

/// Everything a consumer sees of these changes, in order.
pub fn steps(changes: &[Change]) -> Vec<Step> {
    let mut revs: HashMap<(Table, u64), u64> = HashMap::new();
    let mut steps = Vec::with_capacity(changes.len());
    for change in changes {
        let row = (change.table, change.key);
        let mut step = |row, op, rev| steps.push(Step { row, op, rev });
        match change.kind {
            Kind::Insert => step(row, 'c', change.rev),
            Kind::Update => step(row, 'u', change.rev),
            Kind::Delete => step(row, 'd', revs[&row]),
            Kind::Rekey(to) => {
                step(row, 'd', revs[&row]);
                step((change.table, to), 'c', change.rev);
                revs.insert((change.table, to), change.rev);
            }
        }
        revs.insert(row, change.rev);
    }
    steps
}
