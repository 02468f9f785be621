//! The adapter of a version that is not out: all that a further version of the interface takes.

use async_trait::async_trait;
use deltaforge_engine::message::Bodies;
use deltaforge_model::edit::SideEdit;
use deltaforge_model::view::{Flat, presence};
use deltaforge_model::{Cell, Image};
use wasmtime::component::{Component, HasSelf, Linker, Resource};
use wasmtime::{Result, Store};

use crate::adapter::{Adapter, Answer, Bound, Exports, Failure};
use crate::error::{Ended, cut};
use crate::guest::Guest;
use crate::plugin::{Description, PluginKind};

/// What `bindgen!` makes of `tests/interface/next`.
#[allow(missing_docs, unused_variables, unsafe_code, clippy::all, clippy::undocumented_unsafe_blocks)]
mod bindings {
    /// The world `processor`, and every interface that the worlds share.
    pub mod processor {
        wasmtime::component::bindgen!({
            path: "tests/interface/next",
            world: "processor",
            imports: { default: trappable },
            exports: { default: async },
            with: { "deltaforge:plugin/events.batch": crate::adapter::tests::next::Shown },
        });
    }

    /// The world `formatter`.
    pub mod formatter {
        wasmtime::component::bindgen!({
            path: "tests/interface/next",
            world: "formatter",
            imports: { default: trappable },
            exports: { default: async },
            with: {
                "deltaforge:plugin/types": super::processor::deltaforge::plugin::types,
                "deltaforge:plugin/events": super::processor::deltaforge::plugin::events,
                "deltaforge:plugin/log": super::processor::deltaforge::plugin::log,
            },
        });
    }
}

use bindings::formatter::exports::deltaforge::plugin::formatting::Message;
use bindings::formatter::{Formatter, FormatterPre};
use bindings::processor::deltaforge::plugin::{events, log, types};
use bindings::processor::{Processor, ProcessorPre};

/// What a guest's `batch` handles stand for.
pub struct Shown;

/// The version after 1.0 as far as tests know it.
pub(super) struct Next;

impl Adapter for Next {
    fn serves(&self) -> &'static str {
        "2.0"
    }

    fn link(&self, linker: &mut Linker<Guest>) -> Result<()> {
        types::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
        events::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
        log::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
    }

    fn bind(
        &self,
        linker: &Linker<Guest>,
        component: &Component,
        kind: PluginKind,
    ) -> Result<Box<dyn Bound>> {
        let pre = linker.instantiate_pre(component)?;
        Ok(match kind {
            PluginKind::Processor => Box::new(ProcessorPre::new(pre)?),
            PluginKind::Formatter => Box::new(FormatterPre::new(pre)?),
        })
    }
}

macro_rules! failure {
    ($failure:expr) => {{
        let kind = if $failure.again { "retry" } else { "fatal" };
        Failure { kind: kind.to_owned(), message: format!("{} (code {})", $failure.message, $failure.code) }
    }};
}

macro_rules! lifecycle {
    ($world:ty, $pre:ty) => {
        #[async_trait]
        impl Bound for $pre {
            async fn instantiate(&self, store: &mut Store<Guest>) -> Result<Box<dyn Exports>> {
                Ok(Box::new(self.instantiate_async(store).await?))
            }
        }

        impl $world {
            async fn says(&self, store: &mut Store<Guest>) -> Result<Description> {
                let about = self.deltaforge_plugin_lifecycle().call_describe(store).await?;
                let (name, version) = about.plugin.split_once(' ').unwrap_or((&about.plugin, ""));
                let (name, version) = (name.to_owned(), version.to_owned());
                Ok(Description { name, version, tables: about.tables, ..Description::default() }.bounded()?)
            }

            async fn opened(&self, store: &mut Store<Guest>, config: &str) -> Answer {
                let opened = self.deltaforge_plugin_lifecycle().call_open(store, config.as_bytes()).await?;
                Ok(opened.map_err(|failure| failure!(failure)))
            }
        }
    };
}

lifecycle!(Processor, ProcessorPre<Guest>);
lifecycle!(Formatter, FormatterPre<Guest>);

#[async_trait]
impl Exports for Processor {
    async fn describe(&self, store: &mut Store<Guest>) -> Result<Description> {
        self.says(store).await
    }

    async fn open(&self, store: &mut Store<Guest>, config: &str) -> Answer {
        self.opened(store, config).await
    }

    async fn process(&self, store: &mut Store<Guest>) -> Answer {
        let processing = self.deltaforge_plugin_processing();
        let answer = processing.call_transform(store, Resource::new_borrow(0)).await?;
        Ok(answer.map(drop).map_err(|failure| failure!(failure)))
    }
}

#[async_trait]
impl Exports for Formatter {
    async fn describe(&self, store: &mut Store<Guest>) -> Result<Description> {
        self.says(store).await
    }

    async fn open(&self, store: &mut Store<Guest>, config: &str) -> Answer {
        self.opened(store, config).await
    }

    async fn content_type(&self, store: &mut Store<Guest>) -> Result<String> {
        self.deltaforge_plugin_formatting().call_media_type(store).await
    }

    async fn format(&self, store: &mut Store<Guest>, bodies: &mut Bodies) -> Answer {
        let formatting = self.deltaforge_plugin_formatting();
        let messages = match formatting.call_format(&mut *store, Resource::new_borrow(0)).await? {
            Ok(messages) => messages,
            Err(failure) => return Ok(Err(failure!(failure))),
        };
        let (mut flat, mut rejects) = (Flat::default(), Vec::new());
        for (row, message) in messages.iter().enumerate() {
            match message {
                Message::Body(body) => flat.push(presence::VALUE, body),
                Message::Tombstone => flat.push(presence::NULL, b""),
                Message::Unwritable(reason) => {
                    flat.push(presence::NONE, b"");
                    rejects.push((row as u32, reason.clone()));
                }
            }
        }
        crate::bodies::take(store.data_mut().call()?, flat, &rejects, bodies)?;
        Ok(Ok(()))
    }
}

impl types::Host for Guest {}
impl events::Host for Guest {}

impl events::HostBatch for Guest {
    fn size(&mut self, _: Resource<Shown>) -> Result<u32> {
        Ok(self.call()?.view.len() as u32)
    }

    fn text(&mut self, _: Resource<Shown>, row: u32, column: String) -> Result<Option<String>> {
        let call = self.call()?;
        let Some(column) = call.column(&column) else { return Ok(None) };
        Ok(call.get(row, Image::After, column)?.as_str().map(str::to_owned))
    }

    fn set_text(&mut self, _: Resource<Shown>, row: u32, column: String, text: String) -> Result<()> {
        let call = self.call()?;
        let number = call.column(&column);
        let number = number.ok_or_else(|| Ended::Edit(format!("there is no column {:?}", cut(&column))))?;
        Ok(call.set(row, Image::After, number, &Cell::Text(&text))?)
    }

    fn mark(&mut self, _: Resource<Shown>, row: u32, tag: String) -> Result<()> {
        Ok(self.call()?.side(row, SideEdit::Tag(tag))?)
    }

    fn discard(&mut self, _: Resource<Shown>, row: u32) -> Result<()> {
        Ok(self.call()?.drop_row(row)?)
    }

    fn drop(&mut self, _: Resource<Shown>) -> Result<()> {
        Ok(())
    }
}

impl log::Host for Guest {
    fn say(&mut self, line: log::Line) -> Result<()> {
        let level = if line.urgency > 5 { tracing::Level::ERROR } else { tracing::Level::INFO };
        self.voice.say(level, &line.text, &[]);
        if line.urgency > 5 {
            self.last_words = Some(cut(&line.text));
        }
        Ok(())
    }
}
