//! What real servers wrote, decoded and compared with the servers' own text; and bytes that no server wrote.

#![allow(missing_docs, clippy::unwrap_used)]

mod captured;
mod events;
mod exercise;
mod hostile;
mod layouts;
mod rows;
mod text;
