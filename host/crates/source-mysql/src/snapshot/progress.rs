//! How far copies have got: the part of a position that is about them.

use deltaforge_engine::snapshots::Wanted;
use deltaforge_model::EventId;
use serde::{Deserialize, Serialize};

use super::walk::Mark;
use crate::ddl::TableName;
use crate::definitions::Redefined;

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
    /// The key by which `ranges` are; empty: not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// What stands for the definition that its copy began with, where the log goes on meanwhile; empty: it may be another table
    /// by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
}

impl Left {
    /// All of a table is still to be copied.
    pub fn whole(TableName { database, table }: TableName) -> Self {
        Self { database, table, ranges: Vec::new(), rows: 0, key: String::new(), shape: None }
    }

    /// Whether some of it was copied.
    pub fn is_begun(&self) -> bool {
        self.rows > 0 || !self.ranges.is_empty()
    }

    /// Whether its ranges depend on how texts are sorted.
    fn is_by_text(&self) -> bool {
        let marks = self.ranges.iter().flat_map(|range| range.after.iter().chain(&range.until));
        marks.into_iter().any(|mark| matches!(mark, Mark::Text(_)))
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

    fn left(&mut self, name: &TableName) -> Option<&mut Left> {
        self.tables.iter_mut().find(|left| left.name() == *name)
    }

    /// Some of its rows come once more: they get other ids.
    pub fn renew(&mut self) {
        self.generation = EventId::derive(self.started_ms, &[self.generation.as_bytes()]).to_string();
    }

    /// Whether what was copied of its first table may be of another one.
    pub fn is_doubted(&self) -> bool {
        self.tables.first().is_some_and(|left| left.shape.as_deref() == Some(""))
    }

    /// Doubts what was copied of tables that a statement may have made others of. One that somebody asks for by its name, and
    /// with a condition of its own, is not followed to another name: what stands under that one is copied.
    fn doubt(&mut self, changes: &[Redefined]) {
        for left in self.tables.iter_mut().filter(|left| left.is_begun()) {
            let name = left.name();
            let is_other = |change: &Redefined| match change {
                Redefined::Altered(table) => *table == name && left.is_by_text(),
                Redefined::Renamed { from, to } => *from == name || *to == name,
            };
            if changes.iter().any(is_other) {
                left.shape = Some(String::new());
            }
        }
    }

    /// Follows what a statement did to tables: to their new names, and from the start where what is left cannot be told.
    fn redefine(&mut self, changes: &[Redefined], captured: &impl Fn(&TableName) -> bool) {
        if self.request.is_some() {
            return self.doubt(changes);
        }
        let names: Vec<TableName> = self.tables.iter().map(Left::name).collect();
        let mut renewed = false;
        for change in changes {
            match change {
                Redefined::Altered(table) => {
                    if let Some(left) = self.left(table).filter(|left| left.is_by_text()) {
                        (*left, renewed) = (Left::whole(table.clone()), true);
                    }
                }
                Redefined::Renamed { from, to } => {
                    if let Some(left) = self.left(from) {
                        // Rows of another table may have come under that name.
                        renewed = true;
                        (left.database, left.table) = (to.database.clone(), to.table.clone());
                    } else if let Some(left) = self.left(to).filter(|left| left.is_begun()) {
                        // Another table stands where one was dropped.
                        (*left, renewed) = (Left::whole(to.clone()), true);
                    }
                }
            }
        }
        let now: Vec<TableName> = self.tables.iter().map(Left::name).collect();
        let mut wanted = Vec::with_capacity(names.len());
        for (left, name) in std::mem::take(&mut self.tables).into_iter().zip(names) {
            let taken = |change: &Redefined| matches!(change, Redefined::Renamed { to, .. } if *to == name);
            if captured(&left.name()) {
                wanted.push(left);
            } else if changes.iter().any(taken) && !now.contains(&name) {
                // Another table took its place, as tools do that alter a copy and then exchange the two.
                renewed |= left.is_begun();
                wanted.push(Left::whole(name));
            } else {
                tracing::warn!(before = %name, now = %left.name(), rows = left.rows, "the rest of a table is not copied: `tables` does \
                     not match its new name");
            }
        }
        self.tables = wanted;
        if renewed {
            self.renew();
        }
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
    /// The start of the pipeline that the last copy is of, where each one has a copy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    run: String,
}

impl Copies {
    /// Whether a start of the pipeline, which this is the name of, is to begin a copy: one that is not finished goes on, and
    /// a start has one however often its connections break. Those that somebody asks for are others.
    pub fn is_another_due(&mut self, run: &str) -> bool {
        let is_another = self.run != run;
        run.clone_into(&mut self.run);
        is_another && self.jobs.iter().all(|job| job.request.is_some())
    }

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

    /// Whether the copy that is at work is one that somebody asks for.
    pub fn are_asked_for(&self) -> bool {
        self.jobs.first().is_some_and(|job| job.request.is_some())
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

    /// A copy that cannot go on where it was, since its rows have no names that last, begins anew: its rows get other ids. One
    /// that somebody asks for is of tables with a key.
    pub fn restart(&mut self, has_key: impl Fn(&TableName) -> bool) {
        for job in self.jobs.iter_mut().filter(|job| job.request.is_none()) {
            let mut renewed = false;
            for left in job.tables.iter_mut().filter(|left| left.rows > 0 && !has_key(&left.name())) {
                (left.ranges, left.rows, renewed) = (Vec::new(), 0, true);
            }
            if renewed {
                job.renew();
            }
        }
    }

    /// Leaves tables that are not captured any more out of the source's own copy. Of those that somebody asks for each one is told
    /// when its turn comes.
    pub fn leave_out(&mut self, captured: impl Fn(&TableName) -> bool) {
        for job in self.jobs.iter_mut().filter(|job| job.request.is_none()) {
            job.tables.retain(|left| {
                let is_captured = captured(&left.name());
                if !is_captured {
                    tracing::warn!(table = %left.name(), rows = left.rows, "the rest of a table is not copied: `tables` does not \
                         capture it any more");
                }
                is_captured
            });
        }
    }

    /// Follows a statement that changed definitions.
    pub fn redefine(&mut self, changes: &[Redefined], captured: impl Fn(&TableName) -> bool) {
        let forked = self.fork.iter_mut().flat_map(|fork| &mut fork.jobs);
        self.jobs.iter_mut().chain(forked).for_each(|job| job.redefine(changes, &captured));
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
        Self { rows, jobs: jobs.clone(), taken, fork: fork.clone(), run: low.run.clone() }
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

    fn renamed(from: &str, to: &str) -> Redefined {
        Redefined::Renamed { from: TableName::new("d", from), to: TableName::new("d", to) }
    }

    #[test]
    fn copies_follow_their_tables() {
        let is_captured = |table: &TableName| !table.table.starts_with('_');
        let mut begun = at(3, &["a", "b", "c"]);
        for left in &mut begun.jobs[0].tables[..2] {
            (left.rows, left.ranges) =
                (1, vec![Range { after: vec![Mark::Number("7".into())], until: Vec::new() }]);
        }
        let after = |changes: &[Redefined]| {
            let mut copies = begun.clone();
            copies.redefine(changes, is_captured);
            let job = &copies.jobs[0];
            let left = |left: &Left| format!("{}{}", left.table, if left.is_begun() { "*" } else { "" });
            let left = job.tables.iter().map(left).collect::<Vec<_>>().join(" ");
            (left, job.generation != begun.jobs[0].generation)
        };
        let same = |text: &str| (text.to_owned(), false);
        let anew = |text: &str| (text.to_owned(), true);
        assert_eq!(after(&[renamed("a", "x")]), anew("x* b* c"));
        assert_eq!(after(&[renamed("a", "x"), renamed("b", "a"), renamed("x", "b")]), anew("b* a* c"));
        // Out of sight, and one that takes its place.
        assert_eq!(after(&[renamed("a", "_x")]), anew("b* c"));
        assert_eq!(after(&[renamed("a", "_x"), renamed("_y", "a")]), anew("a b* c"));
        assert_eq!(after(&[renamed("c", "_x"), renamed("_y", "c")]), anew("a* b* c"));
        assert_eq!(after(&[renamed("a", "_x"), renamed("b", "a")]), anew("a* c"));
        // What was begun was dropped.
        assert_eq!(after(&[renamed("_y", "a")]), anew("a b* c"));
        assert_eq!(after(&[Redefined::Altered(TableName::new("d", "a"))]), same("a* b* c"));
        begun.jobs[0].tables[0].ranges[0].after = vec![Mark::Text("61".into())];
        let mut copies = begun.clone();
        copies.redefine(&[Redefined::Altered(TableName::new("d", "a"))], is_captured);
        assert_eq!(
            copies.jobs[0].tables.iter().map(Left::is_begun).collect::<Vec<_>>(),
            [false, true, false]
        );
    }

    #[test]
    fn a_copy_that_is_asked_for_keeps_to_the_name_and_doubts_what_stands_there() {
        let mut begun = at(3, &["a", "b"]);
        begun.jobs[0].request = Some(7);
        let left = &mut begun.jobs[0].tables[0];
        left.ranges = vec![Range { after: vec![Mark::Number("7".into())], until: Vec::new() }];
        left.shape = Some("shape".into());
        let altered = |table: &str| Redefined::Altered(TableName::new("d", table));
        let after = |begun: &Copies, changes: &[Redefined]| {
            let mut copies = begun.clone();
            copies.redefine(changes, |_| false);
            assert_eq!(tables(&copies), ["a", "b"]);
            let job = &copies.jobs[0];
            assert_eq!(
                (&job.generation, &job.tables[1]),
                (&begun.jobs[0].generation, &begun.jobs[0].tables[1])
            );
            assert_eq!(job.tables[0].ranges, begun.jobs[0].tables[0].ranges);
            job.is_doubted()
        };
        assert!(after(&begun, &[renamed("a", "x")]));
        assert!(after(&begun, &[renamed("x", "a")]));
        assert!(!after(&begun, &[renamed("b", "x"), renamed("y", "b"), altered("a")]));
        begun.jobs[0].tables[0].ranges[0].after = vec![Mark::Text("61".into())];
        assert!(after(&begun, &[altered("a")]));
    }

    #[test]
    fn a_start_has_its_copy_whatever_somebody_asks_for() {
        let mut copies = at(5, &[]);
        copies.follow(&[asked(7, false)], "s");
        assert!(copies.are_asked_for() && copies.is_another_due("one"));
        assert!(!copies.is_another_due("one"));
        copies.jobs.insert(0, at(5, &["a"]).jobs.remove(0));
        assert!(!copies.is_another_due("two"));
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
    fn what_is_captured_no_more_is_left_out_of_a_starts_copy() {
        let mut copies = at(3, &["a", "b"]);
        copies.follow(&[asked(7, false)], "s");
        let asked = copies.jobs[1].clone();
        copies.leave_out(|table| table.table == "b");
        assert_eq!(copies.jobs[0].tables.iter().map(|left| &*left.table).collect::<Vec<_>>(), ["b"]);
        assert_eq!(copies.jobs[1], asked);
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
