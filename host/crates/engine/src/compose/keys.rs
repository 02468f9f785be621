//! The keys of messages.

use std::sync::Arc;

use deltaforge_model::json::RowEncoder;
use deltaforge_model::{Batch, Event};

use crate::source::{NEW_KEY_HEADER, OLD_KEY_HEADER};
use crate::template::Template;

#[cfg(test)]
mod tests;

/// Makes the keys of one batch's messages.
pub(super) struct Keys<'a> {
    template: Option<&'a Template>,
    /// By table index.
    encoders: Vec<Arc<RowEncoder>>,
    text: String,
}

impl<'a> Keys<'a> {
    pub fn new(template: Option<&'a Template>, encoders: Vec<Arc<RowEncoder>>) -> Self {
        Self { template, encoders, text: String::new() }
    }

    /// Appends the key of an event: the one that a stage gave it, that of the template, or its table's. False: it has none.
    ///
    /// # Errors
    ///
    /// The path of a value that the template names, and the row does not have.
    pub fn write(&mut self, event: &Event<'_>, key: &mut Vec<u8>) -> Result<bool, String> {
        if let Some(own) = &event.side().key {
            key.extend_from_slice(own.as_bytes());
            return Ok(true);
        }
        let Some(template) = self.template else {
            return Ok(self.encoders[event.table_index()].write_event_key(event, key));
        };
        self.text.clear();
        let has_key = template.render_key(event, &mut self.text)?;
        if has_key {
            key.extend_from_slice(self.text.as_bytes());
        }
        Ok(has_key)
    }

    /// The headers of one half of a change of a key: the other half's key stands in them. Without the other half, which a
    /// stage may have dropped, nothing does. `None`: it is no such event.
    pub fn headers(&mut self, batch: &Batch, row: usize) -> Option<Arc<[(String, String)]>> {
        let event = batch.event(row);
        let marked = |event: &Event<'_>, name: &str| {
            event.side().headers.iter().any(|(held, value)| held == name && value.is_empty())
        };
        let (name, other, others) = if marked(&event, NEW_KEY_HEADER) {
            (NEW_KEY_HEADER, (row + 1 < batch.len()).then_some(row + 1), OLD_KEY_HEADER)
        } else if marked(&event, OLD_KEY_HEADER) {
            (OLD_KEY_HEADER, row.checked_sub(1), NEW_KEY_HEADER)
        } else {
            return None;
        };
        let other = other.map(|at| batch.event(at)).filter(|other| {
            marked(other, others) && other.pos() == event.pos() && other.table_index() == event.table_index()
        });
        let mut key = Vec::new();
        let known = other.is_some_and(|other| self.write(&other, &mut key) == Ok(true));
        let mut headers = event.side().headers.clone();
        headers.retain(|(held, _)| held != name);
        if known {
            headers.push((name.to_owned(), String::from_utf8_lossy(&key).into_owned()));
        }
        Some(headers.into())
    }
}
