//! Components of Go programs.
//!
//! Go's own toolchain knows nothing of components: a program that it builds for `wasip1` lacks the interface that its
//! bindings were made from, and it calls WASI. Here the interface is put in, and WASI's place is taken by
//! `no-wasi.wat`, so that the component imports what DeltaForge offers and nothing else.

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const INTERFACE: &str = include_str!("../../../wit/deltaforge-plugin-1.0.0/plugin.wit");
const NO_WASI: &str = include_str!("no-wasi.wat");

/// What a module exports, and the world that it is written for then.
const WORLDS: [(&str, &str); 2] = [
    ("deltaforge:plugin/processing@1.0.0#process", "processor"),
    ("deltaforge:plugin/formatting@1.0.0#format", "formatter"),
];

/// Encodes a module that Go built for `wasip1` as a component and validates the result.
///
/// # Errors
///
/// When it exports neither a processor nor a formatter, or both, or imports what plugins have not.
pub fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let mut interface = Resolve::default();
    let package = interface.push_str("plugin.wit", INTERFACE)?;
    let world = interface.select_world(&[package], Some(world(module)?))?;
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &interface, world, StringEncoding::UTF8)?;
    let adapter = wat::parse_str(NO_WASI).context("read the stand-in for WASI")?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .adapter("wasi_snapshot_preview1", &adapter)?
        .encode()?;
    Ok(component)
}

fn world(module: &[u8]) -> Result<&'static str> {
    let (_, exports) = crate::names(module)?;
    let found: Vec<_> =
        WORLDS.iter().filter(|(export, _)| exports.iter().any(|name| name == export)).collect();
    match found[..] {
        [(_, world)] => Ok(world),
        [] => bail!(
            "it exports neither a processor nor a formatter: a plugin imports the SDK's package `processor` or \
             `formatter` and calls its `Export` in an `init` function"
        ),
        _ => bail!(
            "it is a processor and a formatter in one: import only one of the SDK's packages of that name"
        ),
    }
}

#[cfg(test)]
mod tests;
