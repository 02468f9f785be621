//! From MySQL and MariaDB to Kafka, whatever fails: every change is in its topic, in its key's order, and where it is there
//! again it has the same id; with `exactly_once` each is there once.
//!
//! Sessions write at random, and write down beside each statement how many rows it changed. A topic is held against that and
//! against the rows that the server has in the end.

mod copies;
mod kills;
mod large;
mod mishaps;
mod place;
mod promotion;
mod sinks;
mod told;
mod writers;
