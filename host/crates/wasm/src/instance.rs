//! One instance of a plugin at work, under its limits.

use std::sync::Arc;

use deltaforge_engine::message::Bodies;
use deltaforge_engine::stage::{StageError, StageLimits};
use deltaforge_engine::tenants::Seated;
use deltaforge_engine::usage::{Running, Usage};
use deltaforge_model::{Overlay, View};
use wasmtime::{Store, UpdateDeadline};

use crate::adapter::{Exports, Failure};
use crate::call::Call;
use crate::error::{CallError, Cause, Held, failed};
use crate::grants::Grants;
use crate::guest::Guest;
use crate::limits::{Limits, MAX_HANDLES, handed_over};
use crate::plugin::Description;
use crate::registry::Kept;
use crate::runtime::{Loaded, Runtime};
use crate::voice::Voice;

/// What instances of one stage have in common.
pub(crate) struct Blueprint {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) loaded: Arc<Loaded>,
    /// The plugin and where it runs, for messages: `plugin mask@1.0.0 of stage hide`.
    pub(crate) who: String,
    pub(crate) grants: Grants,
    pub(crate) limits: Limits,
    pub(crate) usage: Usage,
    pub(crate) voice: Arc<Voice>,
    /// Its place among what its tenant may have.
    pub(crate) _seat: Option<Seated>,
    /// Its code, kept for replays; `None`: it is only looked at.
    pub(crate) _kept: Option<Kept>,
    /// The stage's `config` as JSON text.
    pub(crate) config: String,
}

/// A guest that is ready for its next call. After a [`CallError`] it is dead and must be dropped.
pub(crate) struct Instance {
    store: Store<Guest>,
    exports: Box<dyn Exports>,
    limits: Limits,
    runtime: Arc<Runtime>,
    running: Running,
}

impl Blueprint {
    /// Makes an instance that has not been opened.
    pub(crate) async fn instantiate(&self) -> Result<Instance, CallError> {
        let guest = Guest::new(self.grants, &self.voice, self.limits.call.mem_mb);
        let mut store = Store::new(&self.runtime.engine, guest);
        bound(&mut store, self.limits.call.mem_mb);
        let meter = self.limits.meter.clone();
        store.epoch_deadline_callback(move |_| match meter.passed() {
            Some(ended) => Err(ended.into()),
            None => Ok(UpdateDeadline::YieldCustom(1, Box::pin(meter.clone().give_way()))),
        });
        store.set_epoch_deadline(1);
        if self.runtime.metered {
            store.set_fuel(u64::MAX).expect("an engine that meters takes fuel");
        }
        let running = self.runtime.running();
        let (bounds, own) = (self.limits.start(), self.limits.call);
        let instantiated = self.limits.meter.run(bounds, self.loaded.bound.instantiate(&mut store)).await;
        let exports = finish(instantiated, &mut store, bounds, own)?;
        drop(running);
        let running = Running::new(self.usage.clone());
        Ok(Instance { store, exports, limits: self.limits.clone(), runtime: self.runtime.clone(), running })
    }

    /// Asks the plugin what it is, in an instance that is thrown away.
    pub(crate) async fn describe(&self) -> Result<Description, String> {
        let mut instance = self.instantiate().await.map_err(|error| error.describe().1)?;
        instance.describe().await.map_err(|error| format!("describing the plugin: {}", error.describe().1))
    }

    /// Makes an instance that is ready for batches.
    pub(crate) async fn start(&self) -> Result<Instance, StageError> {
        let trapped = |error: CallError| {
            let (code, text) = error.describe();
            StageError::stop(code, format!("{} does not start: {text}", self.who))
        };
        let mut instance = self.instantiate().await.map_err(trapped)?;
        match instance.open(&self.config).await.map_err(trapped)? {
            Ok(()) => Ok(instance),
            Err(failure) => Err(failed(&self.who, &failure.kind, &failure.message)),
        }
    }
}

/// Holds a guest to what it may have of the host's memory.
fn bound(store: &mut Store<Guest>, mem_mb: u64) {
    store.limiter(|guest| &mut guest.memory);
    store.set_hostcall_fuel(handed_over(mem_mb));
    store.set_max_component_handles(MAX_HANDLES);
}

/// Tells apart how a call ended.
fn finish<T>(
    ended: Option<wasmtime::Result<T>>,
    store: &mut Store<Guest>,
    to: StageLimits,
    own: StageLimits,
) -> Result<T, CallError> {
    let failed = |cause| Err(CallError { cause, held: Box::new(Held { to, own }) });
    match ended {
        None => failed(Cause::TimedOut),
        Some(Ok(value)) => Ok(value),
        Some(Err(cause)) => {
            let guest = store.data_mut();
            let (refused, last_words) = (guest.memory.take_refused(), guest.last_words.take());
            failed(Cause::Trapped { cause, refused, last_words })
        }
    }
}

/// Runs one exported function under limits.
macro_rules! call {
    ($instance:ident, $limits:expr, $function:ident $(, $argument:expr)*) => {{
        let Instance { store, exports, limits, runtime, running } = $instance;
        let bounds = $limits(&*limits);
        store.set_epoch_deadline(1);
        store.data_mut().memory.take_refused();
        store.data_mut().last_words = None;
        let watched = runtime.running();
        let ended = limits.meter.run(bounds, exports.$function(&mut *store $(, $argument)*)).await;
        drop(watched);
        running.ran(limits.meter.ran());
        running.holds(store.data().memory.held());
        finish(ended, store, bounds, limits.call)
    }};
}

impl Instance {
    pub(crate) async fn describe(&mut self) -> Result<Description, CallError> {
        call!(self, Limits::start, describe)
    }

    pub(crate) async fn open(&mut self, config: &str) -> Result<Result<(), Failure>, CallError> {
        call!(self, Limits::start, open, config)
    }

    pub(crate) async fn content_type(&mut self) -> Result<String, CallError> {
        call!(self, Limits::start, content_type)
    }

    /// Shows the guest a batch; answers its edits too, whatever became of the call.
    pub(crate) async fn process(
        &mut self,
        view: View,
        edits: Overlay,
    ) -> (Result<Result<(), Failure>, CallError>, Overlay) {
        self.store.data_mut().call = Some(Call::editing(view, edits, &self.limits.call));
        let answer = call!(self, |limits: &Limits| limits.call, process);
        let call = self.store.data_mut().call.take();
        (answer, call.map(Call::into_edits).unwrap_or_default())
    }

    pub(crate) async fn format(
        &mut self,
        view: View,
        tx_end: &[bool],
        bodies: &mut Bodies,
    ) -> Result<Result<(), Failure>, CallError> {
        self.store.data_mut().call = Some(Call::formatting(view, tx_end, &self.limits.call));
        let answer = call!(self, |limits: &Limits| limits.call, format, bodies);
        self.store.data_mut().call = None;
        answer
    }

    /// The memory it holds, bytes; it never gives any back.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().memory.held()
    }

    /// The fuel that its calls have burnt so far, where the runtime meters.
    pub(crate) fn burnt(&self) -> Option<u64> {
        self.store.get_fuel().ok().map(|left| u64::MAX - left)
    }

    /// How long the guest ran in its last call.
    pub(crate) fn ran(&self) -> std::time::Duration {
        self.limits.meter.ran()
    }

    /// Whether it holds so much memory that a new one should take its place.
    pub(crate) fn is_grown(&self) -> bool {
        self.store.data().memory.is_grown()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
