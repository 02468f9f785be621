//! A published version tried on sample events, for whoever asks over the API.
//!
//! The call that counts is the one in the host's own engine, under a stage's limits. A second one, in an engine that
//! counts instructions, says what it burnt; that engine is slower, so its times are nobody's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use deltaforge_engine::catalog::{CatalogError, PluginId, Sample, TrialFailure, Tried};
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::stage::StageLimits;
use deltaforge_engine::tenants::Seat;
use deltaforge_model::View;
use deltaforge_sdk::testing::{Found, Golden};
use serde_json::{Map, Value};

use crate::error::{FAILED, LOAD};
use crate::factory::{check_limits, off_thread};
use crate::limits::{self, DEFAULT_LIMITS};
use crate::plugin::PluginKind;
use crate::publish::WasmCatalog;
use crate::runtime::Runtime;
use crate::transcript::Transcript;
use crate::trial::{Trial, TrialError, TrialSpec};

/// Most events of a sample: what a stage is shown at once.
const MAX_EVENTS: usize = 500;
/// Most bytes of what comes out, before they are JSON.
const MAX_OUTPUT: usize = 8 << 20;
/// A formatter answered another number of bodies than it was shown rows.
const COUNT: &str = "formatter_count";
/// How much slower than the host's own an engine that counts may be.
const METERED_SLOWER: u64 = 4;

/// What one call came to.
struct Ended {
    output: Map<String, Value>,
    micros: u64,
}

impl WasmCatalog {
    /// Runs a version on a sample.
    pub(crate) async fn tried(&self, id: &PluginId, sample: Sample) -> Result<Tried, CatalogError> {
        let (grants, component) = self.component(id).await?;
        let asked = check_limits(sample.limits).map_err(CatalogError::Sample)?;
        let bounded = self.tenants.stage_limits(&sample.tenant, asked, DEFAULT_LIMITS);
        let limits = bounded.map_err(|reached| CatalogError::Sample(limits::refused(reached)))?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let stage = format!("trial/{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let seat = Seat { pipeline: String::new(), stage };
        let seat = self.tenants.seat(&sample.tenant, seat, limits.mem_mb);
        let _seat = seat.map_err(|reached| CatalogError::Limit(reached.to_string()))?;
        let (input, tenant) = (sample.input, sample.tenant.clone());
        let read = off_thread(move || {
            let golden = Golden::parse(&input).map_err(|problem| misfit(&problem))?;
            let events = golden.batch.events();
            if events == 0 || events > MAX_EVENTS {
                let text = format!(
                    "there are {events}, and a trial takes from 1 to {MAX_EVENTS}: what a stage is shown at once"
                );
                return Err(refused("events", text));
            }
            let batch = golden.batch.of_tenant(&tenant).try_build().map_err(|problem| misfit(&problem))?;
            Ok((Arc::new(batch), golden.config))
        });
        let (batch, config) = read.await?;
        let spec = TrialSpec {
            config,
            limits: Some(limits),
            grants: sample.grants.unwrap_or(grants),
            tenant: sample.tenant.clone(),
            transcript: Some(Transcript::default()),
        };
        let catalog = self.clone();
        let work = async move { catalog.in_turn(&component, spec, View::all(batch), limits).await };
        self.compute(&sample.tenant, work).await
    }

    /// A version's component, and the grants it cannot do without.
    async fn component(&self, id: &PluginId) -> Result<(Vec<String>, Arc<[u8]>), CatalogError> {
        let (version, wanted) = (crate::publish::version_of(id)?, id.clone());
        self.with_registry(move |registry| {
            let tenant = wanted.tenant.as_deref();
            let resolved = registry.exactly(tenant, &wanted.name, &version)?;
            let grants = registry.version(tenant, &wanted.name, &version)?.manifest.grants;
            Ok((grants, Arc::from(&*resolved.bytes)))
        })
        .await
    }

    /// Both calls, one after the other.
    async fn in_turn(
        &self,
        component: &[u8],
        spec: TrialSpec,
        view: View,
        limits: StageLimits,
    ) -> Result<Tried, CatalogError> {
        let transcript = spec.transcript.clone().unwrap_or_default();
        let mut tried = Tried::default();
        let opened = self.runtime.trial(component, spec.clone()).await;
        let ended = match opened {
            Ok(mut trial) => {
                let began = Instant::now();
                let ended = call(&mut trial, &view).await;
                tried.micros = micros(began.elapsed());
                tried.memory_bytes = trial.memory_bytes() as u64;
                tried.cpu_micros = micros(trial.ran());
                trial.tell_left_out();
                ended
            }
            Err(error) => Err(error),
        };
        (tried.logs, tried.logs_left_out) = transcript.take();
        match ended {
            Ok(Ended { output, micros }) => (tried.output, tried.micros) = (output, micros),
            Err(TrialError::Config(problems)) => return Err(CatalogError::Sample(problems)),
            Err(error) => {
                tried.failure = Some(failure(error));
                return Ok(tried);
            }
        }
        let slower = StageLimits {
            cpu_ms: limits.cpu_ms.saturating_mul(METERED_SLOWER),
            timeout_ms: limits.timeout_ms.saturating_mul(METERED_SLOWER),
            ..limits
        };
        tried.fuel = self.burnt(component, TrialSpec { limits: Some(slower), ..spec }, &view).await?;
        Ok(tried)
    }

    /// The fuel of the same call once more.
    async fn burnt(
        &self,
        component: &[u8],
        spec: TrialSpec,
        view: &View,
    ) -> Result<Option<u64>, CatalogError> {
        let metered = self.metered().await?;
        let Ok(mut trial) = metered.trial(component, spec).await else { return Ok(None) };
        let before = trial.burnt().unwrap_or_default();
        let is_whole = call(&mut trial, view).await.is_ok();
        Ok(trial.burnt().filter(|_| is_whole).map(|after| after - before))
    }

    /// The engine that counts, made when somebody first wants it.
    async fn metered(&self) -> Result<Arc<Runtime>, CatalogError> {
        let (runtime, held) = (self.runtime.clone(), self.metered.clone());
        let made = off_thread(move || {
            let mut held = held.lock();
            match &*held {
                Some(metered) => Ok(metered.clone()),
                None => runtime.metered_beside().map(|metered| held.insert(metered).clone()),
            }
        });
        made.await.map_err(|error| CatalogError::Storage(format!("start an engine that counts: {error}")))
    }
}

/// One call with all events.
async fn call(trial: &mut Trial, view: &View) -> Result<Ended, TrialError> {
    let began = Instant::now();
    let found = match trial.kind() {
        PluginKind::Processor => {
            let edits = trial.process(view).await?;
            let took = began.elapsed();
            let mut batch = view.batch().clone();
            edits.apply(&mut batch, "trial");
            fits(batch.byte_size())?;
            (Found::of_batch(&batch), took)
        }
        PluginKind::Formatter => {
            let tx_end: Vec<bool> = view.events().map(|event| event.is_last()).collect();
            let bodies = trial.format(view, &tx_end).await?;
            let took = began.elapsed();
            if bodies.len() != view.len() {
                let message = format!("{} bodies for {} events", bodies.len(), view.len());
                return Err(TrialError::Ended { code: COUNT, message, functions: None });
            }
            fits((0..view.len()).filter_map(|row| bodies.get(row)).map(<[u8]>::len).sum())?;
            let rejects = bodies.rejects().iter().map(|(_, reason)| reason.clone()).collect();
            (Found::of_bodies((0..view.len()).map(|row| bodies.get(row)), rejects), took)
        }
    };
    let (found, took) = found;
    Ok(Ended { output: found.members().clone(), micros: micros(took) })
}

fn fits(bytes: usize) -> Result<(), TrialError> {
    if bytes <= MAX_OUTPUT {
        return Ok(());
    }
    let text =
        format!("what comes out has {bytes} bytes, and an answer holds {MAX_OUTPUT}: try fewer events");
    Err(TrialError::Config(vec![ConfigError::new("events", text)]))
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A sample that does not fit, at the place that its problem begins with. Which line it is says nothing: the sample was put together.
fn misfit(problem: &str) -> CatalogError {
    let problem = problem.rsplit_once(" at line ").map_or(problem, |(problem, _)| problem);
    match problem.split_once(": ").filter(|(place, _)| place.starts_with("events[")) {
        Some((place, problem)) => refused(place, problem),
        None => refused("", problem),
    }
}

fn refused(path: &str, problem: impl Into<String>) -> CatalogError {
    CatalogError::Sample(vec![ConfigError::new(path, problem)])
}

fn failure(error: TrialError) -> TrialFailure {
    match error {
        TrialError::Ended { code, message, functions } => {
            let functions = functions.map(|all| all.split(" < ").map(str::to_owned).collect());
            TrialFailure { code, message, functions: functions.unwrap_or_default() }
        }
        TrialError::Failed(message) => TrialFailure { code: FAILED, message, functions: Vec::new() },
        other => TrialFailure { code: LOAD, message: other.to_string(), functions: Vec::new() },
    }
}
