//! The thread that a script has to itself, and the idle ones kept for the next script.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use deltaforge_engine::share::begin_thread;
use deltaforge_engine::stage::StageLimits;
use deltaforge_engine::tenants::Tenants;
use deltaforge_model::View;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::clock::ThreadClock;
use crate::console::Owner;
use crate::script::{Engine, Outcome, ScriptError};
use crate::watchdog::Watchdog;

/// Most threads that scripts may keep for good before stages refuse to start new ones.
pub(crate) const MAX_ABANDONED: usize = 4;
/// Most of them that one tenant's scripts may keep before its own stages do: one tenant does not stop the others.
pub(crate) const MAX_ABANDONED_OF_A_TENANT: usize = 3;
/// How often it is looked what an engine holds: it goes through all of that.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// Most idle engines kept for good; each holds about 2.5 MiB. A new one costs 25 ms, and 0.9 MiB that never come back.
const MAX_IDLE: usize = 4;
/// For so long all are kept, up to a number: at a host's start each script is checked first, and needs an engine again when all
/// were.
const FRESH_FOR: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });
const MAX_FRESH: usize = 256;
/// Most of these that are one tenant's.
const MAX_FRESH_OF_A_TENANT: usize = 4;
/// Deep enough for the engine's own bound of 1 MiB on the script's stack, with the host's frames on top.
const STACK_BYTES: usize = 8 << 20;

/// What engines of one kind share: never the tenant, always the heap limit they were made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    pub tenant: String,
    pub mem_mb: u64,
}

/// What one host's scripts share.
pub(crate) struct Workshop {
    tenants: Arc<Tenants>,
    watchdog: Watchdog,
    /// Since when each is idle, the longest first.
    idle: Mutex<Vec<(Worker, Instant)>>,
    /// Somebody looks after those that have been idle for long.
    is_swept: AtomicBool,
    abandoned: Abandoned,
    started: AtomicUsize,
}

/// How many threads scripts keep that would not stop, by tenant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Abandoned(Arc<Mutex<HashMap<String, usize>>>);

impl Abandoned {
    fn add(&self, tenant: &str) {
        *self.0.lock().entry(tenant.to_owned()).or_default() += 1;
    }

    fn remove(&self, tenant: &str) {
        let mut all = self.0.lock();
        if let Some(count) = all.get_mut(tenant) {
            *count -= 1;
            if *count == 0 {
                all.remove(tenant);
            }
        }
    }
}

/// A slice that a script has been through.
#[derive(Debug)]
pub(crate) struct Ran {
    pub result: Result<Outcome, ScriptError>,
    /// Thread time.
    pub took: Duration,
}

/// A script that was loaded, or was not.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub result: Result<(), ScriptError>,
    /// Thread time.
    pub took: Duration,
}

enum Job {
    Load { source: Arc<str>, owner: Owner, limits: StageLimits, reply: oneshot::Sender<Loaded> },
    Compile { source: Arc<str>, limits: StageLimits, reply: oneshot::Sender<Result<(), ScriptError>> },
    Run { view: View, limits: StageLimits, reply: oneshot::Sender<Ran> },
    Retire { workshop: std::sync::Weak<Workshop>, worker: Worker },
}

/// A thread with a script engine. Dropping it ends the thread once it is idle.
#[derive(Debug)]
pub(crate) struct Worker {
    kind: Kind,
    jobs: mpsc::Sender<Job>,
    given_up: Arc<AtomicBool>,
    /// Bytes that its engine held when it was last looked at.
    held: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Workshop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Workshop {
    pub(crate) fn new(tenants: Arc<Tenants>) -> Self {
        Self {
            tenants,
            watchdog: Watchdog::default(),
            idle: Mutex::default(),
            is_swept: AtomicBool::new(false),
            abandoned: Abandoned::default(),
            started: AtomicUsize::new(0),
        }
    }

    /// Whose scripts it runs.
    pub(crate) fn tenants(&self) -> &Arc<Tenants> {
        &self.tenants
    }

    /// An engine that is free, or a new one.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) async fn worker(self: &Arc<Self>, kind: &Kind) -> Result<Worker, ScriptError> {
        let idle = {
            let mut idle = self.idle.lock();
            let at = idle.iter().position(|(worker, _)| worker.kind == *kind);
            at.map(|at| idle.remove(at).0)
        };
        match idle {
            Some(worker) => Ok(worker),
            None => {
                self.started.fetch_add(1, Ordering::Relaxed);
                Worker::start(kind.clone(), self.watchdog.clone(), self.abandoned.clone()).await
            }
        }
    }

    /// How many threads scripts keep that would not stop.
    pub(crate) fn abandoned(&self) -> usize {
        self.abandoned.0.lock().values().sum()
    }

    /// How many of them are a tenant's.
    pub(crate) fn abandoned_of(&self, tenant: &str) -> usize {
        self.abandoned.0.lock().get(tenant).copied().unwrap_or(0)
    }

    /// How many engines were started so far.
    pub(crate) fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }

    /// Keeps an engine for the next script.
    pub(crate) fn keep(self: &Arc<Self>, worker: Worker) {
        let mut idle = self.idle.lock();
        let same = |(one, _): &(Worker, Instant)| one.kind.tenant == worker.kind.tenant;
        if idle.iter().filter(|one| same(one)).count() >= MAX_FRESH_OF_A_TENANT {
            let oldest = idle.iter().position(same);
            oldest.map(|oldest| idle.remove(oldest));
        }
        idle.push((worker, Instant::now()));
        let over = idle.len().saturating_sub(MAX_FRESH);
        idle.drain(..over);
        if idle.len() > MAX_IDLE && !self.is_swept.swap(true, Ordering::Relaxed) {
            let own = Arc::downgrade(self);
            // On no runtime: scripts are checked on one that ends before the host's begin.
            let swept = std::thread::Builder::new().name("script-sweep".to_owned()).spawn(move || {
                loop {
                    std::thread::sleep(FRESH_FOR / 4);
                    let Some(own) = own.upgrade() else { return };
                    if own.let_go() {
                        return;
                    }
                }
            });
            if swept.is_err() {
                self.is_swept.store(false, Ordering::Relaxed);
                idle.truncate(MAX_IDLE);
            }
        }
    }

    /// Ends those that have been idle for long, but for a few. Answers whether no more than those are left.
    fn let_go(&self) -> bool {
        let mut idle = self.idle.lock();
        let more = idle.len().saturating_sub(MAX_IDLE);
        let old = idle.iter().take(more).take_while(|(_, since)| since.elapsed() >= FRESH_FOR).count();
        idle.drain(..old);
        let is_done = idle.len() <= MAX_IDLE;
        if is_done {
            self.is_swept.store(false, Ordering::Relaxed);
        }
        is_done
    }
}

impl Worker {
    async fn start(kind: Kind, watchdog: Watchdog, abandoned: Abandoned) -> Result<Self, ScriptError> {
        let (jobs, queue) = mpsc::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = oneshot::channel();
        let (mem_mb, tenant, flag) = (kind.mem_mb, kind.tenant.clone(), given_up.clone());
        let held = Arc::<AtomicUsize>::default();
        let holds = held.clone();
        let thread = std::thread::Builder::new().name("script".to_owned()).stack_size(STACK_BYTES);
        let scripts = move || {
            let _back = ComeBack { given_up: flag.clone(), tenant, abandoned };
            match Engine::new(mem_mb, watchdog) {
                Ok(engine) => {
                    let _ = ready.send(Ok(()));
                    work(engine, &queue, &flag, &holds);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        };
        begin_thread(thread, scripts)
            .await
            .map_err(|error| ScriptError::Failed(format!("start a thread for the script: {error}")))?;
        is_ready
            .await
            .unwrap_or_else(|_| Err(ScriptError::Failed("the script engine did not start".into())))?;
        Ok(Self { kind, jobs, given_up, held })
    }

    /// Starts loading a script.
    pub(crate) fn load(
        &self,
        source: Arc<str>,
        owner: Owner,
        limits: StageLimits,
    ) -> oneshot::Receiver<Loaded> {
        let (reply, answer) = oneshot::channel();
        // Should the thread be gone, the answer's sender is dropped with the job.
        let _ = self.jobs.send(Job::Load { source, owner, limits, reply });
        answer
    }

    /// Starts compiling a script, without running any of it.
    pub(crate) fn compile(
        &self,
        source: Arc<str>,
        limits: StageLimits,
    ) -> oneshot::Receiver<Result<(), ScriptError>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.jobs.send(Job::Compile { source, limits, reply });
        answer
    }

    /// Starts running the script over a slice.
    pub(crate) fn run(&self, view: View, limits: StageLimits) -> oneshot::Receiver<Ran> {
        let (reply, answer) = oneshot::channel();
        let _ = self.jobs.send(Job::Run { view, limits, reply });
        answer
    }

    /// Bytes that the engine held when it was last looked at: after it loaded a script, and about once a second.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Gives the thread up. It counts until it comes back; then it ends itself.
    pub(crate) fn abandon(self, workshop: &Workshop) {
        workshop.abandoned.add(&self.kind.tenant);
        self.given_up.store(true, Ordering::Release);
    }

    /// Hands an engine whose script is not needed any more back for the next one, once it is idle.
    pub(crate) fn retire(self, workshop: &Arc<Workshop>) {
        let jobs = self.jobs.clone();
        let _ = jobs.send(Job::Retire { workshop: Arc::downgrade(workshop), worker: self });
    }
}

/// Takes a thread that was given up off the count when it ends after all.
struct ComeBack {
    given_up: Arc<AtomicBool>,
    tenant: String,
    abandoned: Abandoned,
}

impl Drop for ComeBack {
    fn drop(&mut self) {
        if self.given_up.load(Ordering::Acquire) {
            self.abandoned.remove(&self.tenant);
            warn!("a script that had been given up has ended");
        }
    }
}

fn work(mut engine: Engine, queue: &mpsc::Receiver<Job>, given_up: &AtomicBool, held: &AtomicUsize) {
    // Nobody waits for it: what was asked is answered by then.
    let look = |engine: &mut Engine| {
        held.store(engine.held(), Ordering::Relaxed);
        Instant::now()
    };
    let mut looked = Instant::now();
    let clock = ThreadClock::current();
    let used = || clock.and_then(ThreadClock::read).unwrap_or_default();
    while let Ok(job) = queue.recv() {
        match job {
            Job::Load { source, owner, limits, reply } => {
                let before = used();
                let result = engine.load(&source, owner, &limits);
                let _ = reply.send(Loaded { result, took: used().saturating_sub(before) });
                looked = look(&mut engine);
            }
            Job::Compile { source, limits, reply } => {
                let _ = reply.send(engine.compile(&source, &limits));
            }
            Job::Run { view, limits, reply } => {
                let before = used();
                let result = engine.process(view, &limits);
                let _ = reply.send(Ran { result, took: used().saturating_sub(before) });
                if looked.elapsed() >= LOOKS_EVERY {
                    looked = look(&mut engine);
                }
            }
            Job::Retire { workshop, worker } => {
                if !engine.reset() {
                    debug!("a script left something behind; its engine is not used again");
                    return;
                }
                match workshop.upgrade() {
                    Some(workshop) => workshop.keep(worker),
                    None => return,
                }
            }
        }
        if given_up.load(Ordering::Acquire) {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn kind(tenant: usize) -> Kind {
        Kind { tenant: format!("t{tenant}"), mem_mb: 64 }
    }

    /// What a host's start does: each script is checked on a runtime that is made for it and gone afterwards.
    #[tokio::test]
    async fn idle_engines_end_also_where_the_first_script_was_checked_before_the_host_ran() {
        let workshop = Arc::new(Workshop::new(Tenants::new(Default::default(), usize::MAX)));
        let own = workshop.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let worker = own.worker(&kind(0)).await.unwrap();
                own.keep(worker);
            });
        })
        .join()
        .unwrap();
        for tenant in 1..2 * MAX_IDLE {
            let worker = workshop.worker(&kind(tenant)).await.unwrap();
            workshop.keep(worker);
        }
        assert_eq!(workshop.idle.lock().len(), 2 * MAX_IDLE);
        let began = Instant::now();
        while workshop.idle.lock().len() > MAX_IDLE {
            assert!(began.elapsed() < FRESH_FOR * 2, "more than {MAX_IDLE} are kept for good");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(workshop.idle.lock().len(), MAX_IDLE);
    }
}
