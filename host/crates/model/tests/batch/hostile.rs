//! Bytes from anywhere: no panic, no memory out of proportion, and what is accepted works.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_model::durable::HEADER_BYTES;
use deltaforge_model::{Batch, View};
use proptest::prelude::*;

use crate::exercise::{bytes_of, durable, json, patched_json, use_fully};
use crate::generate::plan;
use crate::input::Input;

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
pub fn most_held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let start = HELD.with(Counter::get);
    MOST.with(|most| most.set(start));
    let result = work();
    (result, (MOST.with(Counter::get) - start) as usize)
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
        let (_, held) = most_held(|| Batch::read_payload(&bytes).is_ok());
        proportionate(bytes.len(), held);
        durable(&bytes);
    }
}

/// Pieces of JSON in any order: what a fuzzer finds in hours, put together in a second.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        " ",
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "1e400",
        "-0.0",
        "18446744073709551615",
        "\"a\"",
        "\"c0\":",
        "\"\\ud800\"",
        "\"1970-01-01\"",
        "\"NaN\"",
        "\"12\"",
        "\"_unavailable\":true",
        "\"_base64\":\"AAE=\"",
        "\"before\":",
        "\"after\":{",
        "\"op\":\"c\"",
        "\"tags\":[",
        "\"route\":{",
        "\"event_id\":",
        "\"x\":",
        "é",
        "[[[[[[[[[[",
        "]]]]]]]]]]",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn json_from_anywhere(
        seed in prop::collection::vec(any::<u8>(), 0..120),
        place in any::<[u8; 4]>(),
        pieces in pieces(),
    ) {
        let view = View::all(Arc::new(Input(&seed).batch()));
        json(&view, &pieces);
        patched_json(&view, &[&place, pieces.as_bytes()].concat());
    }

    #[test]
    fn edits_from_anywhere(bytes in prop::collection::vec(any::<u8>(), 0..900)) {
        crate::edits::edits(&bytes);
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
