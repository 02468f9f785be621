//! Pipeline documents: reading, expanding, checking and describing them.
pub mod spec;
