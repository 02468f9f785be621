//! Edits of whole rows: what they do, whether and where they go on, rows added and put in another order.

use super::{EditError, Emit, Overlay, Reorder, SideEdit, Slot};
use crate::batch::Op;
use crate::schema::Kind;
use crate::view::View;

impl Overlay {
    /// Changes what happened.
    ///
    /// # Errors
    ///
    /// When there is no such row, or it was dropped before.
    pub fn set_op(&mut self, view: &View, row: usize, op: Op) -> Result<(), EditError> {
        let at = self.row(view, row)?;
        self.ops.push((at, op));
        Ok(())
    }

    /// Drops an event: a filter's answer.
    ///
    /// # Errors
    ///
    /// When there is no such row. Dropping one twice is fine.
    pub fn drop_row(&mut self, view: &View, row: usize) -> Result<(), EditError> {
        let at = view.batch_row(row).ok_or(EditError::NoRow { row, rows: view.len() })?;
        if !self.is_gone(at) {
            self.set_gone(view, at);
            self.drops.push(at);
        }
        Ok(())
    }

    /// Drops every event whose byte in `mask` is 0.
    ///
    /// # Errors
    ///
    /// When the mask does not have one byte a row.
    pub fn keep(&mut self, view: &View, mask: &[u8]) -> Result<(), EditError> {
        if mask.len() != view.len() {
            return Err(EditError::Malformed(format!("keep: {} bytes for {} rows", mask.len(), view.len())));
        }
        for (row, keep) in mask.iter().enumerate() {
            if *keep == 0 {
                self.drop_row(view, row)?;
            }
        }
        Ok(())
    }

    /// Takes an event out of the stream with a reason; the stage's `on_error` decides what becomes of it.
    ///
    /// # Errors
    ///
    /// When there is no such row, or it was dropped before.
    pub fn reject(&mut self, view: &View, row: usize, code: &str, reason: &str) -> Result<(), EditError> {
        let at = self.row(view, row)?;
        self.set_gone(view, at);
        self.rejects.push((at, code.to_owned(), reason.to_owned()));
        Ok(())
    }

    /// Changes tags, headers, routing and the like of one event.
    ///
    /// # Errors
    ///
    /// When there is no such row, or it was dropped before.
    pub fn side(&mut self, view: &View, row: usize, edit: SideEdit) -> Result<(), EditError> {
        let at = self.row(view, row)?;
        let known = self.side_edits.iter().rev().take(8).position(|known| *known == edit);
        let number = match known {
            Some(back) => self.side_edits.len() - 1 - back,
            None => {
                self.side_edits.push(edit);
                self.side_edits.len() - 1
            }
        };
        self.side_rows.push((at, number as u32));
        Ok(())
    }

    /// The same for every event in view, or for those whose byte in `mask` is not 0.
    ///
    /// # Errors
    ///
    /// When the mask does not have one byte a row.
    pub fn side_all(&mut self, view: &View, edit: SideEdit, mask: Option<&[u8]>) -> Result<(), EditError> {
        if mask.is_some_and(|mask| mask.len() != view.len()) {
            return Err(EditError::Malformed(format!(
                "the mask has another length than {} rows",
                view.len()
            )));
        }
        self.side_edits.push(edit);
        let number = self.side_edits.len() as u32 - 1;
        for (row, at) in view.rows().iter().enumerate() {
            if mask.is_none_or(|mask| mask[row] != 0) && !self.is_gone(*at) {
                self.side_rows.push((*at, number));
            }
        }
        Ok(())
    }

    /// Adds an event right after a row. Answers its number, for [`Overlay::reorder`].
    ///
    /// # Errors
    ///
    /// When there is no such row, or its table would get too many columns. The row may have been dropped: its
    /// event still stands for what was added.
    pub fn emit(&mut self, view: &View, row: usize, emit: Emit) -> Result<u32, EditError> {
        let at = view.batch_row(row).ok_or(EditError::NoRow { row, rows: view.len() })?;
        let table = view.batch().entries[at as usize].table;
        let start = self.added.len();
        for (name, _) in [&emit.before, &emit.after].into_iter().flatten().flatten() {
            self.column_or_add(view.batch(), table, name, Kind::Any)
                .inspect_err(|_| self.added.truncate(start))?;
        }
        self.emits.push((at, emit));
        Ok(self.emits.len() as u32 - 1)
    }

    /// Puts the view's events into a new order. Rows that are not named are dropped, and so are events added to
    /// them so far. What is added later comes right after its row, what is dropped later is gone all the same.
    ///
    /// # Errors
    ///
    /// When a row or an added event is named twice or does not exist.
    pub fn reorder(&mut self, view: &View, order: Vec<Slot>) -> Result<(), EditError> {
        let mut named = vec![false; view.len()];
        let mut named_emits = std::collections::HashSet::new();
        for slot in &order {
            let fresh = match slot {
                Slot::Row(row) => {
                    self.row(view, *row as usize)?;
                    !std::mem::replace(&mut named[*row as usize], true)
                }
                Slot::Emit(k) => (*k as usize) < self.emits.len() && named_emits.insert(*k),
            };
            if !fresh {
                return Err(EditError::Malformed(format!("{slot:?} is named twice or does not exist")));
            }
        }
        for (row, named) in named.into_iter().enumerate() {
            if !named {
                self.drop_row(view, row)?;
            }
        }
        let emits = self.emits.len() as u32;
        self.orders.push(Reorder { rows: view.rows().clone(), slots: order, emits });
        Ok(())
    }
}
