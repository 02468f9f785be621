//! Write DeltaForge plugins in Rust.
//!
//! A plugin is a type that implements [`Processor`] (it edits change events) or [`Formatter`] (it shapes them into
//! message bodies), and one line that exports it. The same source is a WebAssembly component when it is built for
//! `wasm32-unknown-unknown`, and an ordinary library that a host or a unit test calls directly anywhere else.
//!
//! ```
//! use deltaforge_sdk::{Batch, Failure, Image, Manifest, Processor};
//!
//! /// Takes the digits out of phone numbers.
//! struct HidePhones {
//!     column: String,
//! }
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     column: String,
//! }
//!
//! impl Processor for HidePhones {
//!     type Config = Config;
//!
//!     fn describe() -> Manifest {
//!         Manifest::new("hide-phones", "1.0.0", "takes the digits out of phone numbers")
//!     }
//!
//!     fn open(config: Config) -> Result<Self, Failure> {
//!         Ok(Self { column: config.column })
//!     }
//!
//!     fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
//!         for image in Image::BOTH {
//!             batch.map_texts(image, &self.column, |phone, out| {
//!                 out.extend(phone.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }));
//!             });
//!         }
//!         Ok(())
//!     }
//! }
//!
//! deltaforge_sdk::processor!(HidePhones);
//!
//! // A unit test of it needs no host.
//! use deltaforge_sdk::testing::TestBatch;
//! use serde_json::json;
//!
//! let outcome = TestBatch::new()
//!     .insert("shop.customers", json!({"id": 1, "phone": "555-0199"}))
//!     .process::<HidePhones>(json!({"column": "phone"}))
//!     .unwrap();
//! assert_eq!(outcome.events()[0]["after"]["phone"], "###-####");
//! ```
//!
//! There are five ways to touch a batch, and they mix: whole [columns](Batch#columns) (by far the fastest),
//! [rows](Batch::rows), single [cells](Batch::get), [event after event](Batch::for_each) (the easiest), and
//! [JSON](Batch::to_json). Getters answer the batch as it came;
//! changes are kept aside and take effect together when the call has returned `Ok`.

mod batch;
mod bodies;
mod config;
mod event;
mod events;
mod failure;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
mod host;
mod json_events;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
mod rows;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod value;

#[cfg(target_arch = "wasm32")]
use guest as backend;
#[cfg(not(target_arch = "wasm32"))]
use native as backend;

pub use batch::Batch;
pub use bodies::{Bodies, BodyParts};
pub use deltaforge_model::json;
pub use deltaforge_model::pattern::Patterns;
pub use deltaforge_model::value::CellKind;
pub use deltaforge_model::view::{Column as Ints, Column as Floats, Flat, presence};
pub use deltaforge_model::{EventId, Image, Kind, Op};
pub use event::Event;
pub use events::{ColumnId, Extras, NewEvent, Origin, Route, Source, Table};
pub use failure::{Failure, FailureKind};
pub use host::{clock, log, metrics};
pub use json_events::JsonEvents;
pub use rows::{RowView, Rows};
pub use value::Value;

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its name, as the registry knows it.
    pub name: String,
    /// Its version, `1.2.3`.
    pub version: String,
    /// What it does, in a sentence.
    pub description: String,
    /// Patterns of the tables it wants to see (`shop.*`, `orders`); empty: all. Rows of others pass it by.
    pub tables: Vec<String>,
    /// The columns it reads, for people who decide whether to use it; empty: not said.
    pub reads: Vec<String>,
    /// The columns it may change or add, likewise.
    pub writes: Vec<String>,
    /// What its `config` may be, as JSON Schema; empty: not said.
    pub config_schema: String,
}

impl Manifest {
    /// A plugin for all tables.
    pub fn new(name: &str, version: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            description: description.to_owned(),
            tables: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            config_schema: String::new(),
        }
    }

    /// Shows it only rows of tables that these patterns cover.
    #[must_use]
    pub fn tables(mut self, patterns: &[&str]) -> Self {
        self.tables = owned(patterns);
        self
    }

    /// Says which columns it reads.
    #[must_use]
    pub fn reads(mut self, columns: &[&str]) -> Self {
        self.reads = owned(columns);
        self
    }

    /// Says which columns it may change or add.
    #[must_use]
    pub fn writes(mut self, columns: &[&str]) -> Self {
        self.writes = owned(columns);
        self
    }

    /// Says what its `config` may be, as JSON Schema: the host refuses another one before the plugin sees it.
    #[must_use]
    pub fn config_schema(mut self, schema: &str) -> Self {
        schema.clone_into(&mut self.config_schema);
        self
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A plugin that edits events.
pub trait Processor: Sized + Send + 'static {
    /// The stage's `config` block. Let serde refuse what it does not know (`deny_unknown_fields`): a typo must not
    /// change silently what a pipeline does.
    type Config: serde::de::DeserializeOwned;

    /// Asked once, when the plugin is loaded, without an instance.
    fn describe() -> Manifest;

    /// Makes the instance that sees the batches; called once before the first.
    ///
    /// # Errors
    ///
    /// A failure here is a problem of the configuration: the pipeline does not start.
    fn open(config: Self::Config) -> Result<Self, Failure>;

    /// Looks at a batch of at most a few hundred events and edits it.
    ///
    /// # Errors
    ///
    /// The call could not do its work; no edit of it is applied. Single events that are at fault are better
    /// [rejected](Batch::reject).
    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure>;
}

/// A plugin that shapes events into message bodies.
pub trait Formatter: Sized + Send + 'static {
    /// As [`Processor::Config`].
    type Config: serde::de::DeserializeOwned;

    /// As [`Processor::describe`].
    fn describe() -> Manifest;

    /// As [`Processor::open`].
    ///
    /// # Errors
    ///
    /// As [`Processor::open`].
    fn open(config: Self::Config) -> Result<Self, Failure>;

    /// What the bodies are, as a MIME type.
    fn content_type(&self) -> &str {
        "application/json"
    }

    /// Makes one body for each row, in order.
    ///
    /// # Errors
    ///
    /// The call could not do its work. Single rows that cannot be written go to [`Bodies::reject`].
    fn format(&mut self, batch: &Batch<'_>, bodies: &mut Bodies) -> Result<(), Failure>;
}

/// Makes a [`Processor`] the component's processor. Does nothing outside WebAssembly.
#[macro_export]
macro_rules! processor {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        $crate::__export_processor!($plugin);
    };
}

/// Makes a [`Formatter`] the component's formatter. Does nothing outside WebAssembly.
#[macro_export]
macro_rules! formatter {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        $crate::__export_formatter!($plugin);
    };
}
