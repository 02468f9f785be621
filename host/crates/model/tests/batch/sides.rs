//! Many edits of tags, headers and the like: what they come to, what they cost, and that equal ones are shared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_model::edit::{Emit, SideEdit};
use deltaforge_model::json::{EventWriter, RowEncoders};
use deltaforge_model::{Batch, Op, Overlay, Side, View};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::edits::change;
use crate::exercise::{bytes_of, use_fully};
use crate::hostile::most_held;
use crate::regressions::batch_of;

const ROWS: usize = 4;

fn text() -> impl Strategy<Value = String> {
    (0u8..40).prop_map(|number| format!("m{number}"))
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((text(), text()), 0..30)
}

fn side_edit() -> impl Strategy<Value = SideEdit> {
    prop_oneof![
        6 => text().prop_map(SideEdit::Tag),
        1 => option::of(vec(text(), 0..30)).prop_map(SideEdit::Tags),
        6 => (text(), text()).prop_map(|(name, value)| SideEdit::Header(name, value)),
        1 => pairs().prop_map(SideEdit::Headers),
        1 => option::of(text()).prop_map(SideEdit::Topic),
        1 => option::of(text()).prop_map(SideEdit::Key),
        6 => (text(), prop_oneof![Just(String::new()), Just("1".to_owned()), Just("[2]".to_owned())])
            .prop_map(|(path, json)| SideEdit::Field(path, json)),
        1 => text().prop_map(SideEdit::Synthetic),
    ]
}

fn side() -> impl Strategy<Value = Side> {
    (option::of(vec(text(), 0..12)), pairs()).prop_map(|(tags, headers)| Side {
        tags,
        headers,
        ..Side::default()
    })
}

proptest! {
    #[test]
    fn each_row_gets_what_its_edits_say_one_after_the_other(
        first in side(),
        // A row, or all that the mask has; and an edit.
        edits in vec((option::of(0..ROWS), vec(0u8..2, ROWS), side_edit()), 0..60),
        emitted in vec(side_edit(), 0..12),
    ) {
        let view = View::all(Arc::new(batch_of(1, ROWS, &first)));
        let (mut overlay, mut expected) = (Overlay::new(), vec![first; ROWS + 1]);
        for (row, mask, edit) in &edits {
            match row {
                Some(row) => {
                    overlay.side(&view, *row, edit.clone()).unwrap();
                    change(&mut expected[*row], edit);
                }
                None => {
                    overlay.side_all(&view, edit.clone(), Some(mask)).unwrap();
                    let masked = expected.iter_mut().zip(mask).filter(|(_, mask)| **mask != 0);
                    masked.for_each(|(side, _)| change(side, edit));
                }
            }
        }
        let emit = Emit { op: Op::Create, before: None, after: None, side: emitted.clone() };
        overlay.emit(&view, ROWS - 1, emit).unwrap();
        expected[ROWS] = expected[ROWS - 1].clone();
        emitted.iter().for_each(|edit| change(&mut expected[ROWS], edit));
        let mut batch = view.into_batch();
        overlay.apply(&mut batch, "stage");
        for (event, expected) in batch.events().zip(&expected) {
            prop_assert_eq!(event.side(), expected);
        }
        for one in batch.events() {
            for other in batch.events() {
                let shared = one.side_index() == other.side_index();
                prop_assert_eq!(shared, one.side() == other.side(), "equal ones have one number");
            }
        }
        let again = Batch::read_durable(&bytes_of(&batch)).unwrap();
        prop_assert_eq!(again.events().map(|e| e.side().clone()).collect::<Vec<_>>(), expected);
        use_fully(batch);
    }
}

/// A row with so many tags, headers and members, and an event added to it that has one more of each.
fn many(edits: usize) -> Batch {
    let view = View::all(Arc::new(batch_of(1, 1, &Side::default())));
    let mut overlay = Overlay::new();
    let one = |at: usize| {
        let text = format!("m{at}");
        match at % 3 {
            0 => SideEdit::Tag(text),
            1 => SideEdit::Header(text, "v".to_owned()),
            _ => SideEdit::Field(text, "1".to_owned()),
        }
    };
    (0..edits).for_each(|at| overlay.side(&view, 0, one(at)).unwrap());
    let side = (edits..edits + 3).map(one).collect();
    overlay.emit(&view, 0, Emit { op: Op::Create, before: None, after: None, side }).unwrap();
    let mut batch = view.into_batch();
    overlay.apply(&mut batch, "stage");
    batch
}

#[test]
fn many_edits_of_one_row_cost_each_its_own() {
    for edits in [3_000, 90_000] {
        let began = Instant::now();
        let (batch, held) = most_held(|| many(edits));
        assert!(held < edits * 800, "{held} bytes held for {edits} edits");
        assert!(batch.byte_size() < edits * 200, "{} bytes for {edits} edits", batch.byte_size());
        let sides = [0, 1].map(|event| batch.event(event).side());
        assert_eq!(sides.map(|side| side.tags.as_ref().unwrap().len()), [edits / 3, edits / 3 + 1]);
        assert_eq!(sides.map(|side| side.headers.len()), [edits / 3, edits / 3 + 1]);
        assert_eq!(sides.map(|side| side.fields.len()), [edits / 3, edits / 3 + 1]);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

#[test]
fn rows_that_differ_late_share_nothing_between_and_cost_their_own() {
    let (rows, common) = (50, 40);
    let view = View::all(Arc::new(batch_of(1, rows, &Side::default())));
    let mut overlay = Overlay::new();
    let text = "x".repeat(10_000);
    for at in 0..common {
        overlay.side_all(&view, SideEdit::Header(format!("h{at}"), text.clone()), None).unwrap();
    }
    for at in 0..common {
        overlay.side_all(&view, SideEdit::Header(format!("h{at}"), String::new()), None).unwrap();
    }
    (0..rows).for_each(|row| overlay.side(&view, row, SideEdit::Tag(format!("t{row}"))).unwrap());
    assert!(overlay.growth(view.batch()) > rows * common * text.len(), "before it is known what stays");
    let mut batch = view.into_batch();
    let (_, held) = most_held(|| overlay.apply(&mut batch, "stage"));
    assert!(held < 2 << 20, "{held} bytes held");
    assert!(batch.byte_size() < 1 << 20, "{} bytes", batch.byte_size());
    assert_eq!(batch.event(7).side().tags.as_ref().unwrap(), &["t7"]);
}

#[test]
fn many_members_are_written_in_time() {
    let names = 60_000;
    let field = |path: String, json: &str| (path, json.to_owned());
    let mut fields: Vec<_> = (0..names).map(|at| field(format!("m{at}.x"), "1")).collect();
    // Taken away again but for the last, and one that comes anew stands at the end.
    fields.extend((0..names - 1).map(|at| field(format!("m{at}"), "")));
    fields.push(field("m0.y".to_owned(), "2"));
    let batch = batch_of(1, 1, &Side { fields, ..Side::default() });
    let began = Instant::now();
    let mut encoders = RowEncoders::default();
    let mut text = Vec::new();
    EventWriter::new(&batch, &mut encoders).write_event(&batch.event(0), true, &mut text);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with(r#","m59999":{"x":1},"m0":{"y":2}}"#), "{}", &text[text.len() - 100..]);
}
