//! GTID sets, exact: what is in them is known transaction by transaction, never by the highest number.
//!
//! * [`interval`]: sets of transaction numbers;
//! * [`set`]: MySQL's sets, `uuid[:tag]:intervals`, and their text;
//! * [`encoding`]: the bytes of those, as COM_BINLOG_DUMP_GTID takes and PREVIOUS_GTIDS_LOG_EVENT gives them;
//! * [`mariadb`]: domain-server-sequence, of the other server.

pub mod encoding;
pub mod interval;
pub mod mariadb;
pub mod set;
#[cfg(test)]
mod tests;

pub use interval::{Interval, Intervals};
pub use mariadb::{MariaGtid, MariaState};
pub use set::{Gtid, GtidSet, ParseGtidError, Tag, Tsid, Uuid};
