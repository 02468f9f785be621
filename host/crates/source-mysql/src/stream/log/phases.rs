//! The two phases of XA transactions.

use super::super::End;
use super::super::outlet::Outlet;
use super::super::transaction::Ids;
use super::super::words::Words;
use super::super::xa::Prepared;
use super::Log;
use crate::binlog::transaction::XaPrepare;
use crate::binlog::{Body, PayloadRoom};
use crate::failure::MysqlError;
use crate::position::Name;

impl Log {
    /// The first phase of an XA transaction begins: its rows are kept.
    pub(super) fn prepare(&mut self, name: String) {
        let Some(tx) = &mut self.tx else { return };
        tx.begun = true;
        let ids = Ids::new(&tx.name, &self.identity, tx.ts_us);
        let before = if tx.known { &self.again } else { &self.at.place };
        self.preparing = Some(Prepared::begin(name, self.decoder.clone(), ids, before.clone()));
    }

    pub(super) async fn prepared(
        &mut self,
        prepare: &XaPrepare<'_>,
        packet: Option<&[u8]>,
        outlet: &mut Outlet,
    ) -> Result<(), End> {
        if let Some(mut preparing) = self.preparing.take() {
            let wanted = preparing.wanted;
            if let Some(packet) = packet.filter(|_| wanted) {
                preparing.push(packet);
            }
            if prepare.one_phase {
                self.rows_of(preparing, outlet).await?;
            } else {
                self.prepared.add(preparing);
                self.bound_prepared()?;
            }
        }
        self.commit(outlet).await
    }

    /// The rows of an XA transaction come to be.
    pub(super) async fn rows_of(&mut self, prepared: Prepared, outlet: &mut Outlet) -> Result<(), End> {
        let most = self.most_prepared();
        let Some(tx) = self.tx.as_mut().filter(|tx| !tx.known) else { return Ok(()) };
        if prepared.is_forgotten() {
            return Err(no_room("took more than there is room for", most).into());
        }
        let (ids, mut decoder, events) = prepared.into_parts();
        tx.ids = ids;
        if let Name::MariaDb(_) = tx.name {
            tx.ts_us = tx.ids.ts_us();
        }
        let (mut inflated, mut room) = (Vec::new(), PayloadRoom::default());
        for packet in &events {
            let event = decoder.decode(packet, &mut inflated).map_err(|error| self.broken(error))?;
            let starts = u64::from(event.header.next_pos.saturating_sub(event.header.size));
            match event.body {
                Body::Payload(payload) => {
                    let mut events =
                        payload.events(&decoder, &mut room).map_err(|error| self.broken(error))?;
                    while let Some(event) = events.next().map_err(|error| self.broken(error))? {
                        self.content(&event.body, starts, outlet).await?;
                    }
                }
                body => self.content(&body, starts, outlet).await?,
            }
        }
        Ok(())
    }

    /// An event of an XA transaction whose rows come to be.
    async fn content(&mut self, body: &Body<'_>, starts: u64, outlet: &mut Outlet) -> Result<(), End> {
        match body {
            Body::TableMap(map) => Ok(self.table(map).await?),
            Body::Rows(rows) => self.rows(*rows, starts, outlet).await,
            Body::Query(query) => match Words::of(query.sql) {
                Words::Savepoint(name) => {
                    self.savepoint(name);
                    Ok(())
                }
                Words::RollbackTo(name) => Ok(self.roll_back_to(name)?),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    pub(super) fn bound_prepared(&mut self) -> Result<(), MysqlError> {
        if self.prepared_bytes() > self.most_prepared() && self.tx.as_ref().is_some_and(|tx| tx.known) {
            // What is read again may have ended long ago: its commit will tell.
            match &mut self.preparing {
                Some(preparing) => preparing.forget(),
                None => self.prepared.forget_newest(),
            }
        }
        let (bytes, most) = (self.prepared_bytes(), self.most_prepared());
        if bytes <= most { Ok(()) } else { Err(no_room(&format!("take {bytes} bytes"), most)) }
    }

    /// What XA transactions take, one that is being read included.
    fn prepared_bytes(&self) -> usize {
        self.prepared.bytes() + self.preparing.as_ref().map_or(0, Prepared::bytes)
    }

    fn most_prepared(&self) -> usize {
        self.filling.hard_bytes()
    }
}

#[cold]
fn no_room(why: &str, most: usize) -> MysqlError {
    MysqlError::RowTooLarge(format!(
        "XA transactions that are prepared and not committed {why}, and a quarter of spec.max_memory_bytes is {most}: raise it, or end \
         them (XA RECOVER lists them)"
    ))
}
