//! What a plugin's author needs, without a clone and without a tool beside the language's own.
//!
//! * [`scaffold`]: a project that builds and tests at once, with the SDK in it;
//! * [`build`]: the language's toolchain, then the component, made here;
//! * [`golden`]: files of what goes in and what comes out, run in the sandbox;
//! * [`preview`]: what a plugin does to each event;
//! * [`bench`](mod@bench): what an event costs.
//!
//! Nothing here prints; the command line does.

pub mod bench;
pub mod build;
pub mod golden;
pub mod preview;
pub mod scaffold;

mod embedded;
