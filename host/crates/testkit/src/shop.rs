//! A shop's database and what happens in it.
//!
//! What happens is a function of a seed ([`Story`]), so the process that writes and the test that checks agree
//! without talking to each other.

mod database;
mod story;
mod writer;

pub(crate) use database::key_of;
pub use database::{Shop, live_rows};
pub use story::{Change, Kind, Step, Story, Table, steps};
pub use writer::{Writer, write};
