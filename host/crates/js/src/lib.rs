//! The JavaScript processor: scripts of the pipeline's YAML, on deno_core with the QuickJS engine.
//!
//! A script is handed lazy events: it reads and writes columns of the batch that stay in the host until touched,
//! and what it did not touch is never copied nor changed (`prelude.js`). Around it, from the outside in:
//!
//! * [`Javascript`] builds stages and checks scripts;
//! * `stage`: one script at work; when its thread does not come back it gets another one;
//! * `worker`: the thread a script has to itself, and idle ones kept for reuse;
//! * `script`: the isolate on that thread: load, run, limits, errors with their line;
//! * `watchdog`: one thread that ends scripts at their limits;
//! * `plan`: a slice as groups of records and columns of JSON text; `ops`: what the prelude may ask and tell;
//! * `changes`: what the script did, as edits of an overlay.
//!
//! Scripts see ECMAScript and `console`, nothing of the host, no files, no network, no timers.

mod changes;
mod clock;
mod console;
mod engine;
mod factory;
mod ops;
mod plan;
mod script;
mod stage;
mod watchdog;
mod worker;

#[cfg(test)]
mod tests;

pub use factory::{DEFAULT_LIMITS, Javascript, JavascriptConfig, digest};
