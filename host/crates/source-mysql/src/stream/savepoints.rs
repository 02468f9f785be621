//! The savepoints of a transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Savepoints, and how many events there were at each.
///
/// The log does not say which of them were released, so a transaction may have any number: those that were set first are forgotten
/// where all of them would take too much. Hardly any rollback to one is in the log at all, as servers leave out what it takes back.
#[derive(Debug, Default)]
pub(super) struct Savepoints {
    /// By when they were set.
    set: BTreeMap<u64, (Arc<str>, u32)>,
    /// When each was set last: a name that comes again is another savepoint, and the one before is gone.
    when: HashMap<Arc<str>, u64>,
    next: u64,
    bytes: usize,
}

/// What one takes beside its name, about.
const EACH: usize = 128;

impl Savepoints {
    /// One is set; all of them may take `most` bytes.
    pub fn set(&mut self, name: &str, events: u32, most: usize) {
        let name = called(name);
        if let Some(before) = self.when.insert(name.clone(), self.next) {
            self.set.remove(&before);
        } else {
            self.bytes += EACH + name.len();
        }
        self.set.insert(self.next, (name, events));
        self.next += 1;
        while self.bytes > most
            && let Some((_, (name, _))) = self.set.pop_first()
        {
            self.forget(&name);
        }
    }

    /// Rows are taken back to one, which stays; those that were set behind it are gone. Answers how many events there were;
    /// `None`: it is not known.
    pub fn back_to(&mut self, name: &str) -> Option<u32> {
        let when = *self.when.get(&called(name))?;
        for (name, _) in self.set.split_off(&(when + 1)).into_values() {
            self.forget(&name);
        }
        self.set.get(&when).map(|(_, events)| *events)
    }

    fn forget(&mut self, name: &Arc<str>) {
        self.when.remove(name);
        self.bytes -= EACH + name.len();
    }
}

/// Servers do not tell names apart by their case.
fn called(name: &str) -> Arc<str> {
    name.to_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::{EACH, Savepoints};

    #[test]
    fn a_name_that_comes_again_is_another_savepoint() {
        let mut savepoints = Savepoints::default();
        for (events, name) in ["`a`", "`b`", "`A`", "`c`"].into_iter().enumerate() {
            savepoints.set(name, events as u32, usize::MAX);
        }
        assert_eq!(savepoints.back_to("`a`"), Some(2));
        assert_eq!(savepoints.back_to("`c`"), None, "it was set behind that one");
        assert_eq!(savepoints.back_to("`A`"), Some(2), "it stays");
        assert_eq!(savepoints.back_to("`b`"), Some(1));
        assert_eq!(savepoints.back_to("`a`"), None);
        assert_eq!(savepoints.bytes, EACH + 3);
    }

    #[test]
    fn however_many_there_are_they_take_no_more_than_they_may() {
        let mut savepoints = Savepoints::default();
        let most = 1_000 * (EACH + "`s100000`".len());
        for number in 100_000..400_000 {
            savepoints.set(&format!("`s{number}`"), number, most);
            savepoints.set("`again`", number, most);
        }
        assert!(savepoints.bytes <= most);
        assert!(savepoints.set.len() <= 1_000 && savepoints.set.len() == savepoints.when.len());
        assert_eq!(savepoints.back_to("`s100000`"), None);
        assert_eq!(savepoints.back_to("`s399500`"), Some(399_500));
        assert_eq!(savepoints.back_to("`again`"), None, "it was set again behind that one");
    }
}
