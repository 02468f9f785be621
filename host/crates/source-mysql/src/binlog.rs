//! Binary log events, from MySQL and MariaDB. Pure: bytes in, borrowed parts of them out.
//!
//! * [`header`]: what every event begins with, and the types' numbers;
//! * [`decoder`]: what must be known from earlier events to read the next: checksums and header lengths;
//! * [`event`]: what an event can be;
//! * [`format`], [`query`], [`transaction`], [`control`]: the events around rows;
//! * [`serialization`]: the format of tagged GTID events;
//! * [`table_map`], [`metadata`]: what the rows that follow look like;
//! * [`rows`]: row events of all versions; [`row`](crate::row) reads the rows themselves;
//! * [`payload`], [`compressed`]: compressed transactions of MySQL, compressed events of MariaDB.
//!
//! Formats are cited from the MySQL manual's "Binlog Event" pages of the source documentation and MariaDB's
//! knowledge base ("Replication Protocol").

pub mod compressed;
pub mod control;
pub mod decoder;
pub mod event;
pub mod format;
pub mod header;
pub mod metadata;
pub mod payload;
pub mod query;
pub mod rows;
pub(crate) mod serialization;
pub mod table_map;
#[cfg(test)]
mod tests;
pub mod transaction;

pub use decoder::{Decoder, Limits};
pub use event::{Body, Event};
pub use header::{EventType, Header};
pub use payload::{PayloadEvents, PayloadRoom, TransactionPayload};
pub use rows::{Rows, RowsKind};
pub use table_map::TableMap;
