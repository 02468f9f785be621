//! How long nothing was acknowledged.

use std::time::Duration;

use deltaforge_engine::sink::Trouble;
use tokio::time::{Instant, timeout, timeout_at};

use crate::context::Context;
use crate::error::KafkaSinkError;
use crate::in_flight::InFlight;
use crate::prompt::send_now;
use crate::sink::Records;

/// A sink that waits longer says whether it gets on.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// While the sink waits and nothing is acknowledged for so long, what lingers is sent.
pub(crate) const LINGER: Duration = Duration::from_millis(5);
/// At the most, while nothing ever is.
const LONGEST_LINGER: Duration = Duration::from_millis(320);
/// How long the producer's thread may take to notice.
const NOTICED_WITHIN: Duration = Duration::from_millis(2);

/// Looks whether records get through while the sink waits.
pub(crate) struct Quiet {
    since: Instant,
    seen: u64,
    patience: Duration,
    trouble: Trouble,
    /// Whose records linger no longer,
    prompt: Option<Records>,
    /// than this.
    linger: Duration,
}

impl Quiet {
    /// Begins now.
    pub fn new(in_flight: &InFlight, patience: Duration, trouble: &Trouble, prompt: Option<Records>) -> Self {
        let (seen, trouble) = (in_flight.acknowledged(), trouble.clone());
        Self { since: Instant::now(), seen, patience, trouble, prompt, linger: LINGER }
    }

    /// Waits until something may have come about, but not for long; an error when there was no progress for too long.
    pub async fn wait(&mut self, context: &Context) -> Result<(), KafkaSinkError> {
        let look = (self.since + self.patience).min(Instant::now() + SIGN_OF_LIFE);
        let changed = timeout_at(look, self.changed(&context.in_flight)).await.is_ok();
        if self.gets_on(context) || changed { Ok(()) } else { self.check(context) }
    }

    /// Waits for a change, and sees to it that nothing lingers meanwhile.
    async fn changed(&mut self, in_flight: &InFlight) {
        let Some(producer) = &self.prompt else { return in_flight.changed().await };
        loop {
            let acknowledged = in_flight.acknowledged();
            if timeout(self.linger, in_flight.changed()).await.is_ok() {
                return;
            }
            if in_flight.acknowledged() == acknowledged {
                self.linger = (self.linger * 2).min(LONGEST_LINGER);
                let producer = producer.clone();
                tokio::task::spawn_blocking(move || send_now(&producer, NOTICED_WITHIN));
            }
        }
    }

    /// The same without waiting.
    pub fn look(&mut self, context: &Context) -> Result<(), KafkaSinkError> {
        if self.gets_on(context) { Ok(()) } else { self.check(context) }
    }

    fn gets_on(&mut self, context: &Context) -> bool {
        let acknowledged = context.in_flight.acknowledged();
        if acknowledged == self.seen {
            return false;
        }
        (self.seen, self.since, self.linger) = (acknowledged, Instant::now(), LINGER);
        self.trouble.works();
        true
    }

    fn check(&self, context: &Context) -> Result<(), KafkaSinkError> {
        if self.since.elapsed() >= self.patience {
            return Err(KafkaSinkError::Timeout { after: self.patience, why: context.why() });
        }
        if let Some(error) = context.down() {
            self.trouble.tell(&error.into());
        }
        Ok(())
    }
}
