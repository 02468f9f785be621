//! A disk under the spills that takes long: whoever waits for it is one sink, and no thread that serves the others.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::disk::{Disk, DiskFile, Open, RealDisk, Stat};
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::PipelinePlan;
use deltaforge_engine::sink::{Delivery, Durable, Sink, SinkError};
use parking_lot::{Condvar, Mutex};

use crate::parts::{Numbers, Shelf, onto, opens};
use crate::setup::{self, checkpointed, within};

/// Longer than any test wants to wait.
const STUCK: Duration = Duration::from_secs(4);

/// Whether syncs end, and how many wait for that.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<(bool, usize)>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock();
        state.1 += 1;
        let until = Instant::now() + STUCK;
        while !state.0 && !self.opened.wait_until(&mut state, until).timed_out() {}
    }

    fn open(&self) {
        self.state.lock().0 = true;
        self.opened.notify_all();
    }
}

#[derive(Debug, Default)]
struct SlowDisk(Arc<Gate>);

struct SlowFile(Box<dyn DiskFile>, Arc<Gate>);

impl Disk for SlowDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SlowFile(RealDisk.open(path, how)?, self.0.clone())))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        RealDisk.stat(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn fsync_dir(&self, dir: &Path, why: &'static str) -> io::Result<()> {
        RealDisk.fsync_dir(dir, why)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send>>> {
        RealDisk.lock(path)
    }
}

impl DiskFile for SlowFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, at)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn stat(&self) -> io::Result<Stat> {
        self.0.stat()
    }

    fn fdatasync(&mut self, why: &'static str) -> io::Result<()> {
        self.1.pass();
        self.0.fdatasync(why)
    }
}

/// Takes its time for each delivery.
struct Slow(u64);

#[async_trait]
impl Sink for Slow {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.0 = delivery.seq;
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: self.0, state: None })
    }
}

#[tokio::test]
async fn a_slow_disk_keeps_no_thread_from_its_work() {
    over_a_slow_disk(false).await;
}

#[tokio::test]
async fn a_slow_disk_keeps_no_thread_from_its_work_when_its_pipeline_stops() {
    over_a_slow_disk(true).await;
}

async fn over_a_slow_disk(stops: bool) {
    let (mut services, _spill) = setup::services(Duration::from_millis(300));
    let gate: Arc<Gate> = Arc::default();
    services.spill_disk = Arc::new(SlowDisk(gate.clone()));
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let plan = PipelinePlan {
        sinks: vec![
            setup::sink("p", "s0", onto(&good), true),
            setup::sink("p", "s1", opens(|_| Ok(Box::new(Slow(0)))), false),
        ],
        policy: CommitPolicy::Required,
        ..setup::plan("p", &numbers)
    };
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(500);
    within("a batch is being written to the spill", async || gate.state.lock().1 > 0).await;
    if stops {
        let began = Instant::now();
        pipeline.stop().await;
        assert!(began.elapsed() < STUCK / 2, "a thread waited for the disk: {:?}", began.elapsed());
        pipeline.resume();
    }
    // The sink goes on with what its queue holds, and its checkpoints are stored.
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let before = Instant::now();
        tokio::time::sleep(Duration::from_millis(20)).await;
        longest = longest.max(before.elapsed());
    }
    gate.open();
    assert!(longest < STUCK / 2, "a thread waited for the disk: {longest:?}");
    checkpointed(&pipeline, "s1", 500).await;
    pipeline.shutdown().await;
}
