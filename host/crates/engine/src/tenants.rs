//! What tenants may use, and what they use: ceilings for the limits of stages, how many stages and how much memory for
//! them, lines in the log, bytes in the registry, and a share of the compute threads.
//!
//! The host's bound wins over the tenant's, the tenant's over the stage's. Whatever is refused is refused with the name
//! of the limit that did it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::error::ConfigError;
use crate::lines::{LogBound, Rate};
use crate::share::{Demotable, Fair, Place, Share};
use crate::stage::{SetBy, StageLimits};

/// The limits of a host's tenants, as its file has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantLimits {
    /// For all tenants together.
    pub host: Bounds,
    /// For every tenant that is not named.
    pub default: Bounds,
    /// By tenant, in place of `default`.
    pub tenants: BTreeMap<String, Bounds>,
    /// How much of the compute threads a tenant gets when others want them too; 1 where nothing is said.
    pub weights: BTreeMap<String, Weight>,
}

/// A share in relation to others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Weight(#[schemars(range(min = 1, max = 1_000))] pub u32);

/// What a tenant, or the whole host, may use. What is not said is not bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// What `limits` of one stage may ask for.
    pub limits: Ceilings,
    /// Plugins and scripts in pipelines, envelopes included.
    #[schemars(with = "u64")]
    pub stages: Option<u64>,
    /// MiB of memory that these reserve together: each its `limits.mem_mb`.
    #[schemars(with = "u64")]
    pub memory_mb: Option<u64>,
    /// Lines a second that plugins and scripts write to the log together.
    #[schemars(with = "u64", range(min = 1))]
    pub log_lines_per_second: Option<u64>,
    /// Bytes of components in the registry.
    #[schemars(with = "u64")]
    pub registry_bytes: Option<u64>,
}

/// The most that the `limits` of one stage may ask for. A stage that asks for nothing gets its default, or this if it is
/// less.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ceilings {
    /// Running time, milliseconds.
    #[schemars(with = "u64", range(min = 1))]
    pub cpu_ms: Option<u64>,
    /// Time by the clock, milliseconds.
    #[schemars(with = "u64", range(min = 1))]
    pub timeout_ms: Option<u64>,
    /// Memory, MiB.
    #[schemars(with = "u64", range(min = 1))]
    pub mem_mb: Option<u64>,
    /// Events that one call may add.
    #[schemars(with = "u64")]
    pub added_events: Option<u64>,
    /// Bytes of edits that one call may make, beside four times the bytes it is shown; of an envelope, bytes of bodies,
    /// beside sixteen times.
    #[schemars(with = "u64")]
    pub edit_bytes: Option<u64>,
    /// Lines a second that it may write to the log.
    #[schemars(with = "u64", range(min = 1))]
    pub log_lines_per_second: Option<u64>,
}

impl Ceilings {
    /// In the order of [`StageLimits`].
    fn all(&self) -> [(&'static str, Option<u64>); 6] {
        let Self { cpu_ms, timeout_ms, mem_mb, added_events, edit_bytes, log_lines_per_second } = *self;
        [
            ("cpu_ms", cpu_ms),
            ("timeout_ms", timeout_ms),
            ("mem_mb", mem_mb),
            ("added_events", added_events),
            ("edit_bytes", edit_bytes),
            ("log_lines_per_second", log_lines_per_second),
        ]
    }
}

/// A limit keeps something from being done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({limit} of the host's tenants file)")]
pub struct LimitReached {
    /// The limit: `tenants.acme.memory_mb`.
    pub limit: String,
    /// What it keeps from being done.
    pub message: String,
    /// The key of a stage's own `limits` that asks for too much; `None`: it is not about one.
    pub asked_by: Option<&'static str>,
}

impl LimitReached {
    /// It as a problem of a stage's block: at the key that asks for too much, else at `path`.
    pub fn in_block(self, path: &str) -> ConfigError {
        let at = self.asked_by.map_or_else(|| path.to_owned(), |key| format!("limits.{key}"));
        ConfigError::new(at, self.to_string())
    }
}

/// A stage of a pipeline, or a sink's envelope: its versions and instances count once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seat {
    /// The pipeline.
    pub pipeline: String,
    /// The stage.
    pub stage: String,
}

/// The tenants of a host.
pub struct Tenants {
    limits: TenantLimits,
    share: Share,
    accounts: Mutex<Accounts>,
    /// How many stages of each tenant rest now.
    resting: Arc<Mutex<HashMap<Arc<str>, u32>>>,
}

#[derive(Default)]
struct Accounts {
    host: Account,
    tenants: HashMap<String, Account>,
}

#[derive(Default)]
struct Account {
    /// Per seat, the memory of each version at work in it, MiB: the largest counts.
    seats: BTreeMap<(String, Seat), Vec<u64>>,
    lines: Option<Rate>,
}

impl Account {
    fn memory_mb(&self) -> u64 {
        self.seats.values().filter_map(|held| held.iter().max()).sum()
    }
}

/// Whose bound is looked at.
struct Level<'a> {
    /// The name before the limit's own: `host`, `tenants.acme`.
    name: String,
    who: SetBy,
    bounds: &'a Bounds,
}

impl Tenants {
    /// Tenants under these limits on so many compute threads.
    pub fn new(limits: TenantLimits, compute_threads: usize) -> Arc<Self> {
        Arc::new(Self {
            limits,
            share: Share::new(compute_threads),
            accounts: Mutex::default(),
            resting: Arc::default(),
        })
    }

    /// Runs `work` on the compute threads as one of a tenant's.
    pub fn run<F: Future>(&self, tenant: &str, work: F) -> Fair<F> {
        self.share.run(tenant, self.weight(tenant), work)
    }

    /// The same for a pipeline's work, which goes on in the background while its tenant uses more than others.
    pub fn run_demotable<F: Future>(&self, tenant: &str, work: F) -> Demotable<F> {
        self.share.run_demotable(tenant, self.weight(tenant), work)
    }

    /// Whether more than one has work to do here.
    pub(crate) fn are_many(&self) -> bool {
        self.share.are_many()
    }

    /// A stage of a tenant is one of those that rest, until this is dropped.
    pub(crate) fn rest(&self, tenant: &Arc<str>) -> Resting {
        *self.resting.lock().entry(tenant.clone()).or_default() += 1;
        Resting { all: self.resting.clone(), tenant: tenant.clone() }
    }

    #[cfg(test)]
    pub(crate) fn resting(&self) -> HashMap<Arc<str>, u32> {
        self.resting.lock().clone()
    }

    /// Offers threads for the background: see [`Share::set_background`].
    pub fn set_background(&self, threads: Handle) {
        self.share.set_background(threads);
    }

    /// The same from another runtime: the turns are taken on the threads of `compute`. The work ends with the future.
    pub async fn run_on<F>(&self, compute: &Handle, tenant: &str, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        on(compute, self.run(tenant, work.in_current_span())).await
    }

    /// The same for a pipeline's work: see [`Tenants::run_demotable`].
    pub async fn run_demotable_on<F>(&self, compute: &Handle, tenant: &str, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        on(compute, self.run_demotable(tenant, work.in_current_span())).await
    }

    /// Waits for a place on the compute threads for work on a thread of its own.
    pub async fn place(&self, tenant: &str) -> Place {
        self.share.place(tenant, self.weight(tenant)).await
    }

    fn weight(&self, tenant: &str) -> u32 {
        self.limits.weights.get(tenant).map_or(1, |weight| weight.0)
    }

    /// The host first.
    fn levels(&self, tenant: &str) -> [Level<'_>; 2] {
        let [host, own] = self.bounds(tenant);
        let (name, who) = match self.limits.tenants.contains_key(tenant) {
            true => (format!("tenants.{tenant}"), SetBy::Tenant),
            false => ("default".to_owned(), SetBy::AnyTenant),
        };
        [Level { name: "host".to_owned(), who: SetBy::Host, bounds: host }, Level { name, who, bounds: own }]
    }

    /// The same without their names, which only a refusal needs.
    fn bounds(&self, tenant: &str) -> [&Bounds; 2] {
        [&self.limits.host, self.limits.tenants.get(tenant).unwrap_or(&self.limits.default)]
    }

    /// What a stage gets that asks for `limits`, where it would have got `default` without asking. What it writes out, or what
    /// is no default, is asked for.
    ///
    /// # Errors
    ///
    /// Each limit of which it asks for more than it may.
    pub fn stage_limits(
        &self,
        tenant: &str,
        mut limits: StageLimits,
        mut default: StageLimits,
    ) -> Result<StageLimits, Vec<LimitReached>> {
        let mut set_by = limits.set_by;
        let mut reached: Vec<LimitReached> = Vec::new();
        for Level { name, who, bounds } in self.levels(tenant) {
            let values = limits.all_mut().into_iter().zip(default.all_mut()).zip(&mut set_by);
            for ((key, ceiling), ((value, default), set_by)) in bounds.limits.all().into_iter().zip(values) {
                let Some(ceiling) = ceiling.filter(|ceiling| *value > *ceiling) else { continue };
                if *set_by != SetBy::Stage && value == default {
                    (*value, *default, *set_by) = (ceiling, ceiling, who);
                } else if reached.iter().all(|other| other.asked_by != Some(key)) {
                    reached.push(LimitReached {
                        limit: format!("{name}.limits.{key}"),
                        message: format!("{value} is more than the {ceiling} it may be"),
                        asked_by: Some(key),
                    });
                }
            }
        }
        if reached.is_empty() { Ok(StageLimits { set_by, ..limits }) } else { Err(reached) }
    }

    /// These limits as far as a tenant may have them.
    pub fn capped(&self, tenant: &str, mut limits: StageLimits) -> StageLimits {
        let mut set_by = limits.set_by;
        for Level { who, bounds, .. } in self.levels(tenant) {
            let values = limits.all_mut().into_iter().zip(&mut set_by);
            for ((_, ceiling), (value, set_by)) in bounds.limits.all().into_iter().zip(values) {
                if let Some(ceiling) = ceiling.filter(|ceiling| *value > *ceiling) {
                    (*value, *set_by) = (ceiling, who);
                }
            }
        }
        StageLimits { set_by, ..limits }
    }

    /// Checks that a stage with so much memory could be seated if there were no other one. Takes no seat.
    ///
    /// # Errors
    ///
    /// When it could not.
    pub fn could_seat(&self, tenant: &str, mem_mb: u64) -> Result<(), LimitReached> {
        for Level { name, bounds, .. } in self.levels(tenant) {
            let whose = if name == "host" { "the host".to_owned() } else { format!("tenant {tenant}") };
            let reached = |limit: &str, message: String, asked_by| {
                Err(LimitReached { limit: format!("{name}.{limit}"), message, asked_by })
            };
            if bounds.stages == Some(0) {
                return reached("stages", format!("{whose} may have no plugins and scripts"), None);
            }
            if let Some(most) = bounds.memory_mb.filter(|most| mem_mb > *most) {
                let text =
                    format!("{whose} may reserve {most} MiB for stages, and this one alone takes {mem_mb}");
                return reached("memory_mb", text, Some("mem_mb"));
            }
        }
        Ok(())
    }

    /// Takes a seat with so much memory, for as long as the answer lives.
    ///
    /// # Errors
    ///
    /// When a bound would be passed.
    pub fn seat(self: &Arc<Self>, tenant: &str, seat: Seat, mem_mb: u64) -> Result<Seated, LimitReached> {
        let key = (tenant.to_owned(), seat);
        let mut accounts = self.accounts.lock();
        accounts.tenants.entry(tenant.to_owned()).or_default();
        for Level { name, bounds, .. } in self.levels(tenant) {
            let account = if name == "host" { &accounts.host } else { &accounts.tenants[tenant] };
            let held = account.seats.get(&key);
            let reached = |limit: &str, message: String| {
                Err(LimitReached { limit: format!("{name}.{limit}"), message, asked_by: None })
            };
            let whose = if name == "host" { "the host".to_owned() } else { format!("tenant {tenant}") };
            if let Some(most) = bounds.stages
                && held.is_none()
                && account.seats.len() as u64 >= most
            {
                let open = account.seats.len();
                return reached(
                    "stages",
                    format!("{whose} may have {most} plugins and scripts, and has {open}"),
                );
            }
            let more = mem_mb.saturating_sub(held.and_then(|held| held.iter().max().copied()).unwrap_or(0));
            let (reserved, most) = (account.memory_mb(), bounds.memory_mb.unwrap_or(u64::MAX));
            if more > 0 && reserved.saturating_add(more) > most {
                return reached(
                    "memory_mb",
                    format!(
                        "{whose} may reserve {most} MiB for stages, has {reserved}, and this one takes {more} more"
                    ),
                );
            }
        }
        let Accounts { host, tenants } = &mut *accounts;
        for account in [Some(host), tenants.get_mut(tenant)].into_iter().flatten() {
            account.seats.entry(key.clone()).or_default().push(mem_mb);
        }
        Ok(Seated { tenants: self.clone(), key, mem_mb })
    }

    /// Takes a place for a line that a plugin of this tenant writes to the log now, as far as its tenant and the host go.
    ///
    /// # Errors
    ///
    /// The bound that is reached.
    pub(crate) fn may_log(&self, tenant: &str, now: Instant) -> Result<(), LogBound> {
        let bounded = self.bounds(tenant).map(|bounds| bounds.log_lines_per_second);
        if bounded.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut accounts = self.accounts.lock();
        let Accounts { host, tenants } = &mut *accounts;
        let own = tenants.entry(tenant.to_owned()).or_default();
        let mut lines = [(bounded[0], &mut host.lines), (bounded[1], &mut own.lines)];
        let full = lines.iter_mut().position(|(most, lines)| match most {
            Some(most) => !lines.get_or_insert_with(|| Rate::new(*most, now)).has_room(now),
            None => false,
        });
        match full {
            Some(0) => Err(LogBound::Host),
            Some(_) => Err(LogBound::Tenant),
            None => {
                lines.iter_mut().filter_map(|(_, lines)| lines.as_mut()).for_each(Rate::take);
                Ok(())
            }
        }
    }

    /// The name of a bound on lines, as refusals have it; `None`: it is a stage's own.
    pub(crate) fn log_bound(&self, tenant: &str, bound: LogBound) -> Option<String> {
        let [host, own] = self.levels(tenant);
        let level = match bound {
            LogBound::Host => host,
            LogBound::Tenant => own,
            LogBound::Stage => return None,
        };
        let most = level.bounds.log_lines_per_second.unwrap_or_default();
        Some(format!(
            "{most} lines a second ({}.log_lines_per_second of the host's tenants file)",
            level.name
        ))
    }

    /// Checks that `bytes` more fit in the registry, where the tenant's plugins take `own` and all take `all`.
    ///
    /// # Errors
    ///
    /// When they do not.
    pub fn registry_room(
        &self,
        tenant: Option<&str>,
        own: u64,
        all: u64,
        bytes: u64,
    ) -> Result<(), LimitReached> {
        let [host, own_level] = self.levels(tenant.unwrap_or_default());
        let own = tenant.map(|_| (own_level, own));
        for (Level { name, bounds, .. }, held) in [Some((host, all)), own].into_iter().flatten() {
            if let Some(most) = bounds.registry_bytes
                && held.saturating_add(bytes) > most
            {
                return Err(LimitReached {
                    limit: format!("{name}.registry_bytes"),
                    asked_by: None,
                    message: format!(
                        "the registry may hold {most} bytes, holds {held}, and this takes {bytes} more"
                    ),
                });
            }
        }
        Ok(())
    }
}

/// Runs `work` on a runtime, until it is done or nobody waits for it any more.
async fn on<F>(runtime: &Handle, work: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match AbortOnDropHandle::new(runtime.spawn(work)).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await, // the host is shutting down
        },
    }
}

/// A stage that rests so that others can compute.
pub(crate) struct Resting {
    all: Arc<Mutex<HashMap<Arc<str>, u32>>>,
    tenant: Arc<str>,
}

impl Resting {
    /// How many stages of its tenant do, this one with them, and of how many tenants some do.
    pub fn counted(&self) -> (u32, u32) {
        let all = self.all.lock();
        (all.get(&self.tenant).copied().unwrap_or(1), u32::try_from(all.len()).unwrap_or(u32::MAX))
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        let left = all.get_mut(&self.tenant).map(|stages| {
            *stages -= 1;
            *stages
        });
        if left == Some(0) {
            all.remove(&self.tenant);
        }
    }
}

/// A seat that is taken.
pub struct Seated {
    tenants: Arc<Tenants>,
    key: (String, Seat),
    mem_mb: u64,
}

impl std::fmt::Debug for Seated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seated").field("key", &self.key).field("mem_mb", &self.mem_mb).finish_non_exhaustive()
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let mut accounts = self.tenants.accounts.lock();
        let Accounts { host, tenants } = &mut *accounts;
        for account in [Some(host), tenants.get_mut(&self.key.0)].into_iter().flatten() {
            let Some(held) = account.seats.get_mut(&self.key) else { continue };
            if let Some(at) = held.iter().position(|mem_mb| *mem_mb == self.mem_mb) {
                held.swap_remove(at);
            }
            if held.is_empty() {
                account.seats.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DEFAULT: StageLimits = StageLimits::DEFAULT;

    fn tenants(limits: serde_json::Value) -> Arc<Tenants> {
        Tenants::new(serde_json::from_value(limits).unwrap(), 2)
    }

    fn seat(stage: &str) -> Seat {
        Seat { pipeline: "p".into(), stage: stage.into() }
    }

    #[test]
    fn the_hosts_ceiling_wins_over_the_tenants_and_the_tenants_over_the_stages() {
        let tenants = tenants(serde_json::json!({
            "host": { "limits": { "cpu_ms": 80, "mem_mb": 512 } },
            "default": { "limits": { "cpu_ms": 90 } },
            "tenants": { "acme": { "limits": { "mem_mb": 32 } } },
        }));
        let limits = |tenant, asked| tenants.stage_limits(tenant, asked, DEFAULT);
        let acme = limits("acme", DEFAULT).unwrap();
        assert_eq!((acme.cpu_ms, acme.mem_mb, acme.timeout_ms), (80, 32, 1_000), "a default is cut down");
        assert_eq!(acme.set_by[..3], [SetBy::Host, SetBy::Default, SetBy::Tenant], "and says by whom");
        assert_eq!(tenants.capped("acme", DEFAULT), acme);
        let script = StageLimits { cpu_ms: 60, mem_mb: 128, edit_bytes: 7, ..DEFAULT };
        let capped = tenants.capped("acme", script);
        assert_eq!((capped.cpu_ms, capped.mem_mb, capped.edit_bytes), (60, 32, 7), "each by itself");
        let asks = |cpu_ms, mem_mb| StageLimits { cpu_ms, mem_mb, ..DEFAULT };
        assert_eq!(limits("acme", asks(85, 8)).unwrap_err()[0].limit, "host.limits.cpu_ms");
        assert_eq!(limits("acme", asks(80, 33)).unwrap_err()[0].limit, "tenants.acme.limits.mem_mb");
        let both: Vec<String> =
            limits("acme", asks(95, 600)).unwrap_err().into_iter().map(|reached| reached.limit).collect();
        assert_eq!(both, ["host.limits.cpu_ms", "host.limits.mem_mb"], "each once, by the host's first");
        assert!(limits("acme", asks(80, 32)).is_ok() && limits("other", asks(80, 512)).is_ok());
        let written = |written: [bool; 6]| StageLimits { set_by: written.map(SetBy::stage), ..DEFAULT };
        let refused = &limits("acme", written([true, false, false, false, false, false])).unwrap_err()[0];
        assert_eq!((refused.limit.as_str(), refused.asked_by), ("host.limits.cpu_ms", Some("cpu_ms")));
        let refused = &limits("acme", written([false, false, true, false, false, false])).unwrap_err()[0];
        assert_eq!(refused.limit, "tenants.acme.limits.mem_mb", "the default, written out");
        assert!(
            limits("acme", written([false, true, false, true, true, true])).is_ok(),
            "they have no ceilings"
        );
        let error = limits("other", asks(80, 513)).unwrap_err()[0].to_string();
        assert_eq!(
            error,
            "513 is more than the 512 it may be (host.limits.mem_mb of the host's tenants file)"
        );
    }

    #[test]
    fn every_limit_of_a_stage_has_a_ceiling_of_the_host_and_one_of_the_tenant() {
        let all = ["cpu_ms", "timeout_ms", "mem_mb", "added_events", "edit_bytes", "log_lines_per_second"];
        for (at, key) in all.into_iter().enumerate() {
            for (level, limits) in [
                ("host", serde_json::json!({ "host": { "limits": { key: 7 } } })),
                ("default", serde_json::json!({ "default": { "limits": { key: 7 } } })),
                ("tenants.acme", serde_json::json!({ "tenants": { "acme": { "limits": { key: 7 } } } })),
            ] {
                let tenants = tenants(limits);
                let mut asked = DEFAULT;
                *asked.all_mut()[at] = 8;
                let refused = tenants.stage_limits("acme", asked, DEFAULT).unwrap_err().remove(0);
                assert_eq!((refused.limit, refused.asked_by), (format!("{level}.limits.{key}"), Some(key)));
                *asked.all_mut()[at] = 6;
                assert_eq!(tenants.stage_limits("acme", asked, DEFAULT), Ok(asked), "{level} {key}");
                let mut default = tenants.stage_limits("acme", DEFAULT, DEFAULT).unwrap();
                assert_eq!(
                    (*default.all_mut()[at], default),
                    (7, tenants.capped("acme", DEFAULT)),
                    "cut down"
                );
            }
        }
    }

    #[test]
    fn seats_and_memory_are_counted_per_stage_and_given_back() {
        let tenants = tenants(serde_json::json!({
            "host": { "stages": 3 },
            "default": { "stages": 2, "memory_mb": 100 },
        }));
        let one = tenants.seat("acme", seat("one"), 60).unwrap();
        let again = tenants.seat("acme", seat("one"), 60).unwrap();
        assert_eq!(tenants.seat("acme", seat("two"), 60).unwrap_err().limit, "default.memory_mb");
        let two = tenants.seat("acme", seat("two"), 40).unwrap();
        assert_eq!(tenants.seat("acme", seat("three"), 0).unwrap_err().limit, "default.stages");
        assert_eq!(tenants.seat("acme", seat("one"), 70).unwrap_err().limit, "default.memory_mb");
        let other = tenants.seat("other", seat("one"), 100).unwrap();
        assert_eq!(tenants.seat("third", seat("one"), 1).unwrap_err().limit, "host.stages");
        drop(one);
        assert_eq!(tenants.seat("acme", seat("three"), 0).unwrap_err().limit, "host.stages", "still there");
        drop(again);
        drop(tenants.seat("acme", seat("three"), 60).unwrap());
        drop((two, other));
        assert!(tenants.accounts.lock().host.seats.is_empty());
    }

    #[test]
    fn what_the_host_has_no_room_for_names_the_hosts_limit() {
        let host = |bounds: serde_json::Value| tenants(serde_json::json!({ "host": bounds }));
        let tenants = host(serde_json::json!({ "memory_mb": 100 }));
        let _one = tenants.seat("acme", seat("one"), 60).unwrap();
        assert_eq!(tenants.seat("other", seat("one"), 41).unwrap_err().limit, "host.memory_mb");
        assert!(tenants.seat("other", seat("one"), 40).is_ok());
        let alone = tenants.could_seat("other", 101).unwrap_err();
        assert_eq!((alone.limit.as_str(), alone.asked_by), ("host.memory_mb", Some("mem_mb")));
        let none = host(serde_json::json!({ "stages": 0 })).could_seat("acme", 1).unwrap_err();
        assert_eq!(none.limit, "host.stages");
    }

    #[test]
    fn lines_are_bounded_by_tenant_and_by_host() {
        let tenants = tenants(serde_json::json!({
            "host": { "log_lines_per_second": 6 },
            "tenants": { "loud": { "log_lines_per_second": 2 } },
        }));
        let now = Instant::now();
        let said = |tenant| (0..50).filter(|_| tenants.may_log(tenant, now).is_ok()).count();
        assert_eq!((said("loud"), said("other")), (4, 8), "two seconds' worth at once, then no more");
        for (tenant, bound) in [
            ("loud", "6 lines a second (host.log_lines_per_second of the host's tenants file)"),
            ("other", "6 lines a second (host.log_lines_per_second of the host's tenants file)"),
        ] {
            let reached = tenants.may_log(tenant, now).unwrap_err();
            let named = tenants.log_bound(tenant, reached).unwrap();
            assert_eq!((reached, named.as_str()), (LogBound::Host, bound));
        }
        let loud = tenants.log_bound("loud", LogBound::Tenant).unwrap();
        assert!(loud.starts_with("2 lines a second (tenants.loud.log_lines_per_second"), "{loud}");
    }

    #[test]
    fn the_registry_is_bounded_by_tenant_and_by_host() {
        let tenants = tenants(serde_json::json!({
            "host": { "registry_bytes": 100 },
            "tenants": { "acme": { "registry_bytes": 10 } },
        }));
        let room =
            |tenant, own, all, bytes| tenants.registry_room(tenant, own, all, bytes).map_err(|e| e.limit);
        assert_eq!(room(Some("acme"), 5, 50, 5), Ok(()));
        assert_eq!(room(Some("acme"), 5, 50, 6), Err("tenants.acme.registry_bytes".to_owned()));
        assert_eq!(room(None, 0, 95, 6), Err("host.registry_bytes".to_owned()));
        assert_eq!(room(Some("other"), 50, 50, 50), Ok(()));
    }
}
