//! Pipeline documents: reading, expanding, checking and describing them.
//!
//! A document passes through these steps, and every problem of every step lands in one
//! [`Report`]:
//!
//! 1. `yaml` reads the text into a tree whose values know their line and column;
//! 2. `expand` puts in the environment's values;
//! 3. `shape` holds the tree against the [`Catalog`]'s schema, in plain words;
//! 4. `blocks` lets each connector, processor and plugin check its own settings;
//! 5. `rules` looks at what depends on one another, `files` at files that two sinks would write;
//! 6. `typed` makes the [`PipelineSpec`].
//!
//! **Invariant:** no input makes it panic, and no message quotes a secret or a value from the
//! environment.

pub mod auth;
mod blocks;
mod catalog;
mod effort;
mod expand;
mod files;
mod path;
mod problem;
mod problems;
mod read;
mod rules;
mod secret;
mod settings;
mod shape;
pub mod spec;
mod text;
mod typed;
mod yaml;

pub use catalog::{Block, Catalog, Finding, Part, PluginCheck, PluginUse, Role};
pub use effort::{Effort, Scrutiny};
pub use expand::Lookup;
pub use problem::{Code, Problem, Report};
pub use read::{Origin, Pipeline};
pub use secret::{HIDDEN, Secret, hide_passwords};
pub use settings::{read_settings, read_settings_text};
pub use spec::{
    Batch, CommitPolicy, Dlq, Encoding, EnvelopeSpec, Grant, Implementation, Journal, Limits, Metadata,
    OnError, OverflowPolicy, PipelineSpec, ProcessorSpec, SinkFilter, SinkSpec, SourceSpec, Spec, Spill,
    Start, TableFilter,
};
