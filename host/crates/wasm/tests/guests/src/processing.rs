use crate::bindings::deltaforge::plugin::events::{Batch, Cell, Edit, NewEvent, Route, Value};
use crate::bindings::deltaforge::plugin::log;
use crate::bindings::deltaforge::plugin::types::{Failure, Flat, Image};
use crate::bindings::exports::deltaforge::plugin::processing::Guest;
use crate::{Puppet, act_on, fail, flood_log, grow, recurse, spin, trap_deep_inside};

const IMAGES: [Image; 2] = [Image::Before, Image::After];

impl Guest for Puppet {
    fn process(batch: &Batch) -> Result<(), Failure> {
        match act_on(batch) {
            "pass" => {}
            "identity-columns" => identity_columns(batch),
            "identity-texts" => identity_texts(batch),
            "identity-rows" => identity_rows(batch),
            "identity-cells" => identity_cells(batch),
            "identity-images" => identity_images(batch),
            "identity-json" => {
                if let Err(problem) = batch.replace_json(&batch.to_json()) {
                    return fail("fatal", &problem);
                }
            }
            "filter" => filter(batch),
            "redact-columns" => redact_columns(batch),
            "redact-cells" => redact_cells(batch),
            "all-edits" => all_edits(batch),
            "traps" => trap_deep_inside(batch.len()),
            "traps-on-bad" => {
                batch.tag_where(&[], "seen");
                let notes = batch.texts(Image::After, "note");
                if notes.values.iter().any(|note| note == "bad") {
                    panic!("a bad row");
                }
            }
            "loops" => {
                batch.drop_row(0);
                spin();
            }
            "loops-in-host" => loop {
                std::hint::black_box(batch.ints(Image::After, "id"));
            },
            "recurses" => {
                std::hint::black_box(recurse(batch.len() as u64));
            }
            "grows" => grow(),
            "leaks" => {
                std::mem::forget(vec![1_u8; 4 << 20]);
                batch.tag_where(&[], "leaked");
            }
            "counts" => {
                static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
                let calls = 1 + CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                batch.header_where(&[], "calls", &calls.to_string());
            }
            "edits-nowhere" => batch.set(
                batch.len() + 7,
                Image::After,
                batch.column("id").expect("it is there"),
                &Value::Int(1),
            ),
            "edits-no-column" => batch.set(0, Image::After, 4711, &Value::Int(1)),
            "edits-dropped" => {
                batch.drop_row(0);
                batch.tag(0, "late");
            }
            "edits-no-image" => {
                batch.set(0, Image::Before, batch.column("id").expect("it is there"), &Value::Int(1));
            }
            "short-mask" => batch.keep(&[1]),
            "bad-flat" => {
                let present = vec![1; batch.len() as usize];
                let ends = vec![1000; batch.len() as usize];
                batch.set_flats(Image::After, "note", &Flat { present, ends, data: vec![] });
            }
            "bad-utf8" => {
                let present = vec![1; batch.len() as usize];
                let ends = (1..=batch.len()).collect();
                let data = vec![0xff; batch.len() as usize];
                batch.set_flats(Image::After, "note", &Flat { present, ends, data });
            }
            "bad-json" => {
                batch.set(
                    0,
                    Image::After,
                    batch.column("doc").expect("it is there"),
                    &Value::Json("{".to_owned()),
                );
            }
            "bad-json-column" => {
                let present = vec![1; batch.len() as usize];
                let ends = (1..=batch.len()).collect();
                let data = vec![b'{'; batch.len() as usize];
                batch.set_flats(Image::After, "doc", &Flat { present, ends, data });
            }
            "bad-uuid" => {
                batch.set(0, Image::After, batch.column("note").expect("it is there"), &Value::Uuid(vec![1]));
            }
            "bad-array" => {
                batch.set(
                    0,
                    Image::After,
                    batch.column("note").expect("it is there"),
                    &Value::Array(vec![9, 9]),
                );
            }
            "bad-op" => batch.set_op(0, 7),
            "bad-events" => {
                return batch
                    .replace_json("[{\"event_id\":\"x\"}]")
                    .or_else(|problem| fail("fatal", &problem));
            }
            "floods-edits" => {
                let text = "x".repeat(1 << 20);
                let column = batch.column("note").expect("it is there");
                loop {
                    batch.set(0, Image::After, column, &Value::Text(text.clone()));
                }
            }
            "floods-aliases" => {
                // Strings that all lie in the same place cost the guest nothing.
                let text = "x".repeat(1 << 20);
                let edits: Vec<Edit> = (0..200).map(|_| Edit::Tag((0, text.clone()))).take(20).collect();
                loop {
                    batch.apply(&edits);
                }
            }
            "floods-events" => loop {
                batch.emit(&added(0));
            },
            "multiplies" => {
                for row in 0..batch.len() {
                    (0..10_000).for_each(|_| batch.emit(&added(row)));
                }
            }
            "oversize" => {
                let text = "x".repeat(40 << 20);
                batch.set(0, Image::After, batch.column("note").expect("it is there"), &Value::Text(text));
            }
            "floods-images" => {
                for number in 0..900 {
                    batch.add_column(&format!("c{number}"), "text");
                }
                loop {
                    batch.emit(&NewEvent { after: Some(Vec::new()), ..added(0) });
                }
            }
            "floods-tags" => {
                for number in 0.. {
                    batch.apply(&[Edit::Tag((0, format!("t{number}")))]);
                }
            }
            "tags-much" => {
                let edits: Vec<Edit> =
                    (0..20_000).map(|number| Edit::Tag((0, format!("t{number}")))).collect();
                batch.apply(&edits);
            }
            "hands-over-much" => {
                // The same text many times over, which costs the guest nothing.
                let text = "x".repeat(4 << 20);
                let fields: Vec<(String, String)> =
                    // SAFETY: nobody writes to the copies, and they are never dropped.
                    (0..64).map(|_| (String::new(), unsafe { std::ptr::read(&text) })).collect();
                log::log(log::Level::Warn, "much", &fields);
                std::mem::forget(fields);
            }
            "floods-columns" => {
                for number in 0.. {
                    batch.add_column(&format!("c{number}"), "text");
                }
            }
            "floods-log" => flood_log(),
            "logs" => {
                log::log(log::Level::Warn, &"long\n".repeat(4000), &[("tag".to_owned(), "a b".to_owned())]);
            }
            "retries" => return fail("retry", "the other side sleeps"),
            "fails" => return fail("fatal", &"no ".repeat(2000)),
            "fails-oddly" => return fail("sideways", "unknown kind"),
            #[cfg(feature = "metrics")]
            "measures" => {
                use crate::bindings::deltaforge::plugin::metrics;
                metrics::add("rows_total", u64::from(batch.len()));
                metrics::set("last", 1.5);
                metrics::observe("sizes", 2.5);
                metrics::add("Not A Name", 1);
            }
            #[cfg(feature = "clock")]
            "tells-time" => {
                use crate::bindings::deltaforge::plugin::clock;
                let (before, now) = (clock::monotonic(), clock::now());
                assert!(clock::monotonic() >= before);
                batch.header_where(&[], "now", &now.to_string());
            }
            #[cfg(feature = "wasi")]
            "lives-in-wasi" => {
                use crate::bindings::wasi;
                let out = wasi::cli::stdout::get_stdout();
                out.blocking_write_and_flush(b"first line\nsecond ").expect("stdout takes it");
                out.blocking_write_and_flush(b"line\nno end").expect("stdout takes it");
                assert!(wasi::cli::environment::get_environment().is_empty());
                assert!(wasi::filesystem::preopens::get_directories().is_empty());
                batch.header_where(&[], "now", &wasi::clocks::wall_clock::now().seconds.to_string());
                batch.header_where(&[], "random", &wasi::random::random::get_random_u64().to_string());
            }
            "asks-for-all" => {
                let names: Vec<String> = std::iter::repeat_n("note".to_owned(), 500_000).collect();
                std::hint::black_box(batch.rows(&names));
            }
            other => return fail("fatal", &format!("there is no act {other}")),
        }
        Ok(())
    }
}

fn columns(batch: &Batch) -> Vec<String> {
    let mut names: Vec<String> =
        batch.tables().into_iter().flat_map(|table| table.columns).map(|column| column.name).collect();
    names.sort();
    names.dedup();
    names
}

fn identity_columns(batch: &Batch) {
    for image in IMAGES {
        for name in columns(batch) {
            batch.set_ints(image, &name, &batch.ints(image, &name));
            batch.set_floats(image, &name, &batch.floats(image, &name));
            batch.set_flats(image, &name, &batch.flats(image, &name));
        }
    }
}

fn identity_texts(batch: &Batch) {
    for image in IMAGES {
        for name in columns(batch) {
            batch.set_texts(image, &name, &batch.texts(image, &name));
        }
    }
}

fn identity_rows(batch: &Batch) {
    let tables = batch.tables();
    let mut edits = Vec::new();
    for (row, data) in batch.rows(&[]).into_iter().enumerate() {
        edits.push(Edit::SetOp((row as u32, data.op)));
        for (image, values) in [(Image::Before, data.before), (Image::After, data.after)] {
            for (column, value) in tables[data.table as usize].columns.iter().zip(values.unwrap_or_default())
            {
                let column = batch.column(&column.name).expect("its table has it");
                edits.push(Edit::Set(Cell { row: row as u32, image, column, value }));
            }
        }
    }
    batch.apply(&edits);
}

fn identity_cells(batch: &Batch) {
    for name in columns(batch) {
        let column = batch.column(&name).expect("a table has it");
        for row in 0..batch.len() {
            for image in IMAGES {
                batch.set(row, image, column, &batch.get(row, image, column));
            }
        }
    }
}

fn identity_images(batch: &Batch) {
    let tables = batch.tables();
    for (row, data) in batch.rows(&[]).into_iter().enumerate() {
        for (image, values) in [(Image::Before, data.before), (Image::After, data.after)] {
            let names = tables[data.table as usize].columns.iter().map(|column| column.name.clone());
            let values = values.map(|values| names.zip(values).collect::<Vec<_>>());
            batch.set_image(row as u32, image, values.as_deref());
        }
    }
}

/// Looks at a text and an integer, drops half.
fn filter(batch: &Batch) {
    let status = batch.flats(Image::After, "status");
    let ids = batch.ints(Image::After, "id");
    let rows = batch.len() as usize;
    let mut mask = vec![1; rows];
    let mut start = 0;
    for row in 0..rows {
        let end = status.ends[row] as usize;
        if status.present[row] == 1 && &status.data[start..end] == b"new"
            || ids.present[row] == 1 && ids.values[row] < 0
        {
            mask[row] = 0;
        }
        start = end;
    }
    batch.keep(&mask);
}

/// Redacts a text in both images, tags every row, adds one to an integer.
fn redact_columns(batch: &Batch) {
    for image in IMAGES {
        batch.fill(image, "email", &Value::Text("***".to_owned()));
    }
    batch.tag_where(&[], "redacted");
    let mut counts = batch.ints(Image::After, "quantity");
    for (present, value) in counts.present.iter().zip(&mut counts.values) {
        if *present == 1 {
            *value += 1;
        }
    }
    batch.set_ints(Image::After, "quantity", &counts);
}

fn redact_cells(batch: &Batch) {
    let (Some(email), Some(quantity)) = (batch.column("email"), batch.column("quantity")) else { return };
    for row in 0..batch.len() {
        for image in IMAGES {
            if let Value::Text(_) = batch.get(row, image, email) {
                batch.set(row, image, email, &Value::Text("***".to_owned()));
            }
        }
        if let Value::Int(count) = batch.get(row, Image::After, quantity) {
            batch.set(row, Image::After, quantity, &Value::Int(count + 1));
        }
        batch.tag(row, "redacted");
    }
}

fn added(at: u32) -> NewEvent {
    NewEvent {
        at,
        op: 0,
        before: None,
        after: Some(vec![
            ("id".to_owned(), Value::Int(99)),
            ("fresh".to_owned(), Value::Text("new".to_owned())),
        ]),
        tags: vec!["added".to_owned()],
        route: Route {
            topic: Some("audit".to_owned()),
            key: None,
            headers: vec![("h".to_owned(), "1".to_owned())],
        },
    }
}

/// One of each; the batch has at least five rows.
fn all_edits(batch: &Batch) {
    let note = batch.column("note").expect("it is there");
    let extra = batch.add_column("extra", "int");
    batch.set(0, Image::After, extra, &Value::Int(5));
    batch.set(0, Image::After, note, &Value::Absent); // leaves it
    batch.set(0, Image::After, note, &Value::Unavailable); // leaves it
    batch.apply(&[
        Edit::Tag((0, "t".to_owned())),
        Edit::Route((0, Route { topic: Some("top".to_owned()), key: Some("k".to_owned()), headers: vec![] })),
        Edit::Unset(crate::bindings::deltaforge::plugin::events::Place {
            row: 0,
            image: Image::After,
            column: note,
        }),
        Edit::Drop(1),
        Edit::Emit(added(1)),
        Edit::Reject((2, "not this one".repeat(1000))),
        Edit::SetOp((3, 3)),
    ]);
    batch.remove_column("email");
}
