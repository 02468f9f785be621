//! How long the built-in plugins take per event, linked natively.
//!
//! The workload: batches of 500 events of one table of 12 columns (three integers, five texts, a decimal, a boolean,
//! two timestamps), 60 % created, 30 % updated with both images, 10 % deleted, about 600 bytes an event as JSON.
//! Time is this thread's own, as the kernel counts it. Printed is the median of the rounds with the quartiles.

#![allow(clippy::print_stdout)]

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;

use deltaforge_model::json::RowEncoders;
use deltaforge_model::{Overlay, View};
use deltaforge_sdk::testing::TestBatch;
use deltaforge_sdk::{Bodies, Formatter, Processor, native};
use serde_json::{Value, json};

const EVENTS: usize = 500;
/// Batches that are worked through in turn, so that the rows do not all sit in the first-level cache.
const BATCHES: usize = 8;
const ROUNDS: usize = 21;
const PASSES: usize = 100;

fn main() {
    let views: Vec<View> = (0..BATCHES).map(|seed| View::all(Arc::new(batch(seed)))).collect();
    let bytes: usize = views.iter().map(native_bytes).sum();
    println!("{} events of {} bytes as native JSON", EVENTS * BATCHES, bytes / (EVENTS * BATCHES));
    println!("{:<44} {:>8} {:>8} {:>8} {:>12}", "", "p25", "median", "p75", "events/s");
    envelope::<deltaforge_plugin_native::Native>("envelope native", &views, json!({}));
    envelope::<deltaforge_plugin_debezium::Debezium>("envelope debezium", &views, json!({}));
    let prefix = json!({"type_prefix": "com.example.cdc"});
    envelope::<deltaforge_plugin_cloudevents::CloudEvents>("envelope cloudevents", &views, prefix);
    let fields = json!([
        {"path": "status", "op": "eq", "value": "active"},
        {"path": "quantity", "op": "gte", "value": 5}
    ]);
    processor::<deltaforge_plugin_filter::Filter>("filter on two columns", &views, json!({"fields": fields}));
    let columns = |action: &str| json!({"columns": [{"name": "email", "action": action}, {"name": "note", "action": action}]});
    processor::<deltaforge_plugin_mask::Mask>("mask: redact two columns", &views, columns("redact"));
    processor::<deltaforge_plugin_mask::Mask>("mask: hash two columns", &views, columns("hash"));
}

fn envelope<F: Formatter>(name: &str, views: &[View], config: Value) {
    let mut plugin: F = native::open(&config.to_string(), F::open).expect("the configuration fits");
    let encoders = RefCell::new(RowEncoders::default());
    let tx_end = vec![false; EVENTS];
    let mut buffer = Vec::new();
    measure(name, || {
        for view in views {
            buffer.clear();
            let mut bodies = Bodies::over(std::mem::take(&mut buffer));
            native::format(&mut plugin, view, &tx_end, &encoders, &mut bodies).expect("it formats");
            buffer = black_box(bodies).into_parts().data;
        }
    });
}

/// Without applying the edits: that is the engine's part.
fn processor<P: Processor>(name: &str, views: &[View], config: Value) {
    let mut plugin: P = native::open(&config.to_string(), P::open).expect("the configuration fits");
    let encoders = RefCell::new(RowEncoders::default());
    measure(name, || {
        for view in views {
            let mut edits = Overlay::new();
            native::process(&mut plugin, view, &mut edits, &encoders).expect("it processes");
            black_box(edits);
        }
    });
}

fn measure(name: &str, mut pass: impl FnMut()) {
    pass();
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = thread_nanos();
            (0..PASSES).for_each(|_| pass());
            (thread_nanos() - start) as f64 / (PASSES * BATCHES * EVENTS) as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let at = |share: usize| rounds[rounds.len() * share / 100];
    println!("{name:<44} {:>5.0} ns {:>5.0} ns {:>5.0} ns {:>12.0}", at(25), at(50), at(75), 1e9 / at(50));
}

/// What this thread has run, in nanoseconds.
fn thread_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux kernel");
    stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds come first")
}

fn native_bytes(view: &View) -> usize {
    let mut plugin = deltaforge_plugin_native::Native;
    let mut bodies = Bodies::default();
    let tx_end = vec![false; EVENTS];
    native::format(&mut plugin, view, &tx_end, &RefCell::default(), &mut bodies).expect("it formats");
    bodies.into_parts().data.len()
}

fn batch(seed: usize) -> deltaforge_model::Batch {
    let columns = [
        ("id", "int"),
        ("customer", "int"),
        ("quantity", "int"),
        ("status", "text"),
        ("email", "text"),
        ("sku", "text"),
        ("address", "text"),
        ("note", "text"),
        ("total", "decimal"),
        ("paid", "bool"),
        ("created_at", "timestamp"),
        ("updated_at", "timestamp"),
    ];
    let table = "shop.orders";
    (0..EVENTS)
        .fold(TestBatch::new().table(table, &columns, &["id"]), |batch, at| {
            let id = seed * EVENTS + at;
            let row = |version: usize| {
                let note =
                    (!id.is_multiple_of(4)).then(|| format!("leave it at the door of number {id}, please"));
                json!({
                    "id": id, "customer": id * 7919 % 100_000, "quantity": (id + version) % 10,
                    "status": if id.is_multiple_of(2) { "active" } else { "cancelled" },
                    "email": format!("customer{id}@mail.example.com"), "sku": format!("SKU-{:08}", id * 31),
                    "address": format!("{id} Long Winding Road, Some Town, 12345"), "note": note,
                    "total": format!("{}.{:02}", id * 13 % 9999, id % 100), "paid": id.is_multiple_of(3),
                    "created_at": "2024-01-15T10:30:00.123456Z", "updated_at": "2024-01-16T11:31:00Z"
                })
            };
            match at % 10 {
                0..=5 => batch.insert(table, row(0)),
                6..=8 => batch.update(table, row(0), row(1)),
                _ => batch.delete(table, row(0)),
            }
        })
        .build()
}
