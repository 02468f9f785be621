//! One guest that does what its config says: `{"act":"..."}`. With `"on":"..."` only to a batch in which some row's
//! `note` is that text.
#![allow(missing_docs, static_mut_refs)]

use std::sync::OnceLock;

#[cfg(not(any(feature = "formatter", feature = "wasi")))]
mod bindings {
    wit_bindgen::generate!({ world: "processor", path: "../../../../../wit/deltaforge-plugin-1.0.0" });
}
#[cfg(feature = "wasi")]
mod bindings {
    wit_bindgen::generate!({
        world: "puppet:wasi/puppet",
        path: ["../../../../../wit/deltaforge-plugin-1.0.0", "wasi.wit"],
        generate_all,
    });
}
#[cfg(feature = "formatter")]
mod bindings {
    wit_bindgen::generate!({ world: "formatter", path: "../../../../../wit/deltaforge-plugin-1.0.0" });
}

#[cfg(feature = "formatter")]
mod formatting;
#[cfg(not(feature = "formatter"))]
mod processing;

use bindings::deltaforge::plugin::events::Batch;
use bindings::deltaforge::plugin::log;
use bindings::deltaforge::plugin::types::{Failure, Image};
use bindings::exports::deltaforge::plugin::lifecycle;

static ACT: OnceLock<String> = OnceLock::new();
static ON: OnceLock<String> = OnceLock::new();

struct Puppet;

pub fn act() -> &'static str {
    ACT.get().map_or("pass", String::as_str)
}

/// What it does to this batch.
fn act_on(batch: &Batch) -> &'static str {
    match ON.get() {
        Some(on) if !batch.texts(Image::After, "note").values.contains(on) => "pass",
        _ => act(),
    }
}

fn fail<T>(kind: &str, message: &str) -> Result<T, Failure> {
    Err(Failure { kind: kind.to_owned(), message: message.to_owned() })
}

impl lifecycle::Guest for Puppet {
    fn describe() -> lifecycle::Manifest {
        lifecycle::Manifest {
            name: "puppet".to_owned(),
            version: "0.1.0".to_owned(),
            description: "does what its config says".to_owned(),
            tables: if cfg!(feature = "clock") { vec!["shop.orders".to_owned()] } else { Vec::new() },
            reads: Vec::new(),
            writes: Vec::new(),
            config_schema: if cfg!(feature = "clock") {
                r#"{ "properties": { "act": { "type": "string" } } }"#.to_owned()
            } else if cfg!(feature = "endless") {
                doubling(40)
            } else {
                String::new()
            },
        }
    }

    fn open(config: String) -> Result<(), Failure> {
        let member = |name: &str| config.split(name).nth(1).and_then(|rest| rest.split('"').next());
        if let Some(on) = member("\"on\":\"") {
            ON.set(on.to_owned()).expect("opened once");
        }
        match member("\"act\":\"").unwrap_or("pass") {
            "open-fails" => return fail("fatal", "no such act"),
            "open-retries" => return fail("retry", "the other side sleeps"),
            "open-traps" => panic!("cannot open"),
            "open-loops" => spin(),
            "open-takes-100-mib" => std::mem::forget(std::hint::black_box(vec![1_u8; 100 << 20])),
            act => ACT.set(act.to_owned()).expect("opened once"),
        }
        Ok(())
    }
}

/// A small schema that looks at a value `2^times` times.
fn doubling(times: usize) -> String {
    let twice = |n: usize| {
        format!(r##""d{}":{{"allOf":[{{"$ref":"#/$defs/d{n}"}},{{"$ref":"#/$defs/d{n}"}}]}},"##, n + 1)
    };
    let defs: String = (0..times).map(twice).collect();
    format!(r##"{{"$defs":{{{defs}"d0":{{"type":"object"}}}},"$ref":"#/$defs/d{times}"}}"##)
}

#[inline(never)]
pub fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

#[inline(never)]
fn recurse(n: u64) -> u64 {
    if n == 0 { 0 } else { std::hint::black_box(recurse(std::hint::black_box(n + 1))) + 1 }
}

#[inline(never)]
fn grow() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

#[inline(never)]
fn trap_deep_inside(rows: u32) {
    assert!(std::hint::black_box(rows) > 1_000_000, "not that many rows");
}

fn flood_log() {
    for number in 0..100_000 {
        log::log(log::Level::Info, &format!("line {number}"), &[("n".to_owned(), number.to_string())]);
    }
}

bindings::export!(Puppet with_types_in bindings);
