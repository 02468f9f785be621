//! The engine: the traits a pipeline is made of, and the loop that runs it.
//!
//! ```text
//! SourceReader ─Batch→ Stage… ─Batch→ Formatter ─Messages→ Sink
//!       ▲                │ seq, covers stay here: Ledger ◄── Durable(seq) ─┘
//!       └─ confirm ◄─ Checkpoints ◄─ longest durable prefix by policy
//! ```

pub mod anew;
pub mod batcher;
pub mod budget;
pub mod catalog;
pub mod checkpoint;
pub mod compose;
pub mod control;
pub mod disk;
pub mod dlq;
pub mod error;
pub mod failpoint;
pub mod follow;
mod halt;
pub mod ledger;
pub mod lines;
pub mod message;
mod narrate;
pub mod pipeline;
pub mod plan;
pub mod retry;
mod run;
mod search;
pub mod secrets;
pub mod share;
pub mod sink;
pub mod snapshots;
pub mod source;
pub mod span;
pub mod spill;
pub mod stage;
pub mod stages;
pub mod state;
pub mod status;
pub mod suggest;
pub mod swap;
mod takings;
mod tally;
pub mod tap;
pub mod template;
pub mod tenants;
pub mod unused;
pub mod usage;
pub mod waits;

pub use control::Control;
pub use pipeline::Pipeline;
pub use run::{SinkCheckpoint, Swapped};
pub use takings::Leaving;
