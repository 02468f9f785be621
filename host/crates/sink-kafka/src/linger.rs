//! How long records linger while the sink waits: the sink says that, and not the client.
//!
//! By its own clock the client's thread would spin: for all the time that something has lingered while a request of the same
//! partition is on its way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::producer::ThreadedProducer;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::context::Context;
use crate::in_flight::InFlight;
use crate::prompt::send_now;
use crate::sink::Records;

/// While the sink waits and nothing is acknowledged for so long, what lingers is sent.
pub(crate) const LINGER: Duration = Duration::from_millis(5);
/// At the most, while nothing ever is.
const LONGEST: Duration = Duration::from_millis(320);
/// How often is looked whether all has been sent and answered. The client's threads take about as long to notice.
const SLICE: Duration = Duration::from_millis(2);
/// For how long brokers that answer nothing are given more.
const PUSHED_FOR: Duration = Duration::from_millis(100);

/// Sends what lingers, for as long as this is held.
pub(crate) struct Linger {
    producer: Weak<ThreadedProducer<Context>>,
    longest: Duration,
    is_wanted: Arc<AtomicBool>,
    push: Option<JoinHandle<()>>,
}

impl Linger {
    pub fn new(producer: &Records) -> Self {
        let is_wanted = Arc::new(AtomicBool::new(true));
        Self { producer: Arc::downgrade(producer), longest: LINGER, is_wanted, push: None }
    }

    /// Waits for a change, and sees to it that nothing lingers meanwhile.
    pub async fn changed(&mut self, in_flight: &Arc<InFlight>) {
        loop {
            let answered = in_flight.answered();
            if timeout(self.longest, in_flight.changed()).await.is_ok() {
                return;
            }
            let is_pushed = self.push.as_ref().is_some_and(|push| !push.is_finished());
            if is_pushed || in_flight.answered() != answered {
                continue;
            }
            let Some(producer) = self.producer.upgrade() else { return in_flight.changed().await };
            self.longest = (self.longest * 2).min(LONGEST);
            let (in_flight, is_wanted) = (in_flight.clone(), self.is_wanted.clone());
            self.push = Some(tokio::task::spawn_blocking(move || push(&producer, &in_flight, &is_wanted)));
        }
    }

    /// Something was acknowledged.
    pub fn gets_on(&mut self) {
        self.longest = LINGER;
    }
}

impl Drop for Linger {
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::Relaxed);
    }
}

/// Sends all that was handed over. A request is of one partition, and few are on their way at a time: with many partitions that
/// takes several rounds.
fn push(producer: &Records, in_flight: &InFlight, is_wanted: &AtomicBool) {
    let (began, goal) = (Instant::now(), in_flight.handed_over_ever());
    loop {
        send_now(producer, SLICE);
        let is_done = in_flight.answered() >= goal || in_flight.is_broken();
        if is_done || !is_wanted.load(Ordering::Relaxed) || began.elapsed() >= PUSHED_FOR {
            return;
        }
    }
}
