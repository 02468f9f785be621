//! Turns core WebAssembly modules into components: the last step of `./dev plugins`.
//!
//! `componentize plugins MANIFEST` lists a workspace's plugins, one a line: the package, a tab, and
//! the name that its core module has in the target directory. A plugin is a package with a `cdylib`.
//!
//! `componentize encode CORE OUT` reads the interface that the bindings left in the module's custom
//! sections, checks the module against it, and writes the component.
//!
//! `componentize encode-go CORE OUT` does the same for a module that Go built, which has no such
//! sections.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use wit_component::ComponentEncoder;

mod go;

const USAGE: &str =
    "usage: componentize plugins MANIFEST | componentize encode CORE OUT | componentize encode-go CORE OUT";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["plugins", manifest] => list_plugins(manifest),
        ["encode", core, out] => encode_file(Path::new(core), Path::new(out), encode),
        ["encode-go", core, out] => encode_file(Path::new(core), Path::new(out), go::encode),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("componentize: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list_plugins(manifest: &str) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path", manifest])
        .output()
        .context("run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    for (package, library) in plugins(&metadata)? {
        println!("{package}\t{library}");
    }
    Ok(())
}

/// The packages that have a `cdylib`, each with the file stem of its library.
fn plugins(metadata: &Value) -> Result<Vec<(String, String)>> {
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

fn encode_file(core: &Path, out: &Path, encode: impl Fn(&[u8]) -> Result<Vec<u8>>) -> Result<()> {
    let module = std::fs::read(core).with_context(|| format!("read {}", core.display()))?;
    let component = encode(&module).with_context(|| format!("make a component of {}", core.display()))?;
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    // An unchanged component keeps its file: a new one would have the host linked anew.
    if std::fs::read(out).is_ok_and(|existing| existing == component) {
        println!("{} (unchanged)", out.display());
        return Ok(());
    }
    // Whoever reads the folder meanwhile sees the old component or the new one, never half of one.
    let scratch = out.with_extension("wasm.new");
    std::fs::write(&scratch, &component).with_context(|| format!("write {}", scratch.display()))?;
    std::fs::rename(&scratch, out).with_context(|| format!("write {}", out.display()))?;
    println!("{} ({} KiB)", out.display(), component.len().div_ceil(1024));
    Ok(())
}

/// Encodes a core module as a component and validates the result.
fn encode(module: &[u8]) -> Result<Vec<u8>> {
    if !module.starts_with(b"\0asm") {
        bail!("this is not a WebAssembly module");
    }
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

#[cfg(test)]
mod tests;
