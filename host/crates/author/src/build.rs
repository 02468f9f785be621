//! From a project to a component: the language's own toolchain makes a core module, the rest is done here.

mod go;
mod js;
mod python;
mod rust;
mod world;

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use componentize::about::{self, About};

use crate::scaffold::Language;

/// A component cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no project.
    #[error(
        "there is no Cargo.toml, go.mod, package.json or pyproject.toml in {0}; `deltaforge plugin new` makes a project"
    )]
    NoProject(String),
    /// Something is not installed.
    #[error("{what}\n  to install it: {install}")]
    Missing {
        /// What is missing.
        what: String,
        /// The command, or where to look.
        install: String,
    },
    /// The toolchain does not build it; it has said why on stderr.
    #[error("{0}")]
    Toolchain(String),
    /// What the toolchain has built does not become a component.
    #[error("{0}")]
    Component(String),
    /// A file or a program.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

/// How a component is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As it will run: small and fast, whatever that takes.
    Release,
    /// As soon as possible, for looking at what a change does.
    Quick,
}

/// A component that was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// The project's name: the crate's, or the last part of the module's.
    pub name: String,
    /// The component.
    pub component: Vec<u8>,
}

/// A core module, and what its project says of itself.
struct Core {
    module: Vec<u8>,
    about: About,
}

/// The language of the project in a folder. One in TypeScript is one in JavaScript that makes that first.
///
/// # Errors
///
/// When there is none.
pub fn language(dir: &Path) -> Result<Language, BuildError> {
    const FILES: [(&str, Language); 4] = [
        ("Cargo.toml", Language::Rust),
        ("go.mod", Language::Go),
        ("package.json", Language::JavaScript),
        ("pyproject.toml", Language::Python),
    ];
    let found = FILES.into_iter().find(|(file, _)| dir.join(file).is_file());
    found.map(|(_, language)| language).ok_or_else(|| BuildError::NoProject(dir.display().to_string()))
}

/// Builds the project in a folder. What the toolchain says goes to stderr.
///
/// # Errors
///
/// See [`BuildError`].
pub fn build(dir: &Path, mode: Mode) -> Result<Built, BuildError> {
    let (component, about) = match language(dir)? {
        Language::Rust => encoded(rust::core(dir, mode)?, componentize::encode)?,
        Language::Go => encoded(go::core(dir)?, componentize::go::encode)?,
        Language::JavaScript | Language::TypeScript => js::component(dir)?,
        Language::Python => python::component(dir)?,
    };
    let component = about::embed(&component, &about).map_err(|error| {
        BuildError::Component(format!("who made it cannot be written into it: {error:#}"))
    })?;
    Ok(Built { name: about.name, component })
}

fn encoded<E: std::fmt::Display>(
    Core { module, about }: Core,
    encode: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<(Vec<u8>, About), BuildError> {
    match encode(&module) {
        Ok(component) => Ok((component, about)),
        Err(error) => Err(BuildError::Component(not_a_component(&module, &error))),
    }
}

/// Why a module does not become a component. The tool speaks of interfaces; what an author wants to know is what the
/// program asks for that is not there.
fn not_a_component(module: &[u8], error: &impl std::fmt::Display) -> String {
    let foreign: Vec<String> = componentize::imports(module)
        .unwrap_or_default()
        .into_iter()
        .filter(|import| {
            !import.contains("deltaforge:plugin/") && !import.starts_with("wasi_snapshot_preview1")
        })
        .collect();
    if foreign.is_empty() {
        return format!("it does not become a component: {error:#}");
    }
    let mut text = format!("it imports {}, which no host offers", foreign.join(", "));
    if foreign.iter().any(|import| import.contains("wbindgen") || import.contains("wasm_bindgen")) {
        text.push_str(
            "\n  a crate that it uses expects a browser (wasm-bindgen): turn off its feature `js`, `wasm-bindgen` or \
             `wasmbind`, or do without it (`cargo tree -i wasm-bindgen` says who brings it)",
        );
    } else {
        text.push_str(
            "\n  a plugin has what the SDK offers and nothing else: no files, no network, no C libraries",
        );
    }
    text
}

/// Writes a component so that it is there whole or not at all.
///
/// # Errors
///
/// When it cannot be written.
pub fn write(path: &Path, component: &[u8]) -> Result<(), BuildError> {
    let doing = || format!("write {}", path.display());
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let io_error = |cause| BuildError::Io { doing: doing(), cause };
    let mut file = tempfile::Builder::new().prefix(".plugin").tempfile_in(above).map_err(io_error)?;
    io::Write::write_all(&mut file, component).map_err(io_error)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(io_error)?;
    file.persist(path).map_err(|error| io_error(error.error))?;
    Ok(())
}

/// A program of the toolchain, run in the project's folder.
fn program(name: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(dir).stdin(Stdio::null()).stderr(Stdio::inherit());
    command
}

/// Runs a program for its answer; `None`: there is no such program.
fn answer(mut command: Command) -> Result<Option<(bool, Vec<u8>)>, BuildError> {
    match command.output() {
        Ok(output) => Ok(Some((output.status.success(), output.stdout))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => {
            let doing = format!("run {}", command.get_program().to_string_lossy());
            Err(BuildError::Io { doing, cause })
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path).map_err(|cause| BuildError::Io { doing: format!("read {}", path.display()), cause })
}

/// Writes a file of the build, with the folders above it.
fn put(path: &Path, text: &str) -> Result<(), BuildError> {
    path.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|cause| BuildError::Io { doing: format!("write {}", path.display()), cause })
}

fn scratch() -> Result<tempfile::TempDir, BuildError> {
    tempfile::tempdir()
        .map_err(|cause| BuildError::Io { doing: "make a folder for what is built".to_owned(), cause })
}

/// Where a project's component is written unless told otherwise.
pub fn default_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.wasm"))
}

#[cfg(test)]
mod tests;
