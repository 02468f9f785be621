//! Sinks on this machine: `file` (JSON Lines), `stdout` and `null`.
//!
//! The file sink promises:
//!
//! * A line that was reported durable survives power loss; every file name it is found under does, too.
//! * After an open, every line of the active file and of every rotated file is whole.
//! * The active file is cut back to the length in the checkpoint before anything is written again, so events
//!   that were written after it do not appear twice. Whole lines behind it that the sink does not know for its own are
//!   kept in `<path>.<UTC time>-<number>.cut`. Only when the file was rotated since does the rotated
//!   file, which is never changed again, keep lines that come again in the next one, with equal event ids.
//! * A file it does not know is never cut: whole lines are appended to. Anything else is moved aside where a sink had
//!   this path before, so that a crash can have left it; elsewhere it is somebody else's, and refused untouched.
//! * Messages without a body (tombstones) have no line.

mod config;
mod error;
mod file;
mod journal;
mod lines;
mod null;
mod state;
mod stdout;
mod utc;
mod writer;

pub use config::{FileConfig, NoConfig, RotateConfig};
pub use file::FileSinkFactory;
pub use null::NullSinkFactory;
pub use stdout::StdoutSinkFactory;
