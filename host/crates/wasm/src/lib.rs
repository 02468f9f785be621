//! WebAssembly plugins: the only crate that knows wasmtime.
//!
//! * [`Runtime`]: one engine a host, compiled components, the clock that keeps guests to their time;
//! * [`Registry`]: where plugins are found, by name and version, by path, by digest;
//! * [`WasmStage`] and [`WasmFormatter`]: a plugin behind the engine's traits, under its limits;
//! * one adapter for each version of the interface in `wit/`, over the same native batch.
//!
//! A guest never sees the host's memory: it borrows a batch, looks at what it asks for, and its edits take effect
//! only after it has answered `ok`. A guest that trapped or ran out of time is dead; the next call gets a new one.

mod adapter;
mod bodies;
mod cache;
mod call;
mod compiler;
mod error;
mod factory;
mod formatter;
mod grants;
mod guest;
mod inspect;
mod instance;
mod json;
mod limits;
mod manifest;
mod mistakes;
mod plugin;
mod publish;
mod reference;
mod registry;
mod runtime;
mod schema;
mod stage;
mod transcript;
mod trial;
mod tryout;
mod v1;
mod voice;
mod wasi;

pub use compiler::{compile_apart, serve as compile_here};
pub use error::{DEADLINE, EDIT, FAILED, LOAD, MAX_GUEST_TEXT, MEMORY, REJECTED, TRAP};
pub use factory::{WasmFormatterFactory, WasmStageFactory};
pub use formatter::WasmFormatter;
pub use grants::Grants;
pub use inspect::Inspection;
pub use limits::{DEFAULT_LIMITS, MAX_ADDED_COLUMNS};
pub use manifest::PluginManifest;
pub use plugin::{Description, PluginKind, digest_of};
pub use publish::{MAX_UPLOAD, WasmCatalog};
pub use reference::{Reference, ReferenceError};
pub use registry::{Collection, Kept, PluginInfo, Registry, RegistryError, Resolved, Unreadable};
pub use runtime::{LoadError, MAX_CACHE, Runtime};
pub use stage::WasmStage;
pub use transcript::Transcript;
pub use trial::{Trial, TrialError, TrialSpec};
