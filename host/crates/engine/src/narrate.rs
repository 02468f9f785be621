//! What holds a pipeline up, in the log: once when it begins, once when it is over. Never once a try.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::status::{Failure, Shared, State};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);

/// Trouble that was away for so long is over. What comes again sooner is still the same.
const OVER_AFTER: Duration = Duration::from_secs(5);

/// A time of trouble of one kind or several.
#[derive(Debug)]
pub(crate) struct Episode {
    began: Instant,
    last: Instant,
    /// The codes that were said.
    said: BTreeSet<String>,
}

impl Default for Episode {
    fn default() -> Self {
        Self { began: Instant::now(), last: Instant::now(), said: BTreeSet::new() }
    }
}

impl Episode {
    /// It goes on, or goes on again. Answers whether this kind of it is news.
    pub fn goes_on(&mut self, code: &str) -> bool {
        self.last = Instant::now();
        !self.said.contains(code) && self.said.insert(code.to_owned())
    }

    /// How long it lasted, once it is over.
    pub fn over(&self) -> Option<Duration> {
        (self.last.elapsed() >= OVER_AFTER).then(|| self.last - self.began)
    }
}

/// Ends an episode that is over. Answers how long it lasted.
pub(crate) fn end(episode: &mut Option<Episode>) -> Option<Duration> {
    let lasted = episode.as_ref()?.over()?;
    *episode = None;
    Some(lasted)
}

/// What to ask for more about a code.
pub(crate) fn help(code: &str) -> String {
    format!("deltaforge explain {code}")
}

/// Tells of a pipeline for as long as it is polled.
pub(crate) async fn narrate(shared: Arc<Shared>) {
    let mut narrator = Narrator { shared, waits: BTreeMap::new(), held_up: None };
    loop {
        tokio::time::sleep(EVERY).await;
        narrator.look();
    }
}

struct Narrator {
    shared: Arc<Shared>,
    /// By code. Not by wait: each batch that meets a full queue waits anew.
    waits: BTreeMap<String, Option<Episode>>,
    /// It counts as failed, though it runs.
    held_up: Option<Episode>,
}

impl Narrator {
    fn look(&mut self) {
        for (sink, lasted) in self.shared.recovered_sinks() {
            info!(sink, failed_seconds = lasted.as_secs_f64(), "sink works again");
        }
        for Failure { code, message, .. } in self.shared.waits().worth_telling() {
            let episode = self.waits.entry(code.clone()).or_default().get_or_insert_default();
            if episode.goes_on(&code) {
                warn!(code, error = message, help = help(&code), "pipeline waits");
            }
        }
        self.waits.retain(|code, episode| {
            let lasted = end(episode);
            if let Some(lasted) = lasted {
                info!(code, waited_seconds = lasted.as_secs_f64(), "pipeline no longer waits");
            }
            lasted.is_none()
        });
        let status = self.shared.snapshot();
        match (self.shared.held_up(), status.status) {
            (Some(Failure { code, message, .. }), State::Failed) => {
                if self.held_up.get_or_insert_default().goes_on(&code) {
                    let help = help(&code);
                    error!(code, error = message, help, "pipeline is held up and counts as failed");
                }
            }
            // What it waits for was told; that it does not get on was asked for.
            (Some(_), State::Paused) => {}
            (_, State::Running | State::Paused) => {
                if let Some(lasted) = end(&mut self.held_up) {
                    info!(held_up_seconds = lasted.as_secs_f64(), "pipeline goes on");
                }
            }
            // That has lines of its own.
            (_, State::Starting | State::Stopped | State::Failed) => {}
        }
    }
}
