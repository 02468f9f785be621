//! Every way decoding can fail, and what helps.

/// Bytes that could not be decoded. None of these is transient: the same bytes fail again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// An event ends before what it must hold.
    #[error(
        "read {what}: {need} bytes are needed and {have} are left; read the log from the event's start again"
    )]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// How many bytes it takes.
        need: u64,
        /// How many there are.
        have: u64,
    },
    /// An event holds what no server writes.
    #[error("read {what}: {why}")]
    Corrupt {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The CRC32 of an event is wrong.
    #[error(
        "the checksum of an event is {found:08x} and {computed:08x} was expected: the log was damaged on the server's \
         disk or on its way; compare with mysqlbinlog --verify-binlog-checksum on the server"
    )]
    Checksum {
        /// As the event says.
        found: u32,
        /// As its bytes say.
        computed: u32,
    },
    /// Something takes more than its bound.
    #[error(
        "{what} takes {size} bytes, more than the bound of {most}: raise the pipeline's memory, or leave the table out"
    )]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its bytes; at least this many, where the end was not seen.
        size: u64,
        /// The bound.
        most: u64,
    },
    /// An event that is not understood and may not be passed over.
    #[error("events of type {kind} are not supported: {advice}")]
    Unsupported {
        /// The event's type number.
        kind: u8,
        /// What to do.
        advice: &'static str,
    },
    /// An update has only what changed in a document, and not the document.
    #[error("a row has only what changed in the JSON document of column {column}, and not the document")]
    DocumentMissing {
        /// The column's number, from 0.
        column: usize,
    },
    /// The server lost events: its log has a gap here.
    #[error(
        "the server wrote an incident into its log ({message}): changes are missing from it; take a new snapshot"
    )]
    Incident {
        /// The server's words.
        message: String,
    },
    /// Compressed content that does not decompress.
    #[error("decompress {what}: {why}")]
    Compression {
        /// What was compressed.
        what: &'static str,
        /// The decompressor's words.
        why: String,
    },
}

impl DecodeError {
    #[cold]
    pub(crate) fn corrupt(what: &'static str, why: impl Into<String>) -> Self {
        Self::Corrupt { what, why: why.into() }
    }
}

/// Why rows of a table cannot be decoded from what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The table map names no columns and nobody else told them.
    #[error(
        "the log does not name the columns of {table}: SET PERSIST binlog_row_metadata = 'FULL' (MariaDB: SET GLOBAL) \
         on the server, for what is logged from then on. For what was logged before: leave {table} out of `tables` until the \
         stream has passed it, or delete the checkpoint and begin with `snapshot: {{mode: initial}}`"
    )]
    NamesMissing {
        /// `database.table`.
        table: String,
    },
    /// The labels of an ENUM or SET column are not known.
    #[error(
        "the labels of column {column} of {table} are not known; they are in the log with binlog_row_metadata = 'FULL'"
    )]
    LabelsMissing {
        /// `database.table`.
        table: String,
        /// The column.
        column: String,
    },
    /// The log has only what changed in a JSON document, and not the document.
    #[error(
        "an update of {table} has only what changed in the JSON documents of column {column}, and not the documents \
         (binlog_row_value_options = PARTIAL_JSON, with another binlog_row_image than FULL). SET PERSIST binlog_row_image = 'FULL' on the \
         server, for what is logged from then on. For what was logged before: leave {table} out of `tables` until the stream has \
         passed it, or delete the checkpoint and begin with `snapshot: {{mode: initial}}`"
    )]
    DocumentMissing {
        /// `database.table`.
        table: String,
        /// The column.
        column: String,
    },
    /// The definition has another number of columns than the rows.
    #[error(
        "rows of {table} have {logged} columns and its definition has {declared}: it is not the one of this position"
    )]
    ColumnCount {
        /// `database.table`.
        table: String,
        /// As in the log.
        logged: usize,
        /// As in the definition.
        declared: usize,
    },
    /// The definition says another type than the log.
    #[error(
        "column {column} of {table} is declared {declared}, which the log writes otherwise (type {logged}): {advice}"
    )]
    ColumnType {
        /// `database.table`.
        table: String,
        /// The column.
        column: String,
        /// The declared type.
        declared: String,
        /// The type number in the log.
        logged: u8,
        /// What to do.
        advice: &'static str,
    },
    /// A charset that this program has no table for.
    #[error("column {column} of {table} has the collation {collation}, whose charset is not known here")]
    Charset {
        /// `database.table`.
        table: String,
        /// The column.
        column: String,
        /// The collation's number.
        collation: u16,
    },
    /// The table map itself is broken.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}
