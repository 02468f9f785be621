//! Crates.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use componentize::about::About;
use serde_json::Value;

use super::{BuildError, Core, Mode, answer, program};

const TARGET: &str = "wasm32-unknown-unknown";
/// The profile that a project's manifest has for components.
const PROFILE: &str = "component";
/// What the profile is for looking at what a change does: little is optimised, and what did not change is kept. Not a
/// profile of its own, which would compile anew what runs at compile time only.
const QUICK: [&str; 7] = [
    "profile.component.inherits='release'",
    "profile.component.opt-level=1",
    "profile.component.lto='off'",
    "profile.component.codegen-units=16",
    "profile.component.incremental=true",
    "profile.component.panic='abort'",
    "profile.component.strip='debuginfo'",
];

pub(super) fn core(dir: &Path, mode: Mode) -> Result<Core, BuildError> {
    check_toolchain(dir)?;
    let about = about(dir)?;
    let mut cargo = program("cargo", dir);
    cargo.args(["rustc", "--lib", "--crate-type", "cdylib", "--target", TARGET]);
    cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    cargo.args(["--profile", PROFILE]);
    if mode == Mode::Quick {
        cargo.arg("--quiet");
        for setting in QUICK {
            cargo.args(["--config", setting]);
        }
    }
    let (built, said) = answer(cargo)?.ok_or_else(no_rust)?;
    if !built {
        let mut text = "cargo does not build it, see above".to_owned();
        if mode == Mode::Release && !has_profile(dir) {
            text = format!(
                "the manifest has no profile for components; add to {}/Cargo.toml:\n\n[profile.{PROFILE}]\n\
                 inherits = \"release\"\nlto = \"fat\"\ncodegen-units = 1\npanic = \"abort\"\nstrip = \"debuginfo\"\n",
                dir.display()
            );
        }
        return Err(BuildError::Toolchain(text));
    }
    let path = module(&said).ok_or_else(|| {
        BuildError::Toolchain("cargo has built no library: the manifest needs a [lib]".to_owned())
    })?;
    let module = std::fs::read(&path)
        .map_err(|cause| BuildError::Io { doing: format!("read {}", path.display()), cause })?;
    Ok(Core { module, about })
}

fn no_rust() -> BuildError {
    BuildError::Missing {
        what: "Rust is not installed here: there is no `cargo` on the PATH".to_owned(),
        install: "see https://rustup.rs, then `rustup target add wasm32-unknown-unknown`".to_owned(),
    }
}

/// Whether there is a compiler, and a standard library for components.
fn check_toolchain(dir: &Path) -> Result<(), BuildError> {
    let mut rustc = program("rustc", dir);
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let (known, folder) = answer(rustc)?.ok_or_else(no_rust)?;
    let folder = PathBuf::from(String::from_utf8_lossy(&folder).trim());
    let has_std = std::fs::read_dir(&folder).is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
    });
    if known && has_std {
        return Ok(());
    }
    Err(BuildError::Missing {
        what: format!(
            "Rust cannot build for {TARGET} here: its standard library is missing in {}",
            folder.display()
        ),
        install: format!(
            "rustup target add {TARGET}   (Debian's own Rust: apt install libstd-rust-dev-wasm32)"
        ),
    })
}

/// What the manifest says of the crate.
fn about(dir: &Path) -> Result<About, BuildError> {
    let mut cargo = program("cargo", dir);
    cargo.args(["metadata", "--format-version", "1", "--no-deps"]);
    let (read, said) = answer(cargo)?.ok_or_else(no_rust)?;
    if !read {
        return Err(BuildError::Toolchain("cargo cannot read the manifest, see above".to_owned()));
    }
    let metadata: Value = serde_json::from_slice(&said).unwrap_or_default();
    let manifest = dir.join("Cargo.toml").canonicalize().unwrap_or_default();
    let is_it =
        |package: &&Value| package["manifest_path"].as_str().map(Path::new) == Some(manifest.as_path());
    let package = metadata["packages"].as_array().into_iter().flatten().find(is_it).ok_or_else(|| {
        let text = format!("{} is a workspace: name the folder of the plugin's crate", dir.display());
        BuildError::Toolchain(text)
    })?;
    let text = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
    let authors = package["authors"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(About {
        name: text("name"),
        version: text("version"),
        description: text("description"),
        authors: authors.collect::<Vec<_>>().join(", "),
        licence: text("license"),
        source: text("repository"),
    })
}

fn has_profile(dir: &Path) -> bool {
    // In a workspace, profiles stand in its own manifest.
    let manifests = dir.canonicalize().unwrap_or_default();
    manifests.ancestors().any(|folder| {
        std::fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|text| text.contains(&format!("[profile.{PROFILE}]")))
    })
}

/// The core module among what cargo says that it has built: the last one.
fn module(said: &[u8]) -> Option<PathBuf> {
    let messages =
        said.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut files =
        messages.filter(|message| message["reason"] == "compiler-artifact").filter_map(|message| {
            let files = message["filenames"].as_array()?;
            files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
        });
    files.next_back()
}
