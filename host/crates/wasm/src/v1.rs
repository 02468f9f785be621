//! The adapter for plugins built against version 1.0 of the interface.

use async_trait::async_trait;
use deltaforge_engine::message::Bodies;
use deltaforge_model::view::Flat;
use wasmtime::Store;
use wasmtime::component::{Component, HasSelf, Linker, Resource};

use crate::adapter::{Adapter, Answer, Bound, Exports, Failure};
use crate::guest::Guest;
use crate::plugin::{Description, PluginKind};

mod batch;
mod bindings;
mod convert;

use bindings::formatter::{Formatter, FormatterPre};
use bindings::processor::{Processor, ProcessorPre};

/// The version this adapter serves, and that the host's own plugins are built against.
pub(crate) const SERVES: &str = "1.0";

/// What a guest's `batch` handles stand for: the batch of the call it is in.
pub struct Shown;

/// Version 1.0.
pub(crate) struct V1;

impl Adapter for V1 {
    fn serves(&self) -> &'static str {
        SERVES
    }

    fn link(&self, linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
        use bindings::processor::deltaforge::plugin::{clock, events, log, metrics, types};
        types::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
        events::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
        log::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
        metrics::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
        clock::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
    }

    fn bind(
        &self,
        linker: &Linker<Guest>,
        component: &Component,
        kind: PluginKind,
    ) -> wasmtime::Result<Box<dyn Bound>> {
        let pre = linker.instantiate_pre(component)?;
        Ok(match kind {
            PluginKind::Processor => Box::new(ProcessorPre::new(pre)?),
            PluginKind::Formatter => Box::new(FormatterPre::new(pre)?),
        })
    }
}

/// What both worlds have in common, in types of each.
macro_rules! lifecycle {
    ($world:ty, $pre:ty) => {
        #[async_trait]
        impl Bound for $pre {
            async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Box<dyn Exports>> {
                Ok(Box::new(self.instantiate_async(store).await?))
            }
        }

        impl $world {
            async fn says(&self, store: &mut Store<Guest>) -> wasmtime::Result<Description> {
                let said = self.deltaforge_plugin_lifecycle().call_describe(store).await?;
                let description = Description {
                    name: said.name,
                    version: said.version,
                    description: said.description,
                    tables: said.tables,
                    reads: said.reads,
                    writes: said.writes,
                    config_schema: said.config_schema,
                };
                Ok(description.bounded()?)
            }

            async fn opened(&self, store: &mut Store<Guest>, config: &str) -> Answer {
                let opened = self.deltaforge_plugin_lifecycle().call_open(store, config).await?;
                Ok(opened.map_err(|failure| Failure { kind: failure.kind, message: failure.message }))
            }
        }
    };
}

lifecycle!(Processor, ProcessorPre<Guest>);
lifecycle!(Formatter, FormatterPre<Guest>);

#[async_trait]
impl Exports for Processor {
    async fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<Description> {
        self.says(store).await
    }

    async fn open(&self, store: &mut Store<Guest>, config: &str) -> Answer {
        self.opened(store, config).await
    }

    async fn process(&self, store: &mut Store<Guest>) -> Answer {
        let processing = self.deltaforge_plugin_processing();
        let answer = processing.call_process(store, Resource::new_borrow(0)).await?;
        Ok(answer.map_err(|failure| Failure { kind: failure.kind, message: failure.message }))
    }
}

#[async_trait]
impl Exports for Formatter {
    async fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<Description> {
        self.says(store).await
    }

    async fn open(&self, store: &mut Store<Guest>, config: &str) -> Answer {
        self.opened(store, config).await
    }

    async fn content_type(&self, store: &mut Store<Guest>) -> wasmtime::Result<String> {
        self.deltaforge_plugin_formatting().call_content_type(store).await
    }

    async fn format(&self, store: &mut Store<Guest>, bodies: &mut Bodies) -> Answer {
        let formatting = self.deltaforge_plugin_formatting();
        let messages = match formatting.call_format(&mut *store, Resource::new_borrow(0)).await? {
            Ok(messages) => messages,
            Err(failure) => return Ok(Err(Failure { kind: failure.kind, message: failure.message })),
        };
        let flat = messages.bodies;
        let flat = Flat { present: flat.present, ends: flat.ends, data: flat.data };
        crate::bodies::take(store.data_mut().call()?, flat, &messages.rejects, bodies)?;
        Ok(Ok(()))
    }
}
