//! Bytes from anywhere: no panic, no memory out of proportion, and what is accepted works.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_model::durable::HEADER_BYTES;
use deltaforge_model::edit::SideEdit;
use deltaforge_model::json::{EventWriter, RowEncoders, cell_from_json, events_to_json, write_cell};
use deltaforge_model::{Batch, Cell, Image, Kind, Overlay, View};
use proptest::prelude::*;

use crate::durable::bytes_of;
use crate::generate::plan;

/// Counts what the current thread holds and how much that was at most.
struct Counting;

thread_local! {
    static HELD: Counter<isize> = const { Counter::new(0) };
    static MOST: Counter<isize> = const { Counter::new(0) };
}

fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most bytes that `work` held at a time.
fn most_held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let start = HELD.with(Counter::get);
    MOST.with(|most| most.set(start));
    let result = work();
    (result, (MOST.with(Counter::get) - start) as usize)
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

#[derive(Debug, Clone)]
enum Damage {
    Set(prop::sample::Index, u8),
    Word(prop::sample::Index, u32),
    Cut(prop::sample::Index, u8),
    Repeat(prop::sample::Index, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let word = prop_oneof![Just(0), Just(1), Just(u32::MAX), 0u32..40, any::<u32>()];
    prop_oneof![
        3 => (any::<prop::sample::Index>(), prop_oneof![0u8..20, any::<u8>()]).prop_map(|(at, to)| Damage::Set(at, to)),
        2 => (any::<prop::sample::Index>(), word).prop_map(|(at, to)| Damage::Word(at, to)),
        1 => (any::<prop::sample::Index>(), 1u8..20).prop_map(|(at, len)| Damage::Cut(at, len)),
        1 => (any::<prop::sample::Index>(), 1u8..80).prop_map(|(at, len)| Damage::Repeat(at, len)),
    ]
}

fn harm(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let end = |at: usize, len: u8, all: usize| (at + len as usize).min(all);
    match damage {
        Damage::Set(at, to) => {
            let at = at.index(bytes.len());
            bytes[at] = *to;
        }
        Damage::Word(at, to) => {
            let at = at.index(bytes.len());
            let end = end(at, 4, bytes.len());
            bytes[at..end].copy_from_slice(&to.to_le_bytes()[..end - at]);
        }
        Damage::Cut(at, len) => {
            let at = at.index(bytes.len());
            bytes.drain(at..end(at, *len, bytes.len()));
        }
        Damage::Repeat(at, len) => {
            let at = at.index(bytes.len());
            let copy = bytes[at..end(at, *len, bytes.len())].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}

/// Largest share of memory to input, with room for what does not depend on it.
fn proportionate(input: usize, held: usize) {
    assert!(held <= input * 40 + 4096, "{held} bytes held for {input} bytes of input");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_batches(plan in plan(0..6), damages in prop::collection::vec(damage(), 1..4)) {
        let mut payload = bytes_of(&plan.build()).split_off(HEADER_BYTES);
        for damage in &damages {
            harm(&mut payload, damage);
        }
        let (read, held) = most_held(|| Batch::read_payload(&payload));
        proportionate(payload.len(), held);
        if let Ok(batch) = read {
            use_fully(batch);
        }
    }

    #[test]
    fn noise(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1u8), any::<u8>()], 0..400)) {
        prop_assert!(Batch::read_durable(&bytes).is_err());
        let (read, held) = most_held(|| Batch::read_payload(&bytes));
        proportionate(bytes.len(), held);
        if let Ok(batch) = read {
            use_fully(batch);
        }
    }
}

/// A payload of an empty source and these counted sections.
fn payload(sections: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0; 6 * 4 + 1];
    sections.iter().for_each(|section| bytes.extend_from_slice(section));
    bytes
}

#[test]
fn the_smallest_items_in_greatest_number() {
    let counted = |count: u32, item: &[u8]| [&count.to_le_bytes()[..], &item.repeat(count as usize)].concat();
    let none = 0u32.to_le_bytes();
    let rest = [0u8; 4 + 4 + 8 + 8];
    let column = [&[0; 4][..], &3u32.to_le_bytes(), b"any", &[0; 4], &[0]].concat();
    let table = |columns: u32| [&[0; 4][..], &[0], &[0; 4], &counted(columns, &column), &none].concat();
    let side = [0u8; 1 + 4 + 4 + 1 + 1 + 4 + 1 + 1 + 4];
    let sides = counted(1, &side);
    for bytes in [
        payload(&[&counted(100_000, &table(0)), &none, &sides, &rest]),
        payload(&[&counted(40, &table(30_000)), &none, &sides, &rest]),
        payload(&[&none, &counted(200_000, &[0; 8]), &sides, &rest]),
        payload(&[&none, &none, &counted(100_000, &side), &rest]),
        payload(&[&u32::MAX.to_le_bytes()]),
        payload(&[&none, &none, &u32::MAX.to_le_bytes(), &side, &rest]),
    ] {
        let start = Instant::now();
        let (read, held) = most_held(|| Batch::read_payload(&bytes));
        proportionate(bytes.len(), held);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?} for {} bytes", start.elapsed(), bytes.len());
        if let Ok(batch) = read {
            use_fully(batch);
        }
    }
}
