//! Stages and envelopes that follow: versions of their plugins that are published later are swapped in by the host
//! itself.
//!
//! A stage follows what its reference means: `mask@1` leads to every newer 1.x. Each version is tried once, on
//! probation as any other swap: one that was taken back, by the host or by a person, is not put in place again; the
//! stage waits for a newer one. A stage that somebody gave something else, which its reference does not mean, follows
//! again once that is gone. The envelope of a sink does the same, whatever other sinks have.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use semver::Version;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::catalog::{PluginCatalog, PluginId};
use crate::control::{Change, Control, ControlError};
use crate::retry::Backoff;
use crate::swap::{BY_ITSELF, Generation, Note, Part, SwapKind, Swappable};

/// How often it is looked for new versions.
const EVERY: Duration = Duration::from_secs(1);
/// How long the next try waits after a swap that failed, at first and at most.
const RETRIES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A stage or an envelope that follows new versions of its plugin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Followed {
    /// The pipeline's tenant.
    pub tenant: String,
    /// The pipeline.
    pub pipeline: String,
    /// Which of the two it is.
    pub part: Part,
    /// The stage, or the sink whose envelope it is.
    pub id: String,
    /// What it follows: `mask@1`.
    pub reference: String,
}

impl Followed {
    fn what(&self) -> Swappable<'_> {
        self.part.of(&self.id)
    }
}

/// What there is to do about the newest version that a reference means.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is to be swapped in.
    Take,
    /// Nothing, until there is a newer one.
    Wait,
    /// Nothing as long as it runs what it runs now.
    LookAgain,
}

/// Swaps new versions into what follows, for as long as the host runs.
pub async fn follow(control: Control, plugins: Arc<dyn PluginCatalog>) {
    let looks = Arc::<Mutex<HashMap<Followed, Look>>>::default();
    let mut swaps = JoinSet::new();
    loop {
        tokio::time::sleep(EVERY).await;
        while swaps.try_join_next().is_some() {}
        let followed = control.followed();
        looks.lock().retain(|one, _| followed.contains(one));
        let mut newest = HashMap::new();
        for one in followed {
            let key = (one.tenant.clone(), one.reference.clone());
            if !newest.contains_key(&key) {
                newest.insert(key.clone(), plugins.newest(&one.reference, &one.tenant).await);
            }
            // A registry that cannot be read is told by whoever needs it; here there is always another time.
            let Some(Ok(Some(newest))) = newest.get(&key) else { continue };
            if !looks.lock().entry(one.clone()).or_default().begin(newest) {
                continue;
            }
            let (control, plugins, newest, looks) =
                (control.clone(), plugins.clone(), newest.clone(), looks.clone());
            swaps.spawn(async move {
                let ended = look(&control, &*plugins, &one, &newest).await;
                if let Some(look) = looks.lock().get_mut(&one) {
                    look.end(&one, newest, ended);
                }
            });
        }
    }
}

/// What is known of a stage or an envelope that follows.
struct Look {
    /// The newest version about which nothing is left to do.
    settled: Option<PluginId>,
    at_work: bool,
    /// Not before this.
    not_before: Option<Instant>,
    backoff: Backoff,
    /// The trouble that was told last: not every second.
    told: String,
}

impl Default for Look {
    fn default() -> Self {
        let backoff = Backoff::new(RETRIES.0, RETRIES.1);
        Self { settled: None, at_work: false, not_before: None, backoff, told: String::new() }
    }
}

impl Look {
    /// Whether there may be something to do about the newest version now.
    fn begin(&mut self, newest: &PluginId) -> bool {
        let is_due = self.not_before.is_none_or(|at| at <= Instant::now());
        if self.at_work || !is_due || self.settled.as_ref() == Some(newest) {
            return false;
        }
        self.at_work = true;
        true
    }

    fn end(&mut self, one: &Followed, newest: PluginId, ended: Result<Step, ControlError>) {
        self.at_work = false;
        match ended {
            Ok(Step::LookAgain) => {}
            Ok(Step::Wait | Step::Take) => {
                (self.settled, self.not_before) = (Some(newest), None);
                self.backoff.reset();
                self.told.clear();
            }
            Err(error) => {
                self.not_before = Some(Instant::now() + self.backoff.next());
                let trouble = format!("{newest}: {error}");
                if self.told != trouble {
                    let Followed { pipeline, reference, .. } = one;
                    warn!(pipeline, part = %one.what(), follows = reference, newest = %newest, %error,
                        "a new version cannot be swapped in; what runs goes on, and it is tried again");
                    self.told = trouble;
                }
            }
        }
    }
}

/// Looks at what runs, and swaps the newest version in if that is what it waits for.
async fn look(
    control: &Control,
    plugins: &dyn PluginCatalog,
    one: &Followed,
    newest: &PluginId,
) -> Result<Step, ControlError> {
    let (Followed { pipeline, reference, .. }, part) = (one, one.what());
    if !control.is_at_work(pipeline)? {
        return Ok(Step::LookAgain);
    }
    let history = control.history(pipeline, part).await?;
    let step = step(&history, newest, |id| plugins.could_mean(reference, id));
    if step == Step::Take {
        let change = Change::Plugin { plugin: Some(reference.clone()), config: None };
        let note = Note::new(BY_ITSELF, format!("follows {reference}")).of(SwapKind::Follow);
        let swapped = control.swap(pipeline, part, change, 1, note).await?;
        info!(pipeline, %part, follows = reference, current = swapped.current.version.plugin, "followed");
    }
    Ok(step)
}

/// What to do about the newest version, by what ran and runs, newest first.
fn step(history: &[Generation], newest: &PluginId, is_meant: impl Fn(&PluginId) -> bool) -> Step {
    // Before its first start it takes the newest anyway.
    let Some(now) = history.first() else { return Step::LookAgain };
    let Ok(now) = now.version.plugin.parse::<PluginId>() else { return Step::LookAgain };
    if !is_meant(&now) {
        return Step::LookAgain;
    }
    let version = |id: &PluginId| Version::parse(&id.version).ok();
    let plugin = newest.to_string();
    let was_there = history.iter().any(|generation| generation.version.plugin == plugin);
    if was_there || version(newest) <= version(&now) { Step::Wait } else { Step::Take }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::StageVersion;

    fn ran(plugin: &str, number: u64) -> Generation {
        Generation {
            generation: number,
            version: StageVersion { plugin: plugin.to_owned(), digest: plugin.to_owned() },
            code: "mask@1".to_owned(),
            config: serde_json::Value::Null,
            from: None,
            at_ms: 0,
            note: Note::default(),
            probation: 0,
            instead_of: None,
        }
    }

    #[test]
    fn a_version_is_taken_once_and_only_when_it_is_newer() {
        let is_mask_1 = |id: &PluginId| id.name == "mask" && id.version.starts_with("1.");
        let after = |newest: &str, plugins: &[&str]| {
            let numbers = (1..=plugins.len() as u64).rev();
            let history: Vec<Generation> =
                plugins.iter().zip(numbers).map(|(plugin, number)| ran(plugin, number)).collect();
            step(&history, &newest.parse().expect("a version"), is_mask_1)
        };
        assert_eq!(after("mask@1.1.0", &[]), Step::LookAgain, "it takes it when it starts");
        assert_eq!(after("mask@1.1.0", &["mask@1.0.0"]), Step::Take);
        assert_eq!(after("mask@1.10.0", &["mask@1.9.0"]), Step::Take);
        assert_eq!(after("mask@1.1.0", &["mask@1.1.0"]), Step::Wait, "it runs");
        assert_eq!(
            after("mask@1.1.0", &["mask@1.0.0", "mask@1.1.0", "mask@1.0.0"]),
            Step::Wait,
            "taken back"
        );
        assert_eq!(after("mask@1.2.0", &["mask@1.0.0", "mask@1.1.0", "mask@1.0.0"]), Step::Take);
        assert_eq!(after("mask@1.1.0", &["mask@1.2.0", "mask@1.0.0"]), Step::Wait, "1.2.0 was deleted");
        assert_eq!(after("mask@1.3.0", &["mask@2.0.0", "mask@1.2.0"]), Step::LookAgain, "somebody's choice");
        assert_eq!(after("mask@1.3.0", &["./mask.wasm", "mask@1.2.0"]), Step::LookAgain);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_again_after_a_while() {
        let one = Followed {
            tenant: "acme".to_owned(),
            pipeline: "orders".to_owned(),
            part: Part::Stage,
            id: "mark".to_owned(),
            reference: "mask@1".to_owned(),
        };
        let (newest, newer): (PluginId, PluginId) =
            ("mask@1.1.0".parse().expect("a version"), "mask@1.2.0".parse().expect("a version"));
        let mut look = Look::default();
        assert!(look.begin(&newest) && !look.begin(&newest), "one try at a time");
        look.end(&one, newest.clone(), Err(ControlError::NothingBefore("it".to_owned())));
        assert!(!look.begin(&newest));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(look.begin(&newest));
        look.end(&one, newest.clone(), Ok(Step::Take));
        assert!(!look.begin(&newest) && look.begin(&newer));
    }
}
