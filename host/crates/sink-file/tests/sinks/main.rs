//! The sinks from outside: through the engine's traits, on a real and on a forgetful disk.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
mod crash;
mod files;
mod others;
