//! Turns core WebAssembly modules into components.
//!
//! [`encode`] takes a module whose bindings left the interface in custom sections, as those for Rust do;
//! [`go::encode`] one that Go's own toolchain built, which has no such sections. [`about::embed`] writes into a
//! component who made it and under which licence.
//!
//! The program of this crate is the last step of `./dev plugins`; the host uses the library.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

pub mod about;
pub mod go;

/// Encodes a core module as a component and validates the result.
///
/// # Errors
///
/// When it is none, or does not fit the interface that its bindings name.
pub fn encode(module: &[u8]) -> Result<Vec<u8>> {
    if !module.starts_with(b"\0asm") {
        bail!("this is not a WebAssembly module");
    }
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// What a core module imports, as `module.name`.
///
/// # Errors
///
/// When it is no module.
pub fn imports(module: &[u8]) -> Result<Vec<String>> {
    names(module).map(|(imports, _)| imports)
}

/// What a core module imports and exports.
fn names(module: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    ensure!(module.starts_with(b"\0asm\x01\0\0\0"), "this is not a WebAssembly module");
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    for part in Parser::new(0).parse_all(module) {
        match part? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    imports.push(format!("{}.{}", import.module, import.name));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.push(export?.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// The packages that have a `cdylib`, each with the file stem of its library, as `cargo metadata` names them.
///
/// # Errors
///
/// When it is not cargo's metadata.
pub fn plugins(metadata: &Value) -> Result<Vec<(String, String)>> {
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let mut found = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        for target in package["targets"].as_array().into_iter().flatten() {
            let kinds = target["crate_types"].as_array();
            if kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib")) {
                let library = target["name"].as_str().context("a target without a name")?;
                found.push((name.to_owned(), library.replace('-', "_")));
            }
        }
    }
    Ok(found)
}
