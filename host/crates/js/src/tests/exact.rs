//! Values keep every digit and their type.

use deltaforge_model::{Cell, Image};

use super::support::{BIG, HUGE, batch, durable, json, run, stage};

#[tokio::test]
async fn an_identity_script_leaves_the_durable_form_as_it_is() {
    for script in [
        "function processBatch(events) { return events; }",
        "(event) => event",
        "(event) => { event.after; event.tags; }",
        "(event) => { for (const r of [event.after, event.before, event.source]) if (r) JSON.stringify(r); }",
        "(event) => { if (event.after) for (const k of Object.keys(event.after)) event.after[k] = event.after[k]; }",
        "function processBatch(events) { return events.map(e => ({ ...e })); }",
        "function processBatch(events) { return events.map(e => ({ ...e, after: e.after && { ...e.after },
           before: e.before && { ...e.before }, source: { ...e.source } })); }",
        "function processBatch(events) { return JSON.parse(JSON.stringify(events)); }",
    ] {
        let mut stage = stage(script).await;
        for nth in 0..3 {
            let out = run(&mut *stage, batch()).await.unwrap();
            assert_eq!(json(&out), json(&batch()), "{script}: batch {nth}");
            assert_eq!(durable(&out), durable(&batch()), "{script}: batch {nth}");
        }
    }
}

#[tokio::test]
async fn large_integers_are_text_to_the_script_and_integers_in_the_batch() {
    let script = "function processBatch(events) {
        for (const e of events) if (e.after && e.table === 'shop.orders') {
            e.after.seen = [typeof e.after.id, e.after.big, typeof e.after.total];
            e.after.big = e.after.big === '18446744073709551615' ? '18446744073709551614' : e.after.big;
            e.after.total = e.after.total.replace('.', '000000000000000000.');
        }
    }";
    let out = run(&mut *stage(script).await, batch()).await.unwrap();
    let event = out.event(4);
    let cell = |name: &str| event.after().unwrap().cell(event.table().column(name).unwrap() as usize);
    assert_eq!(cell("id"), Cell::Int(BIG));
    assert_eq!(cell("big"), Cell::UInt(HUGE - 1));
    assert_eq!(cell("total"), Cell::Decimal("801000000000000000000.50"));
    assert_eq!(cell("seen"), Cell::Json(r#"["string","18446744073709551615","string"]"#));
    assert_eq!(event.before().unwrap().cell(3), Cell::UInt(HUGE));
}

#[tokio::test]
async fn a_bigint_and_a_number_become_integers() {
    let script = "(e) => { if (e.after && e.table === 'shop.orders') { e.after.id = 9007199254740995n; e.after.big = 7; } }";
    let out = run(&mut *stage(script).await, batch()).await.unwrap();
    let after = out.event(0).after().unwrap();
    assert_eq!((after.cell(0), after.cell(3)), (Cell::Int(9_007_199_254_740_995), Cell::UInt(7)));
}

#[tokio::test]
async fn a_moved_image_keeps_its_types() {
    // The last column has no declared type: its integers beyond 2^53, texts and bytes are told apart all the same.
    let script = "(e) => { if (e.op === 'c') { e.before = e.after; e.after = null; e.op = 'd'; } }";
    let input = batch();
    let out = run(&mut *stage(script).await, input.clone()).await.unwrap();
    for (old, new) in input.events().zip(out.events()) {
        if old.op().code() == "c" {
            assert!(new.image(Image::Before).unwrap().same(&old.image(Image::After).unwrap()), "{new:?}");
            assert!(new.after().is_none());
        }
    }
}

#[tokio::test]
async fn copies_keep_types() {
    let script = "function processBatch(events) { return events.flatMap(e => [e, { ...e, nth: 2 }]); }";
    let input = batch();
    let out = run(&mut *stage(script).await, input.clone()).await.unwrap();
    for (at, old) in input.events().enumerate() {
        let (same, copy) = (out.event(at * 2), out.event(at * 2 + 1));
        assert_eq!(same.id(), old.id());
        assert_ne!(copy.id(), old.id());
        for image in [Image::Before, Image::After] {
            match (old.image(image), copy.image(image)) {
                (Some(a), Some(b)) => assert!(a.same(&b), "{a:?} {b:?}"),
                (a, b) => assert!(a.is_none() && b.is_none()),
            }
        }
    }
}

#[tokio::test]
async fn an_unavailable_cell_stays_so() {
    let script =
        "(e) => { if (e.after) { e.seen = e.after.doc?._unavailable === true; e.after = { ...e.after }; } }";
    let out = run(&mut *stage(script).await, batch()).await.unwrap();
    // Event 5 is a delete: its before image is the one with the cell. Event 1 has the document.
    assert_eq!(json(&out)[1]["seen"], false);
    let script = "(e) => { if (e.before) { e.seen = e.before.doc?._unavailable === true; e.before = { ...e.before, note: 'n' }; } }";
    let out = run(&mut *stage(script).await, batch()).await.unwrap();
    assert_eq!(json(&out)[5]["seen"], true);
    assert_eq!(out.event(5).before().unwrap().cell(5), Cell::Unavailable);
}
