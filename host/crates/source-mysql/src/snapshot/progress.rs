//! How far copies have got: the part of a position that is about them.

use deltaforge_engine::snapshots::Wanted;
use deltaforge_model::EventId;
use serde::{Deserialize, Serialize};

use super::walk::Mark;
use crate::ddl::TableName;

/// A part of a table that is still to be copied: rows whose keys are behind `after` and not behind `until`. Empty: from the
/// first, to the last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Range {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Mark>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub until: Vec<Mark>,
}

/// A table that is still to be copied, or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Left {
    pub database: String,
    pub table: String,
    /// What is left of it; empty: all, and it was not begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
    /// Rows of it that were copied.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows: u64,
    /// What stands for the definition that its copy began with, where the log goes on meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
}

impl Left {
    /// All of a table.
    fn whole(TableName { database, table }: TableName) -> Self {
        Self { database, table, ranges: Vec::new(), rows: 0, shape: None }
    }

    /// Its full name.
    pub fn name(&self) -> TableName {
        TableName::new(self.database.clone(), self.table.clone())
    }
}

/// A copy of existing rows that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Names this copy for good; part of its rows' ids.
    pub generation: String,
    /// When it began, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// Tables that are not copied to their end.
    pub tables: Vec<Left>,
    /// Rows copied so far.
    #[serde(default)]
    pub rows: u64,
    /// The number of the request that it is for: its rows are copied in turns with the log. `None`: it is the source's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
}

impl Job {
    /// A new copy of these tables. `seed` tells it from others that begin in the same millisecond.
    pub fn new(tables: impl IntoIterator<Item = TableName>, started_ms: i64, seed: &str) -> Self {
        let generation = EventId::derive(started_ms, &[seed.as_bytes()]).to_string();
        let tables = tables.into_iter().map(Left::whole).collect();
        Self { generation, started_ms, tables, rows: 0, request: None }
    }

    /// The copy that somebody asks for. The same request always makes the same one: rows that come again have their ids.
    fn of(wanted: &Wanted, source: &str) -> Self {
        let tables = wanted.tables.iter().filter_map(|table| TableName::parse(&table.name));
        let seed = format!("{source} {}", wanted.id);
        Self { request: Some(wanted.id), ..Self::new(tables, wanted.id as i64, &seed) }
    }

    /// Rows get other ids from now on.
    pub fn renew(&mut self) {
        self.generation = EventId::derive(self.started_ms, &[self.generation.as_bytes()]).to_string();
    }
}

/// Where copies went on that some sink had got further with. Rows have other numbers from then on: only among positions
/// of the same fork does the count say who has more of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Fork {
    /// Grows with every fork.
    number: u64,
    /// Rows that every sink had then.
    rows: u64,
    /// The copies as they were then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<Job>,
    /// The last request that had become a copy then.
    #[serde(default, skip_serializing_if = "is_zero")]
    taken: u64,
}

/// All copies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Copies {
    /// Rows that copies have read, ever. Orders positions that share a place in the log.
    #[serde(default, rename = "snapshot_rows", skip_serializing_if = "is_zero")]
    pub rows: u64,
    /// Copies under way, in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
    /// The last request that has become a copy. One up to it that is not among the copies is carried out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub taken: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fork: Option<Fork>,
}

impl Copies {
    /// Goes by what is wanted now: makes copies of new requests, and leaves out those that are not wanted any more. Copies that
    /// are to pause stand behind the others. `source` tells this one's requests from those of others.
    pub fn follow(&mut self, wanted: &[Wanted], source: &str) {
        let find = |id| wanted.iter().find(move |one| one.id == id);
        self.jobs.retain(|job| job.request.is_none_or(|id| find(id).is_some()));
        let taken = self.taken;
        for new in wanted.iter().filter(|one| one.id > taken) {
            self.jobs.push(Job::of(new, source));
            self.taken = new.id;
        }
        self.jobs.sort_by_key(|job| job.request.and_then(find).is_some_and(|one| one.paused));
    }

    /// Whether all rows of a request are behind here.
    pub fn have(&self, request: u64) -> bool {
        request <= self.taken && self.jobs.iter().all(|job| job.request != Some(request))
    }

    /// Goes on from here, where every sink has everything up to, with sinks that `stand` where they do.
    ///
    /// A count of rows is no function of what the tables hold: rows may be gone, or new, between here and where a sink
    /// stands. So rows that are read from here on are numbered after all that any sink has had, and come to all of
    /// them: to some once more, to none too late.
    pub fn go_on<'a>(&mut self, stands: impl Iterator<Item = &'a Self> + Clone) {
        let furthest = stands.clone().map(|copies| copies.rows).fold(self.rows, u64::max);
        let newest = stands.clone().map(Self::forks).fold(self.forks(), u64::max);
        let mut stands = stands;
        let apart = furthest > self.rows || stands.any(|copies| copies.forks() < newest);
        let number = newest + u64::from(apart);
        if number > 0 {
            let (rows, jobs, taken) = (self.rows, self.jobs.clone(), self.taken);
            self.fork = Some(Fork { number, rows, jobs, taken });
        }
        self.rows = furthest;
    }

    /// A copy that cannot go on where it was, since its rows have no names that last, begins anew: its rows get other ids.
    pub fn restart(&mut self, has_key: impl Fn(&TableName) -> bool) {
        for job in &mut self.jobs {
            let mut renewed = false;
            for left in job.tables.iter_mut().filter(|left| left.rows > 0 && !has_key(&left.name())) {
                (left.ranges, left.rows, renewed) = (Vec::new(), 0, true);
            }
            if renewed {
                job.renew();
            }
        }
    }

    /// How often copies forked before here.
    fn forks(&self) -> u64 {
        self.fork.as_ref().map_or(0, |fork| fork.number)
    }

    /// The copies of the highest position at which nobody lacks anything who has these or `high`. These belong to the
    /// lower place of the log.
    pub fn meet(self, high: Self) -> Self {
        let low = self;
        let rows = low.rows.min(high.rows);
        let (older, newer) = if low.forks() <= high.forks() { (&low, &high) } else { (&high, &low) };
        let (jobs, taken, fork) = match &newer.fork {
            // Which of the two has more rows cannot be told. What all had when they forked, both have.
            Some(fork) if older.forks() < fork.number && older.rows >= fork.rows => {
                (&fork.jobs, fork.taken, &newer.fork)
            }
            Some(fork) if older.forks() < fork.number => (&older.jobs, older.taken, &older.fork),
            _ => (&low.jobs, low.taken, &low.fork),
        };
        Self { rows, jobs: jobs.clone(), taken, fork: fork.clone() }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use deltaforge_engine::snapshots::Table;

    use super::*;

    fn at(rows: u64, left: &[&str]) -> Copies {
        let mut job = Job::new(left.iter().map(|table| TableName::new("d", *table)), 7, "seed");
        job.rows = rows;
        let jobs = if left.is_empty() { Vec::new() } else { vec![job] };
        Copies { rows, jobs, ..Copies::default() }
    }

    fn tables(copies: &Copies) -> Vec<String> {
        copies.jobs.iter().flat_map(|job| job.tables.iter().map(|left| left.table.clone())).collect()
    }

    #[test]
    fn copies_meet_at_the_fewer_rows() {
        let (low, high) = (at(5, &["a", "b"]), at(9, &["b"]));
        assert_eq!(low.clone().meet(high), low);
        assert_eq!(tables(&at(9, &[]).meet(at(9, &[]))), Vec::<String>::new());
    }

    #[test]
    fn rows_read_again_count_for_none_of_an_older_fork() {
        // One sink has the table `a`, another `a` and `b`. All go on from the first.
        let (slow, fast) = (at(5, &["b", "c"]), at(9, &["c"]));
        let mut went_on = slow.clone();
        went_on.go_on([&slow, &fast].into_iter());
        assert_eq!(went_on.rows, 9);
        // The slow one goes on and gets `b` and a part of `c`; the fast one is dead and stays where it was.
        let mut further = went_on.clone();
        further.rows = 12;
        further.jobs[0].tables.remove(0);
        // Where do both have everything? `fast` has `b` as it was in the old fork, and `further` too. But numbers do not tell.
        assert_eq!(tables(&fast.clone().meet(further.clone())), ["b", "c"]);
        assert_eq!(tables(&further.meet(fast)), ["b", "c"]);
    }

    fn asked(id: u64, paused: bool) -> Wanted {
        let table = Table { name: "d.t".into(), condition: None };
        Wanted { id, tables: vec![table], paused }
    }

    #[test]
    fn a_request_becomes_a_copy_once() {
        let requests = |copies: &Copies| copies.jobs.iter().map(|job| job.request).collect::<Vec<_>>();
        let mut copies = at(5, &["a"]);
        copies.follow(&[asked(7, false), asked(9, true)], "s");
        assert_eq!(requests(&copies), [None, Some(7), Some(9)]);
        let before = copies.clone();
        copies.follow(&[asked(7, true), asked(9, false)], "s");
        assert_eq!(requests(&copies), [None, Some(9), Some(7)], "what pauses holds nothing up");
        assert!(!copies.have(7) && !copies.have(10));
        copies.jobs.retain(|job| job.request != Some(7));
        copies.follow(&[asked(7, false), asked(9, false)], "s");
        assert_eq!(requests(&copies), [None, Some(9)], "it was carried out, and is not confirmed yet");
        assert!(copies.have(7));
        copies.follow(&[], "s");
        assert_eq!(requests(&copies), [None]);
        // One that has not heard of it: it is made again, with the same ids.
        let mut anew = at(5, &["a"]);
        anew.follow(&[asked(7, false)], "s");
        assert_eq!(anew.jobs[1], before.jobs[1]);
        assert_ne!(anew.jobs[1].generation, Job::of(&asked(7, false), "other").generation);
    }

    #[test]
    fn where_sinks_meet_a_request_is_not_done_for_one_that_has_not_heard_of_it() {
        let before = at(5, &[]);
        let mut done = before.clone();
        done.follow(&[asked(7, false)], "s");
        (done.rows, done.jobs) = (9, Vec::new());
        let mut met = before.clone().meet(done.clone());
        assert!(!met.have(7));
        met.follow(&[asked(7, false)], "s");
        met.go_on([&before, &done].into_iter());
        assert_eq!((met.rows, met.jobs.len()), (9, 1));
        // The same where the rest of it was read again, in another fork.
        let mut further = met.clone();
        (further.rows, further.jobs) = (12, Vec::new());
        assert!(!before.meet(further.clone()).have(7));
        let met = done.meet(further);
        assert_eq!((met.have(7), met.jobs.len()), (false, 1));
    }

    #[test]
    fn a_table_without_a_key_is_copied_anew_under_other_ids() {
        let mut copies = at(3, &["keyed", "keyless", "fresh"]);
        for left in &mut copies.jobs[0].tables[..2] {
            (left.rows, left.ranges) = (1, vec![Range::default()]);
        }
        let before = copies.clone();
        copies.restart(|name| name.table != "keyless");
        let (job, old) = (&copies.jobs[0], &before.jobs[0]);
        assert_eq!(job.tables.iter().map(|left| left.rows).collect::<Vec<_>>(), [1, 0, 0]);
        assert_ne!(job.generation, old.generation);
        let mut again = before.clone();
        again.restart(|_| true);
        assert_eq!(again, before);
    }
}
