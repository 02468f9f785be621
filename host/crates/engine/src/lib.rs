//! The engine: the traits a pipeline is made of, and the loop that runs it.

pub mod state;
