//! Plugins in their sandbox: real components, good and bad. One program, since every one that links the runtime
//! costs minutes to build.
#![allow(clippy::unwrap_used, missing_docs)]

mod batches;
mod formatter;
mod go;
mod guests;
mod hostile;
mod keeping;
mod registry;
mod released;
mod stage;
mod support;
mod tenants;
mod trials;
mod voice;
