//! The durable form keeps everything and is the only one of its batch.

use std::sync::Arc;

use deltaforge_model::durable::{DurableError, HEADER_BYTES};
use deltaforge_model::{Batch, Overlay, View};
use proptest::prelude::*;

use crate::build::holds;
use crate::exercise::bytes_of;
use crate::generate::plan;

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(plan in plan(0..12), reject in any::<prop::sample::Index>()) {
        let mut batch = plan.build();
        let bytes = bytes_of(&batch);
        let read = Batch::read_durable(&bytes).unwrap();
        holds(&read, &plan);
        prop_assert_eq!(bytes_of(&read), bytes);
        if !batch.is_empty() {
            batch.reject_events(&[reject.index(batch.len())], "sink", "encode", "why");
            let bytes = bytes_of(&batch);
            let read = Batch::read_durable(&bytes).unwrap();
            prop_assert_eq!(bytes_of(&read), bytes);
            let (rejects, again) = (batch.rejects_as_batch(), read.rejects_as_batch());
            prop_assert_eq!(format!("{:?}", rejects.event(0)), format!("{:?}", again.event(0)));
            prop_assert_eq!(read.rejects().next().unwrap().1.reason.as_str(), "why");
        }
    }

    #[test]
    fn no_edits_change_no_byte(plan in plan(0..12)) {
        let batch = plan.build();
        let bytes = bytes_of(&batch);
        let view = View::all(Arc::new(batch));
        let mut edits = Overlay::new();
        for (row, event) in view.events().enumerate() {
            for image in deltaforge_model::Image::BOTH {
                for column in event.table().columns() {
                    if event.image(image).is_some() {
                        let cell = view.cell(row, image, &column.name);
                        edits.set(&view, row, image, &column.name, &cell).unwrap();
                    }
                }
            }
        }
        let mut batch = view.into_batch();
        let before = batch.byte_size();
        edits.apply(&mut batch, "stage");
        prop_assert_eq!(batch.byte_size(), before);
        prop_assert_eq!(bytes_of(&batch), bytes);
    }

    #[test]
    fn a_torn_or_rotten_file_is_told_apart(plan in plan(1..4), cut in any::<prop::sample::Index>(), bit in 0u8..8) {
        let bytes = bytes_of(&plan.build());
        let cut = cut.index(bytes.len());
        let short = Batch::read_durable(&bytes[..cut]);
        prop_assert!(matches!(short, Err(DurableError::Short { .. })), "{short:?}");
        let mut rotten = bytes.clone();
        rotten[cut] ^= 1 << bit;
        let error = Batch::read_durable(&rotten).unwrap_err();
        prop_assert!(cut < HEADER_BYTES || error == DurableError::Checksum, "{error}");
        let longer = [&bytes[..], b"x"].concat();
        prop_assert!(matches!(Batch::read_durable(&longer), Err(DurableError::Malformed(_))));
        prop_assert_eq!(Batch::durable_len(&longer).unwrap(), Some(bytes.len() as u64));
    }
}
