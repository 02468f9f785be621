//! A processor plugin behind the engine's trait.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_engine::stage::{Stage, StageError, StageSpec, StageVersion};
use deltaforge_model::json::RowEncoders;
use deltaforge_model::{Overlay, View};
use deltaforge_sdk::{Processor, native};

use super::lend::Lend;
use super::{failed, panic_text, refused};

/// A processor plugin at work natively. A panic is what a trap is in a component: the call fails, and the next one
/// finds a plugin opened anew.
pub(super) struct Native<P> {
    plugin: P,
    config: String,
    host: Arc<dyn native::Host>,
    encoders: RefCell<RowEncoders>,
}

impl<P: Processor> Native<P> {
    pub(super) fn open(spec: &StageSpec) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
        let manifest = P::describe();
        let host = Lend::to(spec, &manifest.name);
        let config = spec.config.to_string();
        let plugin = native::with_host(&host, || native::open(&config, P::open)).map_err(failed)?;
        let version = super::version(&manifest.name, &manifest.version);
        Ok((Box::new(Self { plugin, config, host, encoders: RefCell::default() }), version))
    }
}

#[async_trait]
impl<P: Processor> Stage for Native<P> {
    async fn process(&mut self, view: &View, edits: &mut Overlay) -> Result<(), StageError> {
        let before = edits.savepoint();
        let result = catch_unwind(AssertUnwindSafe(|| {
            native::with_host(&self.host, || native::process(&mut self.plugin, view, edits, &self.encoders))
        }));
        let result = match result {
            Ok(result) => result.map_err(refused),
            Err(panic) => {
                self.plugin = native::open(&self.config, P::open).map_err(failed)?;
                self.encoders = RefCell::default();
                Err(StageError::isolate("plugin_trap", panic_text(panic.as_ref())))
            }
        };
        if result.is_err() {
            edits.rollback(before);
        }
        result
    }
}
