//! MySQL and MariaDB as a source. So far its pure part: bytes of the binary log in, rows in batches out. It opens no
//! connection and is not in the list of sources yet; the reader that follows a server's log with it comes next.
//!
//! * [`gtid`]: sets of transactions, exact, of both servers;
//! * [`binlog`]: events of the binary log;
//! * [`charset`]: text in the servers' charsets to UTF-8;
//! * [`layout`]: what a table's rows look like, from the log or from a declared definition;
//! * [`row`]: rows straight from an event's bytes into a batch;
//! * [`ddl`]: what statements of the log do to tables;
//! * `history`: tables' definitions as of the position;
//! * [`error`]: every way that can fail.
//!
//! Nothing here trusts its input: every length is checked against what is there, nothing is allocated by a length
//! that somebody claims, and broken bytes are a typed error.

pub mod binlog;
mod bytes;
pub mod charset;
pub mod config;
mod connect;
pub mod ddl;
mod dsn;
pub mod error;
mod failure;
pub mod gtid;
mod history;
pub mod layout;
pub mod row;

pub use error::{DecodeError, LayoutError};
pub use layout::TableLayout;
pub use row::{RowCursor, Scratch};
