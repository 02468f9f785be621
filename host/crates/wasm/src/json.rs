//! The batch as JSON, for formatters and quick scripts, and back.

use deltaforge_model::edit::image_bytes;
use deltaforge_model::json::{EventWriter, ReplaceError, RowEncoders, replace_events};
use deltaforge_model::view::{Flat, presence};
use deltaforge_model::{Event, Image};

use crate::call::Call;
use crate::error::{Ended, cut};

/// Room that is made at once for what is expected.
const MOST_ROOM: usize = 1 << 20;

/// Why an array of events cannot be taken over.
#[derive(Debug)]
pub(crate) enum JsonProblem {
    /// It is not such an array: the plugin is told.
    Said(String),
    /// It passes a bound: the call ends.
    Ended(Ended),
}

impl From<Ended> for JsonProblem {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl Call {
    /// One JSON object a row.
    pub(crate) fn json_rows(&self, image: Image, encoders: &mut RowEncoders) -> Flat {
        let rows = encoders.of_batch(self.view.batch());
        let mut flat = Flat::default();
        // Growing on the way would copy it all again.
        let room = |event: Event<'_>| Some(rows[event.table_index()].room_for(&event.image(image)?));
        flat.data.reserve(self.view.events().filter_map(room).sum());
        flat.present.reserve(self.view.len());
        flat.ends.reserve(self.view.len());
        for event in self.view.events() {
            match event.image(image) {
                Some(row) => {
                    rows[event.table_index()].write_row(&row, &mut flat.data);
                    flat.present.push(presence::VALUE);
                }
                None => flat.present.push(presence::NONE),
            }
            flat.ends.push(flat.data.len() as u32);
        }
        flat
    }

    /// One JSON object a row with all but the images.
    pub(crate) fn json_origins(&self, encoders: &mut RowEncoders) -> Flat {
        let ends = self.tx_end();
        let mut writer = EventWriter::new(self.view.batch(), encoders);
        let mut flat = Flat { present: vec![presence::VALUE; self.view.len()], ..Flat::default() };
        for (event, last) in self.view.events().zip(ends) {
            writer.write_origin(&event, last != 0, &mut flat.data);
            flat.ends.push(flat.data.len() as u32);
            if flat.ends.len() == 1 {
                // They are much alike.
                let alike = flat.data.len() * self.view.len() * 9 / 8;
                flat.data.reserve(alike.min(MOST_ROOM));
            }
        }
        flat
    }

    /// The whole batch as an array.
    pub(crate) fn to_json(&self, encoders: &mut RowEncoders) -> Result<String, Ended> {
        let ends = self.tx_end();
        let mut writer = EventWriter::new(self.view.batch(), encoders);
        let mut out = vec![b'['];
        for (at, (event, last)) in self.view.events().zip(ends).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            writer.write_event(&event, last != 0, &mut out);
        }
        out.push(b']');
        String::from_utf8(out).map_err(|_| Ended::Edit("a text of the batch is not UTF-8".to_owned()))
    }

    /// Takes over an array that came of [`Call::to_json`]; nothing of it where the plugin is told of a problem.
    pub(crate) fn replace_json(&mut self, text: &str) -> Result<(), JsonProblem> {
        self.charge(text.len())?;
        let (before, bytes, emitted) = (self.edits.savepoint(), self.edits.byte_size(), self.edits.emitted());
        match replace_events(&self.view, &mut self.edits, text) {
            Ok(()) => {}
            Err(ReplaceError::Edit(problem)) => return Err(Ended::from(problem).into()),
            Err(problem) => {
                self.edits.rollback(before);
                return Err(JsonProblem::Said(cut(&problem.to_string())));
            }
        }
        let emitted = self.edits.emitted() - emitted;
        self.count_emitted(emitted)?;
        let tables = 0..self.view.batch().tables().len() as u16;
        let widest = tables.map(|table| self.edits.columns(self.view.batch(), table)).max().unwrap_or(0);
        self.charge(self.edits.byte_size() - bytes + 2 * emitted * image_bytes(widest))?;
        Ok(())
    }
}
