//! Exactly once: records and where the sink stands after them, in transactions.
//!
//! A transaction begins with the first delivery after the last one, and takes more while they come, so that a commit is
//! paid for by many. The record that says where the sink stands is its last. What became of a commit that nobody answered
//! is not guessed: the next producer of the same [`Identity`] shuts this one out, waits until the brokers have decided,
//! and reads what they keep.

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::sink::{Delivery, SinkContext, Wants};
use metrics::{Counter, counter};
use tokio::time::Instant;

/// A transaction is committed once it is so old,
const OLDEST: Duration = Duration::from_millis(200);
/// or so large.
const LARGEST: usize = 40 << 20;
/// While more comes, a commit begins no sooner after the one before.
const APART: Duration = Duration::from_millis(50);
/// So soon after a commit brokers are still marking its partitions. A transaction that begins before they have is refused
/// its first record, and the client tries again only 20 ms later.
const MARKED_WITHIN: Duration = Duration::from_millis(2);
/// The brokers give up a transaction that takes longer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
/// How long the brokers may take until this is the only producer of its name.
pub(crate) const INITIALISED_WITHIN: Duration = Duration::from_secs(30);

/// How the brokers know a sink, whichever process it runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its `transactional.id`: one producer of it is at work, the last that said so.
    pub transactional_id: String,
    /// The key of the record that says where it stands.
    pub key: String,
}

impl Identity {
    /// Of this sink. No name holds a `/`.
    pub fn of(context: &SinkContext) -> Self {
        let key = format!("{}/{}/{}", context.tenant, context.pipeline, context.sink_id);
        Self { transactional_id: format!("deltaforge/{key}"), key }
    }
}

/// A sink's transactions.
pub(crate) struct Transactions {
    pub identity: Identity,
    /// Where the sink stands by the last one that was committed.
    pub stands: Option<Arc<[u8]>>,
    open: Option<Open>,
    last_commit: Option<Commit>,
    commits: Counter,
    aborts: Counter,
}

/// A transaction that was begun.
struct Open {
    began: Instant,
    bytes: usize,
    last: Option<Last>,
    /// A part of a delivery after that is in it too.
    is_torn: bool,
    /// Its commit may have come to the brokers.
    is_in_doubt: bool,
}

/// When a commit was asked for, and when it was answered.
struct Commit {
    began: Instant,
    ended: Instant,
}

/// What a producer that is given up leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// No transaction.
    Nothing,
    /// One that nobody will commit.
    Open,
    /// One that the brokers may be committing.
    Doubt,
}

/// The last delivery that is in a transaction whole.
#[derive(Clone)]
pub(crate) struct Last {
    /// Its number among those in flight.
    pub number: usize,
    /// Its own.
    pub seq: u64,
    /// Where the sink stands with it.
    pub stands: Arc<[u8]>,
}

impl Transactions {
    /// Of a sink that stands there.
    pub fn new(context: &SinkContext, stands: Option<Arc<[u8]>>) -> Self {
        let labels = [("pipeline", context.pipeline.clone()), ("sink", context.sink_id.clone())];
        Self {
            identity: Identity::of(context),
            stands,
            open: None,
            last_commit: None,
            commits: counter!("deltaforge_sink_txn_commits_total", &labels),
            aborts: counter!("deltaforge_sink_txn_aborts_total", &labels),
        }
    }

    /// A delivery begins. Answers whether a transaction has to, too.
    pub fn joins(&mut self) -> bool {
        match &mut self.open {
            Some(open) => open.is_torn = true,
            None => {
                let began = Instant::now();
                self.open = Some(Open { began, bytes: 0, last: None, is_torn: true, is_in_doubt: false });
                return true;
            }
        }
        false
    }

    /// When the brokers take another one.
    pub fn may_begin(&self) -> Option<Instant> {
        self.last_commit.as_ref().map(|last| last.ended + MARKED_WITHIN)
    }

    /// So many bytes of records more.
    pub fn grows(&mut self, bytes: usize) {
        if let Some(open) = &mut self.open {
            open.bytes += bytes;
        }
    }

    /// The delivery is in the transaction whole.
    pub fn joined(&mut self, number: usize, delivery: &Delivery) {
        let (Some(open), Some(stands)) = (&mut self.open, &delivery.stands) else { return };
        open.last = Some(Last { number, seq: delivery.seq, stands: stands.clone() });
        open.is_torn = false;
    }

    /// What is to be committed; `None`: there is a delivery in it only in part.
    pub fn last(&self) -> Option<Last> {
        self.open.as_ref().filter(|open| !open.is_torn)?.last.clone()
    }

    /// Whether more deliveries are for the transaction that is open.
    pub fn wants(&self) -> Option<Wants> {
        let open = self.open.as_ref()?;
        let is_due = open.began.elapsed() >= OLDEST || open.bytes >= LARGEST;
        // What is in it only in part is to be in it whole.
        if is_due && !open.is_torn {
            return Some(Wants::Enough);
        }
        // That is over already where the stream had paused, and nothing is waited for.
        let apart = self.last_commit.as_ref().map_or(open.began, |last| last.began + APART);
        Some(Wants::More(apart.min(open.began + OLDEST)))
    }

    /// It was aborted, and another one may begin.
    pub fn aborted(&mut self) {
        self.open = None;
        self.aborts.increment(1);
    }

    /// Its commit may have come to the brokers from now on, or certainly has not.
    pub fn in_doubt(&mut self, is_in_doubt: bool) {
        if let Some(open) = &mut self.open {
            open.is_in_doubt = is_in_doubt;
        }
    }

    /// It is committed; that was begun at `began`.
    pub fn committed(&mut self, stands: Arc<[u8]>, began: Instant) {
        self.open = None;
        self.stands = Some(stands);
        self.last_commit = Some(Commit { began, ended: Instant::now() });
        self.commits.increment(1);
    }

    /// Its producer is given up, and nothing is open from now on.
    pub fn give_up(&mut self) -> Left {
        match self.open.take() {
            None => Left::Nothing,
            Some(open) if open.is_in_doubt => Left::Doubt,
            Some(_) => {
                self.aborts.increment(1);
                Left::Open
            }
        }
    }

    /// Whether the brokers may have given up the open one because of its age.
    pub fn may_be_too_old(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.began.elapsed() >= TIMEOUT.mul_f64(0.9))
    }
}

#[cfg(test)]
mod tests {
    use deltaforge_testkit::sinks;

    use super::*;

    fn transactions(open: Option<Open>) -> Transactions {
        Transactions { open, ..Transactions::new(&sinks::context(), None) }
    }

    fn open(bytes: usize) -> Option<Open> {
        let began = Instant::now();
        Some(Open { began, bytes, last: None, is_torn: false, is_in_doubt: false })
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_closes_at_once_when_nothing_comes_and_by_age_or_size_when_more_does() {
        assert_eq!(transactions(None).wants(), None, "nothing is open: as `max_inflight` says");
        let mut idle = transactions(open(100));
        assert_eq!(idle.wants(), Some(Wants::More(Instant::now())), "it takes more, and waits for none");
        tokio::time::advance(OLDEST).await;
        assert_eq!(idle.wants(), Some(Wants::Enough));
        idle.open = open(LARGEST);
        assert_eq!(idle.wants(), Some(Wants::Enough));
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_is_full_by_its_records_and_the_next_one_waits_for_marks() {
        let mut one = transactions(open(0));
        one.grows(LARGEST - 1);
        assert_ne!(one.wants(), Some(Wants::Enough));
        one.grows(1);
        assert_eq!(one.wants(), Some(Wants::Enough));
        assert_eq!(one.may_begin(), None);
        one.committed(Arc::from(&b"there"[..]), Instant::now());
        assert_eq!(one.may_begin(), Some(Instant::now() + MARKED_WITHIN));
    }

    #[tokio::test(start_paused = true)]
    async fn under_load_commits_are_apart() {
        let mut busy = transactions(open(100));
        busy.last_commit = Some(Commit { began: Instant::now(), ended: Instant::now() });
        assert_eq!(busy.wants(), Some(Wants::More(Instant::now() + APART)));
        tokio::time::advance(APART).await;
        assert_eq!(busy.wants(), Some(Wants::More(Instant::now())));
    }

    #[test]
    fn a_sink_has_a_name_of_its_own() {
        let identity = Identity::of(&sinks::context());
        assert_eq!(identity.key, "t/p/out");
        assert_eq!(identity.transactional_id, "deltaforge/t/p/out");
    }
}
