//! Statements: words that transactions are made of, and what changes definitions.

use std::sync::Arc;

use deltaforge_model::{Op, Side, TableSchema};

use super::super::End;
use super::super::filling::Source;
use super::super::outlet::Outlet;
use super::super::transaction::Open;
use super::super::words::Words;
use super::Log;
use crate::binlog::query::Query;
use crate::binlog::{Header, RowsKind};
use crate::config::SchemaDrift;
use crate::ddl::TableName;
use crate::definitions::{Effect, How, Touched, text_of};
use crate::failure::MysqlError;
use crate::position::{At, Name};
use crate::scope;

impl Log {
    pub(super) async fn statement(
        &mut self,
        query: &Query<'_>,
        header: &Header,
        starts: u64,
        outlet: &mut Outlet,
    ) -> Result<(), End> {
        let words = Words::of(query.sql);
        // Servers without GTID events.
        let begins = |tx: &Open| tx.begun && words == Words::Begin && matches!(tx.name, Name::At(..));
        if self.tx.as_ref().is_none_or(begins) {
            let name = Name::At(self.here.file.clone(), starts);
            self.open(name, header.server_id, i64::from(header.timestamp_seconds) * 1_000_000)?;
        }
        let Some(tx) = &mut self.tx else { return Ok(()) };
        match words {
            Words::Begin => tx.begun = true,
            Words::Commit => self.commit(outlet).await?,
            Words::Rollback => {
                self.roll_back(0)?;
                self.commit(outlet).await?;
            }
            Words::Savepoint(name) => self.savepoint(name),
            Words::RollbackTo(name) => self.roll_back_to(name)?,
            Words::XaStart(name) => self.prepare(name.to_owned()),
            Words::XaEnd => {}
            Words::XaCommit(name) => {
                match self.prepared.take(name) {
                    Some(prepared) => self.rows_of(prepared, outlet).await?,
                    None if tx.known => {}
                    None => return Err(self.unknown_xa(name).into()),
                }
                self.commit(outlet).await?;
            }
            Words::XaRollback(name) => {
                self.prepared.take(name);
                self.commit(outlet).await?;
            }
            Words::Data if tx.known => {}
            Words::Data => return Err(self.not_rows("a statement that changes rows").into()),
            Words::Other { opens } => {
                tx.begun |= opens;
                let (ends, counts) = (!tx.begun, !tx.known && !tx.passes);
                if counts {
                    self.definition(query, starts, outlet).await?;
                }
                if ends {
                    self.commit(outlet).await?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn savepoint(&mut self, name: &str) {
        let kept = self.preparing.as_ref().map(|preparing| preparing.len() as u32);
        if let Some(tx) = &mut self.tx {
            // They take a sixteenth of the budget at most; beside what they name they are small.
            tx.savepoints.set(name, kept.unwrap_or(tx.events), self.filling.hard_bytes() / 4);
        }
    }

    pub(super) fn roll_back_to(&mut self, name: &str) -> Result<(), MysqlError> {
        let Some(tx) = &mut self.tx else { return Ok(()) };
        match tx.savepoints.back_to(name) {
            Some(events) => self.roll_back(events),
            None => Err(self.unknown_savepoint(name)),
        }
    }

    /// Takes rows back until the transaction has so many events.
    fn roll_back(&mut self, events: u32) -> Result<(), MysqlError> {
        if let Some(preparing) = &mut self.preparing {
            preparing.truncate(events as usize);
            return Ok(());
        }
        let Some(tx) = &mut self.tx else { return Ok(()) };
        if u64::from(events) < tx.handed_out {
            return Err(MysqlError::Unsupported(format!(
                "the transaction at {} takes rows back that were delivered, since it is larger than a quarter of \
                 spec.max_memory_bytes: raise that",
                self.place()
            )));
        }
        self.filling.take_back(tx.first + (u64::from(events) - tx.handed_out) as usize);
        tx.events = events;
        Ok(())
    }

    /// A statement that may change definitions.
    async fn definition(&mut self, query: &Query<'_>, starts: u64, outlet: &mut Outlet) -> Result<(), End> {
        let confirmed = self.confirmed.borrow_and_update().clone();
        if let Some(confirmed) = confirmed {
            self.definitions.confirm(&confirmed);
        }
        let Effect { touched, redefined } =
            self.definitions.statement(query, &self.behind().position()).await?;
        self.layouts.clear();
        for (before, now) in scope::arrived(&redefined, &self.captured) {
            tracing::warn!(%before, %now, "a table got a captured name: the rows that it has are not copied, only what changes from here on \
                 is handed out");
        }
        let captured = |touched: &Touched| self.captured.has(&touched.table.database, &touched.table.table);
        let touched: Vec<Touched> = touched.into_iter().filter(captured).collect();
        let is_drift = |touched: &&Touched| matches!(touched.how, How::Changed | How::Dropped);
        if self.on_drift == SchemaDrift::Halt
            && let Some(touched) = touched.iter().find(is_drift)
        {
            let (table, place, text) = (&touched.table, self.place(), text_of(query));
            return Err(MysqlError::Drift(format!(
                "the definition of {table} changes at {place} and on_schema_drift is halt: {text}. Set on_schema_drift: \
                 adapt to go on with the new one"
            ))
            .into());
        }
        if self.filling.has_no_room(query.sql.len() * touched.len(), false) {
            self.cut(outlet).await?;
        }
        let Some(tx) = &mut self.tx else { return Ok(()) };
        tx.redefined = redefined;
        for Touched { table: TableName { database, table }, how } in touched {
            let schema: Arc<TableSchema> = TableSchema::new(database, None, table, Vec::new(), &[]);
            let kind = RowsKind::Write;
            let from = Source { schema: &schema, kind, outbox: false, pos: starts, file: &self.here.file };
            if how == How::Emptied {
                self.filling.note(tx, from, Op::Truncate, Side::default());
            } else {
                let ddl = Some((text_of(query), query.database.to_owned()));
                self.filling.note(tx, from, Op::Ddl, Side { ddl, ..Side::default() });
            }
        }
        Ok(())
    }

    /// The position right behind the transaction that is being read.
    pub(super) fn behind(&self) -> At {
        let mut at = self.at.clone();
        if let Some(tx) = &self.tx {
            at.place.gtid.add(&tx.name);
        }
        self.here.write(&mut at.place);
        at
    }

    #[cold]
    pub(super) fn not_rows(&self, what: &str) -> MysqlError {
        MysqlError::NotReady(format!(
            "the log at {} has {what} in place of rows: binlog_format is not ROW for every session. SET PERSIST \
             binlog_format = 'ROW' (MariaDB: SET GLOBAL, and in its file), let sessions reconnect, and take a new snapshot: \
             what the statement changed is not in the log",
            self.place()
        ))
    }

    #[cold]
    fn unknown_savepoint(&self, name: &str) -> MysqlError {
        MysqlError::Unsupported(format!(
            "the transaction at {} takes rows back to its savepoint {name}, which is not known: it was never set, or so many \
             others were behind it that it was forgotten. All of them may take {} bytes, a sixteenth of spec.max_memory_bytes: raise that",
            self.place(),
            self.filling.hard_bytes() / 4
        ))
    }

    #[cold]
    fn unknown_xa(&self, name: &str) -> MysqlError {
        MysqlError::Unsupported(format!(
            "the XA transaction {name}, committed at {}, was prepared before the stream began: its rows were never seen. They \
             were no longer in the log, or the account may not list such transactions (MySQL: GRANT XA_RECOVER_ADMIN ON *.*). Take a new \
             snapshot",
            self.place()
        ))
    }
}
