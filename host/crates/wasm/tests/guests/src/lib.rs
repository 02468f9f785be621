//! One guest that does what its config says: `{"act":"..."}`.
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

use bindings::deltaforge::plugin::types::Failure;
use bindings::exports::deltaforge::plugin::lifecycle;

static ACT: OnceLock<String> = OnceLock::new();

struct Puppet;

pub fn act() -> &'static str {
    ACT.get().map_or("pass", String::as_str)
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
            } else {
                String::new()
            },
        }
    }

    fn open(config: String) -> Result<(), Failure> {
        let act = config.split("\"act\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("pass");
        match act {
            "open-fails" => return fail("fatal", "no such act"),
            "open-retries" => return fail("retry", "the other side sleeps"),
            "open-traps" => panic!("cannot open"),
            "open-loops" => spin(),
            act => ACT.set(act.to_owned()).expect("opened once"),
        }
        Ok(())
    }
}

#[inline(never)]
pub fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

bindings::export!(Puppet with_types_in bindings);
