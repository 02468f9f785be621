//! Events as ready-made JSON, for formatters.

use deltaforge_model::Image;

use crate::backend;

/// The events of a batch as JSON in the native form, one row at a time; see [`crate::Batch::json_events`].
pub struct JsonEvents<'a>(pub(crate) backend::JsonEvents<'a>);

impl JsonEvents<'_> {
    /// Appends a row's whole event as an object.
    #[inline]
    pub fn write(&mut self, row: usize, out: &mut Vec<u8>) {
        self.0.write(row, out);
    }

    /// Appends one of a row's images as an object; answers false, and appends nothing, where there is none.
    #[inline]
    pub fn write_image(&mut self, row: usize, image: Image, out: &mut Vec<u8>) -> bool {
        self.0.write_image(row, image, out)
    }
}
