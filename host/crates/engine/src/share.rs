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
//!
//! Fair shares alone leave those waiting who want little: a thread that computes is taken from the processor when its
//! time slice ends, which may be some milliseconds. So a tenant that lately used more than half of its share takes its
//! turns in the [`background`], whose threads have a lower priority.

mod background;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use metrics::{Counter, counter};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

pub use background::{Demotable, begin_thread};

/// Thread time that tenants used for stages and encoding.
const CPU_MILLISECONDS: &str = "deltaforge_tenant_cpu_milliseconds_total";

/// The compute threads of a host. Cheap to clone.
#[derive(Clone)]
pub struct Share(Arc<Mutex<State>>);

struct State {
    places: usize,
    /// Places that nobody holds, by [`Row`].
    free: [usize; 2],
    /// The account of the least served tenant that waits: where newcomers begin.
    floor: u64,
    tenants: HashMap<Arc<str>, Account>,
    /// The weights of all tenants.
    weights: u64,
    /// Turns that wait, those included that are not wanted any more.
    waiting: usize,
    /// The threads of the background, where there are any.
    background: Option<Handle>,
    /// Until then nobody is sent there: the machine has no time left for it.
    starved_until: Option<Instant>,
    /// For how long it was found to be so.
    starved_for: Duration,
}

/// Which threads a turn is taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Front,
    Back,
}

struct Account {
    weight: u32,
    /// Pipelines that are on it.
    members: usize,
    /// Thread time used, in nanoseconds over the weight.
    used: u64,
    waiting: VecDeque<Arc<Ticket>>,
    /// Seconds of thread time used lately: what is longer ago than [`LATELY`] counts little.
    lately: f64,
    /// When that was so.
    lately_at: Instant,
    /// Nanoseconds not yet counted, since the metric has whole milliseconds.
    uncounted: u64,
    milliseconds: Counter,
}

/// A turn that waits for a place.
struct Ticket {
    state: AtomicU8,
    /// May be taken in the background.
    demotable: bool,
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

/// States of a ticket. One that has a place says in which row.
const WAITS: u8 = 0;
const GONE: u8 = 1;
const IN_FRONT: u8 = 2;
const IN_THE_BACK: u8 = 3;

/// The time over which a tenant's use is compared with its share.
const LATELY: Duration = Duration::from_secs(2);
/// Who used more than this part of its share lately is sent to the background.
const MODEST: f64 = 0.5;
/// How long nobody is sent there after it has been found to be starved; twice as long each time that it still is.
const STARVED_FOR: Duration = Duration::from_secs(1);
/// And no longer than this.
const STARVED_AT_MOST: Duration = Duration::from_secs(60);

impl Share {
    /// Shares `places` threads.
    pub fn new(places: usize) -> Self {
        let places = places.max(1);
        let state = State {
            places,
            free: [places; 2],
            floor: 0,
            tenants: HashMap::new(),
            weights: 0,
            waiting: 0,
            background: None,
            starved_until: None,
            starved_for: STARVED_FOR,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// From now on there is a background. As many threads as there are places, which the system should let run
    /// behind others.
    pub fn set_background(&self, threads: Handle) {
        self.0.lock().background = Some(threads);
    }

    /// Whether it is shared by more than one tenant.
    pub fn are_many(&self) -> bool {
        self.0.lock().tenants.len() > 1
    }

    /// Runs `work` on the account of `tenant`, whose turns count by `weight`.
    pub fn run<F: Future>(&self, tenant: &str, weight: u32, work: F) -> Fair<F> {
        let member = Member::new(self, tenant, weight, false);
        Fair { member, work: Box::pin(work), keepers: Arc::default(), holds: false }
    }

    /// The same for work that may be moved to the background and back between its turns.
    pub fn run_demotable<F: Future>(&self, tenant: &str, weight: u32, work: F) -> Demotable<F> {
        let member = Member::new(self, tenant, weight, true);
        Demotable::new(Fair { member, work: Box::pin(work), keepers: Arc::default(), holds: false })
    }

    /// A place for work on a thread of its own: that of the turn in which this is polled. Outside of any, it waits for
    /// one.
    pub async fn place(&self, tenant: &str, weight: u32) -> Place {
        let mut member = Member::new(self, tenant, weight, false);
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
    fn enter(&mut self, tenant: &str, demotable: bool) -> Option<Row> {
        let row = self.row(self.tenants.get(tenant)?, demotable, Instant::now());
        if self.free[row as usize] == 0 {
            return None;
        }
        self.free[row as usize] -= 1;
        self.begin(tenant);
        Some(row)
    }

    /// Where the next turn of a tenant is taken.
    fn row(&self, account: &Account, demotable: bool, now: Instant) -> Row {
        let alone = self.tenants.len() < 2;
        if !demotable || alone || self.background.is_none() || self.starved_until.is_some_and(|end| now < end)
        {
            return Row::Front;
        }
        let share = self.places as f64 * f64::from(account.weight) / self.weights as f64;
        let is_modest = account.lately(now) <= MODEST * share * LATELY.as_secs_f64();
        if is_modest { Row::Front } else { Row::Back }
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
    fn wait(&mut self, tenant: &str, demotable: bool, waker: Waker) -> Arc<Ticket> {
        let ticket = Arc::new(Ticket { state: AtomicU8::new(WAITS), demotable, waker: Mutex::new(waker) });
        self.waiting += 1;
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
            let now = Instant::now();
            account.lately = account.lately(now) + spent.as_secs_f64();
            account.lately_at = now;
            account.uncounted += nanos;
            account.milliseconds.increment(account.uncounted / 1_000_000);
            account.uncounted %= 1_000_000;
        }
    }

    /// Takes a place back, and gives to whoever is next what is free.
    fn hand_on(&mut self, row: Row) {
        self.free[row as usize] += 1;
        let now = Instant::now();
        while self.waiting > 0 {
            let next = self.tenants.iter().filter_map(|(tenant, account)| {
                let row = self.row(account, account.waiting.front()?.demotable, now);
                (self.free[row as usize] > 0).then_some((account.used, tenant, row))
            });
            let Some((used, tenant, row)) = next.min_by_key(|(used, ..)| *used) else { return };
            let tenant = tenant.clone();
            // Who waits in the other row may have had less, and keeps its claim.
            self.floor = self.floor.max(self.least_waiting().map_or(used, |least| least.min(used)));
            let Some(ticket) = self.tenants.get_mut(&tenant).and_then(|one| one.waiting.pop_front()) else {
                return;
            };
            self.waiting -= 1;
            let place = if row == Row::Front { IN_FRONT } else { IN_THE_BACK };
            // One whose turn is not wanted any more leaves the place to the next.
            if ticket.state.compare_exchange(WAITS, place, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                self.free[row as usize] -= 1;
                ticket.waker.lock().wake_by_ref();
            }
        }
    }
}

impl Account {
    /// Seconds of thread time used lately.
    fn lately(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.lately_at);
        self.lately * (-since.as_secs_f64() / LATELY.as_secs_f64()).exp()
    }
}

impl Ticket {
    /// The place that it was given.
    fn place(state: u8) -> Option<Row> {
        match state {
            IN_FRONT => Some(Row::Front),
            IN_THE_BACK => Some(Row::Back),
            _ => None,
        }
    }
}

/// Who takes turns on a tenant's account, one at a time.
struct Member {
    share: Share,
    tenant: Arc<str>,
    ticket: Option<Arc<Ticket>>,
    /// Its turns may be taken in the background.
    demotable: bool,
    /// Where its place is, while it has one.
    row: Row,
}

impl Member {
    fn new(share: &Share, tenant: &str, weight: u32, demotable: bool) -> Self {
        let tenant: Arc<str> = tenant.into();
        let mut state = share.0.lock();
        let State { tenants, weights, floor, .. } = &mut *state;
        let account = tenants.entry(tenant.clone()).or_insert_with(|| Account {
            weight: 0,
            members: 0,
            used: *floor,
            waiting: VecDeque::new(),
            lately: 0.0,
            lately_at: Instant::now(),
            uncounted: 0,
            milliseconds: counter!(CPU_MILLISECONDS, "tenant" => tenant.to_string()),
        });
        *weights = *weights + u64::from(weight.max(1)) - u64::from(account.weight);
        account.weight = weight.max(1);
        account.members += 1;
        drop(state);
        Self { share: share.clone(), tenant, ticket: None, demotable, row: Row::Front }
    }

    /// Takes a place, now or when there is one.
    fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.share.0.lock();
        match &self.ticket {
            Some(ticket) => {
                ticket.waker.lock().clone_from(context.waker());
                let Some(row) = Ticket::place(ticket.state.load(Ordering::Acquire)) else {
                    return Poll::Pending;
                };
                state.begin(&self.tenant);
                self.ticket = None;
                self.row = row;
            }
            None => match state.enter(&self.tenant, self.demotable) {
                Some(row) => self.row = row,
                None => {
                    let waker = context.waker().clone();
                    self.ticket = Some(state.wait(&self.tenant, self.demotable, waker));
                    return Poll::Pending;
                }
            },
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
            self.ticket = Some(state.wait(&self.tenant, self.demotable, waker.clone()));
        }
        state.hand_on(self.row);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.share.0.lock();
        if let Some(ticket) = self.ticket.take()
            && let Some(row) = Ticket::place(ticket.state.swap(GONE, Ordering::AcqRel))
        {
            state.hand_on(row);
        }
        if let Some(account) = state.tenants.get_mut(&self.tenant) {
            account.members -= 1;
            if account.members == 0 {
                let (weight, waiting) = (account.weight, account.waiting.len());
                state.weights -= u64::from(weight);
                state.waiting -= waiting;
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
        ready!(self.poll_enter(context));
        self.turn(context)
    }
}

impl<F: Future> Fair<F> {
    /// Takes a place, unless the last one was kept.
    fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.holds { Poll::Ready(()) } else { self.member.poll_enter(context) }
    }

    /// Takes a turn in the place that was entered.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { member, work, keepers, holds } = self;
        *holds = false;
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
