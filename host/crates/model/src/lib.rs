//! The type that flows: a [`Batch`] of change events in a compact row layout, and what goes with it.
//!
//! * [`value`]: the exact values a cell can hold;
//! * [`schema`]: what a table looks like, once per batch;
//! * [`row`]: one row image, written by sources and read by encoders without conversion;
//! * [`batch`] and [`builder`]: the event index over those images;
//! * [`edit`]: what a stage changes, kept aside until it has answered `ok` and then applied whole;
//! * [`view`]: the rows a stage sees, by columns, rows or cells;
//! * [`json`]: cells, rows and keys as JSON text, and back;
//! * [`durable`]: the batch as bytes that another process may read, and must not trust;
//! * [`position`], [`event_id`], [`pattern`]: progress, identity, table patterns.
//!
//! No I/O, no clock, no threads: everything here also runs inside a WebAssembly guest.

pub mod batch;
pub mod builder;
pub mod durable;
pub mod edit;
pub mod event_id;
pub mod json;
pub mod pattern;
pub mod position;
pub mod row;
pub mod schema;
pub mod value;
pub mod view;

pub use batch::{
    Batch, Event, Image, OUTBOX_MARK, Op, RAW_MARK, Reject, Side, SnapshotMark, SourceInfo, Transaction,
    is_mark,
};
pub use builder::{BatchBuilder, EventHead};
pub use edit::{EditError, Overlay};
pub use event_id::EventId;
pub use position::{Boundary, LogSpan, Position, SourceBatch};
pub use row::{Row, RowWriter};
pub use schema::{Column, Kind, TableSchema};
pub use value::Cell;
pub use view::View;
