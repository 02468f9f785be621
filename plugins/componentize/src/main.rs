//! The last step of `./dev plugins`.
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

use anyhow::{Context, Result, ensure};
use componentize::{encode, go, plugins};

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

#[cfg(test)]
mod tests;
