//! How plugins of the interface's versions are met: one adapter for each, over the same native batch.
//!
//! A component's exports say which version it was built against, and that version's adapter links, starts and calls
//! it. Nothing beside an adapter knows what a version's functions and records look like.

use async_trait::async_trait;
use deltaforge_engine::message::Bodies;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

use crate::error::cut;
use crate::guest::Guest;
use crate::plugin::{Description, PluginKind};
use crate::runtime::LoadError;

#[cfg(test)]
mod tests;

/// What the guest itself says went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `retry`: the same rows again later. Anything else: the pipeline stops.
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// What a guest answered, where the call came back.
pub(crate) type Answer = wasmtime::Result<Result<(), Failure>>;

/// One version of the interface.
pub(crate) trait Adapter: Send + Sync {
    /// The version, as `major.minor`: it serves what was built against any patch of that.
    fn serves(&self) -> &'static str;

    /// Puts what its guests may import into a linker of its own.
    ///
    /// # Errors
    ///
    /// When a name is there twice.
    fn link(&self, linker: &mut Linker<Guest>) -> wasmtime::Result<()>;

    /// Finds a component's imports, and the functions of its world.
    ///
    /// # Errors
    ///
    /// When one is missing, or of another type.
    fn bind(
        &self,
        linker: &Linker<Guest>,
        component: &Component,
        kind: PluginKind,
    ) -> wasmtime::Result<Box<dyn Bound>>;
}

/// A component with its imports found and its exports checked.
#[async_trait]
pub(crate) trait Bound: Send + Sync {
    /// Starts an instance.
    async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Box<dyn Exports>>;
}

/// The functions of an instance. A call that does not come back is an error whose cause tells why: a trap, or an
/// [`Ended`](crate::error::Ended) of ours.
#[async_trait]
pub(crate) trait Exports: Send + Sync {
    /// Asks it what it is; the answer is [bounded](Description::bounded).
    async fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<Description>;

    /// Gives it the stage's `config` as JSON text.
    async fn open(&self, store: &mut Store<Guest>, config: &str) -> Answer;

    /// Shows a processor the batch of the call.
    async fn process(&self, _store: &mut Store<Guest>) -> Answer {
        Err(wrong_world(PluginKind::Processor))
    }

    /// What a formatter's bodies are, as a MIME type.
    async fn content_type(&self, _store: &mut Store<Guest>) -> wasmtime::Result<String> {
        Err(wrong_world(PluginKind::Formatter))
    }

    /// Has a formatter make the bodies of the batch of the call, and appends them.
    async fn format(&self, _store: &mut Store<Guest>, _bodies: &mut Bodies) -> Answer {
        Err(wrong_world(PluginKind::Formatter))
    }
}

fn wrong_world(wanted: PluginKind) -> wasmtime::Error {
    wasmtime::Error::msg(format!("the plugin is no {wanted}"))
}

/// The adapter of every version that is out.
pub(crate) fn released() -> Vec<Box<dyn Adapter>> {
    vec![Box::new(crate::v1::V1)]
}

/// The versions that a runtime serves.
pub(crate) struct Adapters(Vec<Served>);

/// One of them, with a linker of its own: an import is never answered by another version.
pub(crate) struct Served {
    adapter: Box<dyn Adapter>,
    linker: Linker<Guest>,
}

impl Adapters {
    /// Links what each version offers, and WASI.
    ///
    /// # Errors
    ///
    /// When two of one version's imports have the same name.
    pub(crate) fn new(engine: &Engine, adapters: Vec<Box<dyn Adapter>>) -> wasmtime::Result<Self> {
        let served = adapters.into_iter().map(|adapter| {
            let mut linker = Linker::new(engine);
            adapter.link(&mut linker)?;
            wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
            Ok(Served { adapter, linker })
        });
        Ok(Self(served.collect::<wasmtime::Result<_>>()?))
    }

    /// What serves components that were built against a version.
    ///
    /// # Errors
    ///
    /// When nothing does; the text names what is served.
    pub(crate) fn of(&self, version: &str) -> Result<&Served, LoadError> {
        let known = semver::Version::parse(version).ok();
        let known = known.map(|version| format!("{}.{}", version.major, version.minor));
        self.0.iter().find(|served| known.as_deref() == Some(served.adapter.serves())).ok_or_else(|| {
            let all: Vec<&str> = self.0.iter().map(|served| served.adapter.serves()).collect();
            LoadError::NotAPlugin(format!(
                "it was built against version {} of the plugin interface; this host serves {}: build it with an SDK of \
                 such a version, or run a host that serves its own",
                cut(version),
                all.join(" and ")
            ))
        })
    }
}

impl Served {
    /// Makes a component ready to be instantiated.
    ///
    /// # Errors
    ///
    /// When it does not have what the version says.
    pub(crate) fn bind(&self, component: &Component, kind: PluginKind) -> Result<Box<dyn Bound>, LoadError> {
        self.adapter
            .bind(&self.linker, component, kind)
            .map_err(|error| LoadError::NotAPlugin(format!("it does not fit this host: {error:#}")))
    }
}
