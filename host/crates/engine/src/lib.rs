//! The engine: the traits a pipeline is made of, and the loop that runs it.
//!
//! ```text
//! SourceReader ─Batch→ Stage… ─Batch→ Formatter ─Messages→ Sink
//!       ▲                │ seq, covers stay here: Ledger ◄── Durable(seq) ─┘
//!       └─ confirm ◄─ Checkpoints ◄─ longest durable prefix by policy
//! ```

pub mod batcher;
pub mod disk;
pub mod error;
pub mod message;
pub mod sink;
pub mod source;
pub mod spill;
pub mod stage;
pub mod state;
