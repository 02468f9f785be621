//! Who computes next: the compute threads are shared among tenants by weight, not among pipelines.
//!
//! A pipeline's stages and encoding run as one future, and each of its turns (one poll; a plugin gives way every
//! millisecond) takes a place. While places are free nobody notices. When all are taken, the next one goes to the tenant that
//! has had the least thread time for its weight, so a tenant with a hundred busy pipelines gets no more than one with
//! one of the same weight. A tenant that was idle does not save up time: it begins where the least served one stands.
//!
//! Work that goes on on a thread of its own, as a script does, keeps the place of the turn that it was begun in: with a
//! second one for itself, as many pipelines as there are places could each hold one and wait for another for ever.
//!
//! Work that could go on ends its turn with [`give_way`], not with the runtime's own yield: so it stands in the queue
//! before its place is given to the next.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use metrics::{Counter, counter};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

/// Thread time that tenants used for stages and encoding.
const CPU_MILLISECONDS: &str = "deltaforge_tenant_cpu_milliseconds_total";

/// The compute threads of a host. Cheap to clone.
#[derive(Clone)]
pub struct Share(Arc<Mutex<State>>);

struct State {
    free: usize,
    /// The account of the least served tenant that waits: where newcomers begin.
    floor: u64,
    tenants: HashMap<Arc<str>, Account>,
}

struct Account {
    weight: u32,
    /// Pipelines that are on it.
    members: usize,
    /// Thread time used, in nanoseconds over the weight.
    used: u64,
    waiting: VecDeque<Arc<Ticket>>,
    /// Nanoseconds not yet counted, since the metric has whole milliseconds.
    uncounted: u64,
    milliseconds: Counter,
}

/// A turn that waits for a place.
struct Ticket {
    state: AtomicU8,
    waker: Mutex<Waker>,
}

thread_local! {
    /// The work that is polled now could go on.
    static GAVE_WAY: Cell<bool> = const { Cell::new(false) };
    /// How many keep the place of the turn that is polled now.
    static KEEPERS: RefCell<Option<Arc<AtomicUsize>>> = const { RefCell::new(None) };
}

/// Lets others compute first.
pub async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        GAVE_WAY.set(true);
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

const WAITS: u8 = 0;
const HAS_A_PLACE: u8 = 1;
const GONE: u8 = 2;

impl Share {
    /// Shares `places` threads.
    pub fn new(places: usize) -> Self {
        let state = State { free: places.max(1), floor: 0, tenants: HashMap::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Runs `work` on the account of `tenant`, whose turns count by `weight`.
    pub fn run<F: Future>(&self, tenant: &str, weight: u32, work: F) -> Fair<F> {
        let member = Member::new(self, tenant, weight);
        Fair { member, work: Box::pin(work), keepers: Arc::default(), holds: false }
    }

    /// A place for work on a thread of its own: that of the turn in which this is polled. Outside of any, it waits for
    /// one.
    pub async fn place(&self, tenant: &str, weight: u32) -> Place {
        let mut member = Member::new(self, tenant, weight);
        let keepers = KEEPERS.with_borrow(Clone::clone);
        match &keepers {
            Some(keepers) => {
                keepers.fetch_add(1, Ordering::Relaxed);
            }
            None => std::future::poll_fn(|context| member.poll_enter(context)).await,
        }
        Place { member, keepers, spent: Duration::ZERO }
    }
}

impl State {
    /// Takes a free place, unless somebody waits for one.
    fn enter(&mut self, tenant: &str) -> bool {
        if self.free == 0 {
            return false;
        }
        self.free -= 1;
        self.begin(tenant);
        true
    }

    /// A tenant that comes back has no claim on time that it did not use.
    fn begin(&mut self, tenant: &str) {
        let floor = self.floor;
        if let Some(account) = self.tenants.get_mut(tenant) {
            account.used = account.used.max(floor);
            self.floor = account.used.min(self.least_waiting().unwrap_or(u64::MAX)).max(floor);
        }
    }

    /// Puts a turn in the queue.
    fn wait(&mut self, tenant: &str, waker: Waker) -> Arc<Ticket> {
        let ticket = Arc::new(Ticket { state: AtomicU8::new(WAITS), waker: Mutex::new(waker) });
        let floor = self.floor;
        if let Some(account) = self.tenants.get_mut(tenant) {
            account.used = account.used.max(floor);
            account.waiting.push_back(ticket.clone());
        }
        ticket
    }

    fn least_waiting(&self) -> Option<u64> {
        self.tenants.values().filter(|one| !one.waiting.is_empty()).map(|one| one.used).min()
    }

    /// Charges a turn.
    fn charge(&mut self, tenant: &str, spent: Duration) {
        if let Some(account) = self.tenants.get_mut(tenant) {
            let nanos = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
            account.used = account.used.saturating_add(nanos / u64::from(account.weight));
            account.uncounted += nanos;
            account.milliseconds.increment(account.uncounted / 1_000_000);
            account.uncounted %= 1_000_000;
        }
    }

    /// Gives a place to whoever is next.
    fn hand_on(&mut self) {
        loop {
            let next = self.tenants.iter_mut().filter(|(_, one)| !one.waiting.is_empty());
            let Some((_, account)) = next.min_by_key(|(_, one)| one.used) else {
                self.free += 1;
                return;
            };
            self.floor = self.floor.max(account.used);
            let Some(ticket) = account.waiting.pop_front() else { continue };
            // One whose turn is not wanted any more leaves the place to the next.
            if ticket.state.compare_exchange(WAITS, HAS_A_PLACE, Ordering::AcqRel, Ordering::Acquire).is_ok()
            {
                ticket.waker.lock().wake_by_ref();
                return;
            }
        }
    }
}

/// Who takes turns on a tenant's account, one at a time.
struct Member {
    share: Share,
    tenant: Arc<str>,
    ticket: Option<Arc<Ticket>>,
}

impl Member {
    fn new(share: &Share, tenant: &str, weight: u32) -> Self {
        let tenant: Arc<str> = tenant.into();
        let mut state = share.0.lock();
        let floor = state.floor;
        let account = state.tenants.entry(tenant.clone()).or_insert_with(|| Account {
            weight: 1,
            members: 0,
            used: floor,
            waiting: VecDeque::new(),
            uncounted: 0,
            milliseconds: counter!(CPU_MILLISECONDS, "tenant" => tenant.to_string()),
        });
        account.weight = weight.max(1);
        account.members += 1;
        drop(state);
        Self { share: share.clone(), tenant, ticket: None }
    }

    /// Takes a place, now or when there is one.
    fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.share.0.lock();
        match &self.ticket {
            Some(ticket) => {
                ticket.waker.lock().clone_from(context.waker());
                if ticket.state.load(Ordering::Acquire) != HAS_A_PLACE {
                    return Poll::Pending;
                }
                state.begin(&self.tenant);
                self.ticket = None;
            }
            None if state.enter(&self.tenant) => {}
            None => {
                self.ticket = Some(state.wait(&self.tenant, context.waker().clone()));
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Charges time without giving a place back.
    fn charge(&self, spent: Duration) {
        self.share.0.lock().charge(&self.tenant, spent);
    }

    /// Gives the place back; `again`: stands in the queue for the next one before that.
    fn leave(&mut self, spent: Duration, again: Option<&Waker>) {
        let mut state = self.share.0.lock();
        state.charge(&self.tenant, spent);
        if let Some(waker) = again {
            self.ticket = Some(state.wait(&self.tenant, waker.clone()));
        }
        state.hand_on();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.share.0.lock();
        if let Some(ticket) = self.ticket.take()
            && ticket.state.swap(GONE, Ordering::AcqRel) == HAS_A_PLACE
        {
            state.hand_on();
        }
        if let Some(account) = state.tenants.get_mut(&self.tenant) {
            account.members -= 1;
            if account.members == 0 {
                state.tenants.remove(&self.tenant);
            }
        }
    }
}

/// A place in use by work on a thread of its own; given back when it is dropped.
pub struct Place {
    member: Member,
    /// Where it is a turn's that goes on.
    keepers: Option<Arc<AtomicUsize>>,
    spent: Duration,
}

impl Place {
    /// So much thread time was used in it.
    pub fn charge(&mut self, spent: Duration) {
        self.spent += spent;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match &self.keepers {
            Some(keepers) => {
                keepers.fetch_sub(1, Ordering::Relaxed);
                self.member.charge(self.spent);
            }
            None => self.member.leave(self.spent, None),
        }
    }
}

/// Work that takes turns; see [`Share::run`].
pub struct Fair<F> {
    member: Member,
    work: Pin<Box<F>>,
    keepers: Arc<AtomicUsize>,
    /// Its last turn's place is kept.
    holds: bool,
}

impl<F> Drop for Fair<F> {
    fn drop(&mut self) {
        if self.holds {
            self.member.leave(Duration::ZERO, None);
        }
    }
}

impl<F: Future> Future for Fair<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { member, work, keepers, holds } = &mut *self;
        if !std::mem::replace(holds, false) {
            ready!(member.poll_enter(context));
        }
        let mut turn = Turn { member, since: thread_time(), again: None, keeps: None };
        GAVE_WAY.set(false);
        let outer = KEEPERS.replace(Some(keepers.clone()));
        let _back = Back(outer);
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            if keepers.load(Ordering::Relaxed) > 0 {
                turn.keeps = Some(holds);
            } else if GAVE_WAY.take() {
                turn.again = Some(context.waker());
            }
        }
        drop(turn);
        polled
    }
}

/// Sets who keeps places back to what it was.
struct Back(Option<Arc<AtomicUsize>>);

impl Drop for Back {
    fn drop(&mut self) {
        KEEPERS.set(self.0.take());
    }
}

/// A place in use for one poll; given back also when the work panics.
struct Turn<'a> {
    member: &'a mut Member,
    since: Duration,
    /// Who is told of the next turn, if that can come at once.
    again: Option<&'a Waker>,
    /// Where it is noted that the place is kept after the turn, if it is.
    keeps: Option<&'a mut bool>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let spent = thread_time().saturating_sub(self.since);
        match &mut self.keeps {
            Some(holds) => {
                **holds = true;
                self.member.charge(spent);
            }
            None => self.member.leave(spent, self.again),
        }
    }
}

/// What the calling thread has computed so far.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64};

    use super::*;

    /// Computes about a millisecond of thread time.
    fn compute() {
        let until = thread_time() + Duration::from_millis(1);
        while thread_time() < until {
            std::hint::spin_loop();
        }
    }

    /// Turns that pipelines of tenants get while all of them always want more: `(tenant, weight, pipelines)`.
    async fn turns(share: &Share, tenants: &[(&str, u32, usize)], total: u64) -> Vec<u64> {
        let stop = Arc::new(AtomicBool::new(false));
        let all = Arc::new(AtomicU64::new(0));
        let mut counts = Vec::new();
        let mut tasks = Vec::new();
        for (tenant, weight, pipelines) in tenants {
            let count = Arc::new(AtomicU64::new(0));
            for _ in 0..*pipelines {
                let (stop, count, all) = (stop.clone(), count.clone(), all.clone());
                let work = async move {
                    while !stop.load(Ordering::Relaxed) {
                        compute();
                        count.fetch_add(1, Ordering::Relaxed);
                        all.fetch_add(1, Ordering::Relaxed);
                        give_way().await;
                    }
                };
                tasks.push(tokio::spawn(share.run(tenant, *weight, work)));
            }
            counts.push(count);
        }
        while all.load(Ordering::Relaxed) < total {
            tokio::task::yield_now().await;
        }
        let turns = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.unwrap();
        }
        turns
    }

    #[tokio::test]
    async fn tenants_share_by_weight_however_many_pipelines_they_have() {
        let turns = turns(&Share::new(1), &[("greedy", 1, 20), ("small", 1, 1), ("heavy", 3, 2)], 500).await;
        let part = |of: u64| of as f64 / turns.iter().sum::<u64>() as f64;
        assert!((0.15..0.25).contains(&part(turns[0])), "{turns:?}");
        assert!((0.15..0.25).contains(&part(turns[1])), "{turns:?}");
        assert!((0.55..0.65).contains(&part(turns[2])), "{turns:?}");
    }

    #[tokio::test]
    async fn idle_time_is_not_saved_up() {
        let share = Share::new(1);
        turns(&share, &[("busy", 1, 1)], 200).await;
        let late = turns(&share, &[("busy", 1, 1), ("late", 1, 1)], 200).await;
        assert!(late[0] > 80 && late[1] > 80, "{late:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_on_threads_of_its_own_does_not_lock_the_places_up() {
        for (places, pipelines) in [(1, 1), (2, 2), (2, 1), (4, 8)] {
            let share = Share::new(places);
            let pipeline = |number: usize| {
                let own = share.clone();
                let work = async move {
                    for _ in 0..20 {
                        let mut place = own.place("scripts", 1).await;
                        let script = tokio::task::spawn_blocking(compute);
                        script.await.unwrap();
                        place.charge(Duration::from_millis(1));
                        drop(place);
                        give_way().await;
                    }
                };
                tokio::spawn(share.run(&format!("t{number}"), 1, work))
            };
            let all = futures::future::join_all((0..pipelines).map(pipeline));
            let done = tokio::time::timeout(Duration::from_secs(30), all).await;
            assert!(done.is_ok(), "{places} places, {pipelines} pipelines");
            // One that is dropped while its script runs gives its place back.
            let own = share.clone();
            let cut = share.run("t", 1, async move {
                let _place = own.place("t", 1).await;
                std::future::pending::<()>().await;
            });
            assert!(tokio::time::timeout(Duration::from_millis(20), cut).await.is_err());
            let state = share.0.lock();
            assert_eq!((state.free, state.tenants.len()), (places, 0));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn places_come_back_from_work_that_is_dropped_and_from_work_that_panics() {
        let share = Share::new(1);
        for _ in 0..20 {
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    tokio::spawn(share.run("t", 1, async {
                        loop {
                            compute();
                            tokio::task::yield_now().await;
                        }
                    }))
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(3)).await;
            tasks.iter().for_each(tokio::task::JoinHandle::abort);
            for task in tasks {
                assert!(task.await.unwrap_err().is_cancelled());
            }
        }
        let panics = tokio::spawn(share.run("t", 1, async { panic!("it is a test") }));
        assert!(panics.await.unwrap_err().is_panic());
        let mut place = share.place("t", 1).await;
        assert!(tokio::time::timeout(Duration::from_millis(20), share.place("t", 1)).await.is_err());
        place.charge(Duration::from_millis(5));
        drop(place);
        drop(share.place("t", 1).await);
        let state = share.0.lock();
        assert_eq!((state.free, state.tenants.len()), (1, 0));
    }
}
