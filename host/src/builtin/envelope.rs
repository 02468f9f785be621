//! A formatter plugin behind the engine's trait.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_engine::message::{Bodies, Formatter};
use deltaforge_engine::stage::{StageError, StageSpec, StageVersion};
use deltaforge_model::View;
use deltaforge_model::json::RowEncoders;
use deltaforge_sdk::{BodyParts, native};

use super::lend::Lend;
use super::{failed, panic_text, refused};

/// A formatter plugin at work natively.
pub(super) struct Envelope<F> {
    plugin: F,
    config: String,
    content_type: String,
    host: Arc<dyn native::Host>,
    encoders: RefCell<RowEncoders>,
}

impl<F: deltaforge_sdk::Formatter> Envelope<F> {
    pub(super) fn open(spec: &StageSpec) -> Result<(Box<dyn Formatter>, StageVersion), StageError> {
        let manifest = F::describe();
        let host = Lend::to(spec, &manifest.name);
        let config = spec.config.to_string();
        let plugin = native::with_host(&host, || native::open(&config, F::open)).map_err(failed)?;
        let content_type = plugin.content_type().to_owned();
        let version = super::version(&manifest.name, &manifest.version);
        Ok((Box::new(Self { plugin, config, content_type, host, encoders: RefCell::default() }), version))
    }
}

#[async_trait]
impl<F: deltaforge_sdk::Formatter> Formatter for Envelope<F> {
    async fn format(&mut self, view: &View, tx_end: &[bool], bodies: &mut Bodies) -> Result<(), StageError> {
        let kept = bodies.buffer().len();
        let before = bodies.len();
        let mut made = deltaforge_sdk::Bodies::over(std::mem::take(bodies.buffer()));
        let result = catch_unwind(AssertUnwindSafe(|| {
            native::with_host(&self.host, || {
                native::format(&mut self.plugin, view, tx_end, &self.encoders, &mut made)
            })
        }));
        let answered = made.len();
        let BodyParts { data, ends, rejects } = made.into_parts();
        *bodies.buffer() = data;
        let result = match result {
            Ok(Ok(())) if answered == view.len() => Ok(()),
            Ok(Ok(())) => Err(StageError::stop(
                "plugin_trap",
                format!("the envelope made {answered} bodies for {} rows", view.len()),
            )),
            Ok(Err(error)) => Err(refused(error)),
            Err(panic) => {
                self.plugin = native::open(&self.config, F::open).map_err(failed)?;
                self.encoders = RefCell::default();
                Err(StageError::isolate("plugin_trap", panic_text(panic.as_ref())))
            }
        };
        if result.is_err() {
            bodies.buffer().truncate(kept);
            return result;
        }
        bodies.end_all(ends);
        for (row, reason) in rejects {
            bodies.reject_row(before + row, reason);
        }
        Ok(())
    }

    fn content_type(&self) -> &str {
        &self.content_type
    }
}
