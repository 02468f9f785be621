//! What of a file or a directory has reached the platter, and what a crash makes of the rest.

use std::collections::BTreeMap;

const SECTOR: usize = 512;

/// A small random generator with a printable seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct SimRng(u64);

impl SimRng {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next_u64() % bound as u64) as usize }
    }

    /// True once in `one_in` times.
    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// A file's bytes: on the platter, as seen by reads, and the way from one to the other.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) durable: Vec<u8>,
    pub(super) seen: Vec<u8>,
    pub(super) pending: Vec<Change>,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// A directory's names, in the same way.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) durable: BTreeMap<String, u64>,
    pub(super) seen: BTreeMap<String, u64>,
    pub(super) pending: Vec<NameChange>,
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Link(String, u64),
    Unlink(String),
    Rename(String, String, u64),
}

/// How much of what was not durable a crash keeps.
#[derive(Debug, Clone, Copy)]
enum Survival {
    Nothing,
    All,
    /// The first changes, the last of them torn.
    Prefix,
    /// The last changes, without those before them.
    Suffix,
    /// Each change or sector as a coin falls.
    Scattered,
}

impl Survival {
    fn draw(rng: &mut SimRng) -> Self {
        [Self::Nothing, Self::All, Self::Prefix, Self::Suffix, Self::Scattered][rng.below(5)]
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes: new } => write(bytes, *at, new),
            Self::Truncate(len) => bytes.truncate(*len),
        }
    }
}

/// Writes at a place; a hole before it is zeros.
fn write(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

impl Content {
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    /// Everything seen becomes durable. (After a failed sync that is less than what is seen.)
    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync fails: a random part of the dirty data becomes durable, the rest is forgotten. Cuts are metadata,
    /// which a file system does not drop while it stays writable.
    pub(super) fn fail_sync(&mut self, rng: &mut SimRng) {
        let mut writes = Vec::new();
        for change in std::mem::take(&mut self.pending) {
            if let Change::Truncate(len) = change {
                self.pending = std::mem::take(&mut writes);
                self.scatter(rng);
                self.durable.truncate(len);
            } else {
                writes.push(change);
            }
        }
        self.pending = writes;
        self.scatter(rng);
    }

    /// A random part of what is pending becomes durable, the rest is forgotten.
    pub(super) fn scatter(&mut self, rng: &mut SimRng) {
        let survival = Survival::draw(rng);
        let pending = std::mem::take(&mut self.pending);
        let cut = rng.below(pending.len() + 1);
        let whole = match survival {
            Survival::Nothing | Survival::Scattered => 0..0,
            Survival::All => 0..pending.len(),
            Survival::Prefix => 0..cut,
            Survival::Suffix => cut..pending.len(),
        };
        for (number, change) in pending.iter().enumerate() {
            if whole.contains(&number) {
                change.apply(&mut self.durable);
                continue;
            }
            match (survival, change) {
                (Survival::Prefix, Change::Write { at, bytes }) if number == cut => {
                    write(&mut self.durable, *at, &bytes[..rng.below(bytes.len() + 1)]);
                }
                (Survival::Scattered, Change::Write { at, bytes }) => {
                    let mut from = 0;
                    while from < bytes.len() {
                        let to = bytes.len().min((((at + from) / SECTOR) + 1) * SECTOR - at);
                        if rng.chance(2) {
                            write(&mut self.durable, at + from, &bytes[from..to]);
                        }
                        from = to;
                    }
                }
                (Survival::Scattered, change) if rng.chance(2) => change.apply(&mut self.durable),
                _ => {}
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl Names {
    pub(super) fn change(&mut self, change: NameChange) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn scatter(&mut self, rng: &mut SimRng) {
        let survival = Survival::draw(rng);
        let pending = std::mem::take(&mut self.pending);
        let cut = rng.below(pending.len() + 1);
        for (number, change) in pending.iter().enumerate() {
            let kept = match survival {
                Survival::Nothing => false,
                Survival::All => true,
                Survival::Prefix => number < cut,
                Survival::Suffix => number >= cut,
                Survival::Scattered => rng.chance(2),
            };
            if kept {
                change.apply(&mut self.durable);
            }
        }
    }
}
