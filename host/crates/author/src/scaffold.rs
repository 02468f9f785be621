//! New projects.
//!
//! A project carries the sources of its SDK, as this build of DeltaForge has them, in a folder `sdk`. So it needs
//! neither a clone nor a package registry for it, it builds on any machine it is checked out on, and its SDK changes
//! when its author says so and at no other time.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use deltaforge_wasm::Reference;

use crate::embedded::{sdk, template};

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// A crate.
    Rust,
    /// A module, for the standard toolchain.
    Go,
    /// A package, for Node.
    JavaScript,
    /// The same, with a compiler that makes JavaScript of it.
    TypeScript,
    /// A project with a `pyproject.toml`.
    Python,
}

/// What a plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It edits events.
    Processor,
    /// It shapes them into message bodies.
    Formatter,
}

/// A project cannot be made; nothing was written, but for [`NewError::Io`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewError {
    /// The name cannot be a plugin's.
    #[error("{name:?} cannot be a plugin's name: {why}")]
    Name {
        /// The name.
        name: String,
        /// Why not, and what would do.
        why: String,
    },
    /// There is something already.
    #[error("{0} is not empty: name a new folder with --dir")]
    Taken(String),
    /// There is another folder of the SDK's name.
    #[error("{0} is not the SDK of a project that `deltaforge plugin new` made")]
    NotOurs(String),
    /// A file cannot be written.
    #[error("write {path}")]
    Io {
        /// Which one.
        path: String,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
}

/// Names that mean something else to a toolchain: words of Rust, crates that the project uses or that Rust brings.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "deltaforge",
    "deltaforge-model",
    "deltaforge-sdk",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "sdk",
    "self",
    "serde",
    "serde-json",
    "serde_json",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];
/// Types that the templates use.
const TYPES: &[&str] =
    &["Batch", "Bodies", "Config", "Failure", "Formatter", "Image", "Manifest", "Processor"];

/// Makes a project; answers the paths of its own files, without those of the SDK.
///
/// # Errors
///
/// When the name is none, the folder is not empty, or a file cannot be written.
pub fn create(dir: &Path, name: &str, language: Language, kind: Kind) -> Result<Vec<PathBuf>, NewError> {
    check_name(name)?;
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |cause| NewError::Io { path, cause }
    };
    match fs::read_dir(dir) {
        Ok(entries) => {
            // A repository that was made just now is as good as an empty folder.
            let mut others = entries.flatten().filter(|entry| entry.file_name() != ".git");
            if others.next().is_some() {
                return Err(NewError::Taken(dir.display().to_string()));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(dir)(error)),
    }
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        let above = path.parent().unwrap_or(dir);
        fs::create_dir_all(above).and_then(|()| fs::write(&path, text)).map_err(failed(&path))
    };
    let mut made = Vec::new();
    for (path, text) in template(language, kind) {
        let path = match *path {
            "gitignore" => ".gitignore",
            path => path.strip_suffix(".in").unwrap_or(path),
        };
        write(path, &filled(text, name, kind))?;
        made.push(PathBuf::from(path));
    }
    for (path, text) in sdk(language) {
        write(&format!("sdk/{path}"), text)?;
    }
    made.sort();
    Ok(made)
}

/// Puts this build's SDK into a project, in the place of the one that is there; answers whether that changed anything.
///
/// # Errors
///
/// When there is a folder `sdk` that is none of ours, or a file cannot be written.
pub fn renew_sdk(dir: &Path, language: Language) -> Result<bool, NewError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |cause| NewError::Io { path, cause }
    };
    let (old, files) = (dir.join("sdk"), sdk(language));
    let ours = match language {
        Language::Rust => "crates/deltaforge-sdk/Cargo.toml",
        Language::Go => "deltaforge.go",
        Language::JavaScript | Language::TypeScript => "guest.js",
        Language::Python => "deltaforge/guest.py",
    };
    if old.exists() && !old.join(ours).is_file() {
        return Err(NewError::NotOurs(old.display().to_string()));
    }
    if files.iter().all(|(path, text)| fs::read(old.join(path)).is_ok_and(|held| held == text.as_bytes())) {
        return Ok(false);
    }
    // Beside the old one first: a full disk leaves that as it was.
    let new = tempfile::Builder::new().prefix(".sdk").tempdir_in(dir).map_err(failed(dir))?;
    for (path, text) in files {
        let path = new.path().join(path);
        let above = path.parent().unwrap_or(dir);
        fs::create_dir_all(above).and_then(|()| fs::write(&path, text)).map_err(failed(&path))?;
    }
    if old.exists() {
        fs::remove_dir_all(&old).map_err(failed(&old))?;
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(new.path(), mode).map_err(failed(new.path()))?;
    fs::rename(new.keep(), &old).map_err(failed(&old))?;
    Ok(true)
}

/// A template's text with what the placeholders stand for.
fn filled(text: &str, name: &str, kind: Kind) -> String {
    let does = match kind {
        Kind::Processor => "hides the digits of a column",
        Kind::Formatter => "writes the table, the operation and the row",
    };
    let deployed = match kind {
        Kind::Processor => "deltaforge plugin deploy my-plugin.wasm --pipeline PIPELINE --processor ID",
        Kind::Formatter => {
            "deltaforge plugin publish my-plugin.wasm --host URL   # then in a sink: `envelope: {plugin: my-plugin@0.1}`"
        }
    };
    text.replace("MY-DEPLOYMENT", deployed)
        .replace("MY-DESCRIPTION", does)
        .replace("MyPlugin", &type_name(name))
        .replace("my-plugin", name)
}

/// `hide-phones` as the name of a type: `HidePhones`.
fn type_name(name: &str) -> String {
    let parts = name.split(['-', '_']).filter_map(|part| part.split_at_checked(1));
    let name: String = parts.map(|(first, rest)| first.to_ascii_uppercase() + rest).collect();
    if TYPES.contains(&name.as_str()) { name + "Plugin" } else { name }
}

fn check_name(name: &str) -> Result<(), NewError> {
    let refuse = |why: &str| Err(NewError::Name { name: name.to_owned(), why: why.to_owned() });
    if !matches!(name.parse(), Ok(Reference::Named { tenant: None, version: None, .. })) {
        return refuse("it is of a-z, 0-9, - and _, begins with a letter, and has at most 64 characters");
    }
    if TAKEN.contains(&name) {
        return refuse(
            "it means something else to the toolchain; say what the plugin does, such as hide-phones",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
