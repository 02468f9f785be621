//! How long nothing was acknowledged.

use std::time::Duration;

use deltaforge_engine::sink::Trouble;
use tokio::time::{Instant, timeout_at};

use crate::context::Context;
use crate::error::KafkaSinkError;
use crate::in_flight::InFlight;
use crate::linger::Linger;
use crate::sink::Records;

/// A sink that waits longer says whether it gets on.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Looks whether records get through while the sink waits.
pub(crate) struct Quiet {
    since: Instant,
    seen: u64,
    patience: Duration,
    trouble: Trouble,
    /// `None`: the user says how long records linger.
    linger: Option<Linger>,
}

impl Quiet {
    /// Begins now.
    pub fn new(
        in_flight: &InFlight,
        patience: Duration,
        trouble: &Trouble,
        prompt: Option<&Records>,
    ) -> Self {
        let (seen, trouble, linger) = (in_flight.answered(), trouble.clone(), prompt.map(Linger::new));
        Self { since: Instant::now(), seen, patience, trouble, linger }
    }

    /// Waits until something may have come about, but not for long; an error when there was no progress for too long.
    pub async fn wait(&mut self, context: &Context) -> Result<(), KafkaSinkError> {
        let look = (self.since + self.patience).min(Instant::now() + SIGN_OF_LIFE);
        let changed = async {
            match &mut self.linger {
                Some(linger) => linger.changed(&context.in_flight).await,
                None => context.in_flight.changed().await,
            }
        };
        let changed = timeout_at(look, changed).await.is_ok();
        if self.gets_on(context) || changed { Ok(()) } else { self.check(context) }
    }

    /// The same without waiting.
    pub fn look(&mut self, context: &Context) -> Result<(), KafkaSinkError> {
        if self.gets_on(context) { Ok(()) } else { self.check(context) }
    }

    fn gets_on(&mut self, context: &Context) -> bool {
        let answered = context.in_flight.answered();
        if answered == self.seen {
            return false;
        }
        (self.seen, self.since) = (answered, Instant::now());
        if let Some(linger) = &mut self.linger {
            linger.gets_on();
        }
        self.trouble.works();
        true
    }

    fn check(&self, context: &Context) -> Result<(), KafkaSinkError> {
        if self.since.elapsed() >= self.patience {
            let (after, waits) = (self.patience, String::new());
            return Err(KafkaSinkError::Timeout { after, waits, why: context.why() });
        }
        if let Some(error) = context.down() {
            self.trouble.tell(&error.into());
        }
        Ok(())
    }
}
