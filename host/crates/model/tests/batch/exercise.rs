//! What a decoder's input has to stand: each function takes bytes from anywhere, and panics where it finds a fault.
//! The properties beside this file call them with inputs of their own, the fuzz targets with a fuzzer's.

use std::sync::Arc;

use deltaforge_model::durable::HEADER_BYTES;
use deltaforge_model::edit::{OwnedCell, SideEdit};
use deltaforge_model::json::{
    EventWriter, RowEncoders, cell_from_json, cell_from_json_over, events_to_json, named_cells_from_json,
    replace_events, write_cell,
};
use deltaforge_model::value::CellKind;
use deltaforge_model::{Batch, Cell, Image, Kind, Overlay, View};

/// The durable form of a batch.
pub fn bytes_of(batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::new();
    batch.write_durable(&mut bytes);
    bytes
}

/// Reads bytes as a durable form, and as what follows its header: no fuzzer guesses checksums.
pub fn durable(bytes: &[u8]) {
    let payload = bytes.get(HEADER_BYTES..).filter(|_| Batch::durable_len(bytes).is_ok());
    let read = [Batch::read_durable(bytes), Batch::read_payload(payload.unwrap_or(bytes))];
    read.into_iter().flatten().for_each(use_fully);
}

/// Reads a text as a cell of every kind, as a row, and as the answer of a stage that was shown `view`.
pub fn json(view: &View, text: &str) {
    for kind in (0..=19).filter_map(CellKind::from_byte).map(Kind::Of).chain([Kind::Any]) {
        let Ok(cell) = cell_from_json(text, kind) else { continue };
        let written = written(&cell.as_cell());
        let again =
            cell_from_json(&written, Kind::Of(cell.as_cell().kind())).expect("a written cell reads back");
        assert_eq!(self::written(&again.as_cell()), written, "{text} as {kind:?}");
        let over = cell_from_json_over(&written, kind, &cell.as_cell());
        assert_eq!(over, Ok(None), "what comes back unchanged is left alone");
        for held in [Cell::Null, Cell::Int(1), Cell::Float32(0.5), Cell::Text("x"), Cell::Bytes(b"x")] {
            let over = cell_from_json_over(text, kind, &held).ok().flatten();
            assert!(over.as_ref() != Some(&OwnedCell::from(&held)), "a value that is held is no change");
        }
    }
    for table in view.batch().tables() {
        let _ = named_cells_from_json(text, table);
    }
    let mut edits = Overlay::new();
    let start = edits.savepoint();
    if replace_events(view, &mut edits, text).is_err() {
        edits.rollback(start);
        assert!(edits.is_empty() && edits.byte_size() == 0);
    }
    let mut batch = view.batch().clone();
    edits.apply(&mut batch, "stage");
    use_fully(batch);
}

/// As [`json`], for a text that is what the stage was shown with a piece of it exchanged: the first four bytes say
/// which, the rest stands in its place.
pub fn patched_json(view: &View, input: &[u8]) {
    let Some((place, piece)) = input.split_first_chunk::<4>() else { return };
    let mut text = events_to_json(view, &mut RowEncoders::default()).into_bytes();
    let [from, len] =
        [[place[0], place[1]], [place[2], place[3]]].map(|pair| usize::from(u16::from_le_bytes(pair)));
    let from = from % (text.len() + 1);
    let to = (from + len % 64).min(text.len());
    text.splice(from..to, piece.iter().copied());
    if let Ok(text) = std::str::from_utf8(&text) {
        json(view, text);
    }
}

fn written(cell: &Cell<'_>) -> String {
    let mut out = Vec::new();
    write_cell(cell, &mut out);
    String::from_utf8(out).expect("JSON is text")
}

/// Reads, edits and rewrites all of a batch that was accepted.
pub fn use_fully(batch: Batch) {
    let bytes = bytes_of(&batch);
    let again = Batch::read_durable(&bytes).expect("what is written can be read");
    assert_eq!(bytes_of(&again), bytes, "the second writing is the first");
    let mut encoders = RowEncoders::default();
    let mut out = Vec::new();
    let rejects = batch.rejects_as_batch();
    for batch in [&batch, &rejects] {
        let row_encoders = encoders.of_batch(batch);
        let mut writer = EventWriter::new(batch, &mut encoders);
        for event in batch.events() {
            out.clear();
            writer.write_event(&event, true, &mut out);
            let text = std::str::from_utf8(&out).expect("JSON is text");
            let _: &serde_json::value::RawValue = serde_json::from_str(text).expect("events are JSON");
            row_encoders[event.table_index()].write_event_key(&event, &mut out);
            let _ = format!("{event:?}{}{:?}", event.idempotency_key(), event.transaction());
            for image in Image::BOTH {
                for cell in event.image(image).iter().flat_map(|row| row.cells()) {
                    out.clear();
                    write_cell(&cell, &mut out);
                    let text = std::str::from_utf8(&out).expect("JSON is text");
                    cell_from_json(text, Kind::Of(cell.kind())).expect("a written cell reads back");
                }
            }
        }
    }
    let view = View::all(Arc::new(batch));
    let mut edits = Overlay::new();
    let names: Vec<String> = view
        .batch()
        .tables()
        .iter()
        .flat_map(|t| t.columns().iter().take(3).map(|c| c.name.clone()))
        .take(9)
        .collect();
    for image in Image::BOTH {
        for name in &names {
            let (mut ints, mut floats, flats) =
                (view.ints(image, name), view.floats(image, name), view.flats(image, name));
            ints.values.iter_mut().for_each(|value| *value = i64::from(*value % 2 != 0));
            floats.values.iter_mut().for_each(|value| *value += 1.0);
            edits.set_ints(&view, image, name, &ints).expect("zeros and ones fit");
            edits.set_floats(&view, image, name, &floats).expect("floats fit");
            edits.set_flats(&view, image, name, &flats).expect("texts fit");
            edits.fill(&view, image, name, &Cell::Text("***")).expect("texts fit");
        }
    }
    edits.side_all(&view, SideEdit::Tag("seen".into()), None).expect("no mask");
    edits.side_all(&view, SideEdit::Field("message.a.b".into(), "1".into()), None).expect("no mask");
    edits.add_column(&view, "new", Kind::Any).expect("no table is full");
    let _ = edits.fill(&view, Image::After, "new", &Cell::Int(1));
    if !view.is_empty() {
        edits.reject(&view, 0, "code", "reason").expect("the row is there");
    }
    let _ = events_to_json(&view, &mut encoders);
    let mut batch = view.into_batch();
    edits.apply(&mut batch, "stage");
    let bytes = bytes_of(&batch);
    assert_eq!(bytes_of(&Batch::read_durable(&bytes).expect("an edited batch can be read")), bytes);
    let _ = events_to_json(&View::all(Arc::new(batch)), &mut encoders);
}
