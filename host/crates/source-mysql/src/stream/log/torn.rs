//! Transactions that their server never finished.
//!
//! A server that dies while it writes a transaction leaves the beginning of it at the end of its file, rolls it back when it
//! starts again, and goes on in another file. MariaDB gives the next transaction the same GTID; MySQL cuts its file off. A disk
//! that is full may leave a beginning in the middle of a file. Replicas roll it back where a server that has started begins a
//! file, or where another transaction begins; so is it done here.

use super::super::transaction::Open;
use super::Log;
use crate::failure::MysqlError;
use crate::resume::ANEW;

impl Log {
    /// Something comes that stands in no transaction, or in another one: what is open will never be committed.
    ///
    /// # Errors
    ///
    /// When rows of it were handed out.
    pub(super) fn never_finished(&mut self) -> Result<(), MysqlError> {
        self.preparing = None;
        let Some(tx) = self.tx.take() else { return Ok(()) };
        let behind = if tx.known { &self.again } else { &self.at.place };
        let begins = format!("{}:{}", behind.file, behind.pos);
        if tx.handed_out > 0 {
            return Err(rolled_back(&tx, &begins));
        }
        self.filling.take_back(tx.first);
        tracing::warn!(
            transaction = %tx.name,
            begins,
            now = self.place(),
            rows = tx.events,
            "a transaction of the log has no end: its server rolled it back, and nothing of it is handed out"
        );
        Ok(())
    }
}

#[cold]
fn rolled_back(tx: &Open, begins: &str) -> MysqlError {
    let Open { name, handed_out, .. } = tx;
    MysqlError::Rewound(format!(
        "the transaction {name}, which begins at {begins}, has no end in the log: its server died while it wrote it, and rolled it \
         back. {handed_out} rows of it were delivered in pieces, since it is larger than a quarter of spec.max_memory_bytes: \
         consumers hold changes that never came to be, and another transaction may bear the same name. {ANEW}"
    ))
}
