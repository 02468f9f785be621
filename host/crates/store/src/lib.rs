//! State backends behind [`deltaforge_engine::state::StateStore`], and what they share.
//!
//! * [`MemoryStore`] lives as long as the process: tests and pipelines that may start over.
//! * [`SqliteStore`] keeps everything in one file and survives `kill -9` and power loss.
//! * [`contract`] is the one test suite that every backend passes.
//! * [`DataDir`] is the directory that a host owns alone.

mod clock;
pub mod contract;
mod data_dir;
mod memory;
mod private;
mod sqlite;

pub use data_dir::{DataDir, DataDirError};
pub use memory::MemoryStore;
pub use sqlite::{OpenError, SqliteStore};
