//! Embeds what the binary carries: built-in components, where they are built, and the pages of docs/errors.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The plugins that every host carries. Others in the folder are for tests.
const BUILTIN: [&str; 12] = [
    "add-field",
    "cast",
    "cloudevents",
    "debezium",
    "drop-columns",
    "filter",
    "flatten",
    "mask",
    "native",
    "outbox",
    "rename",
    "route",
];

fn main() -> io::Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("..");
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);

    let mut pages = String::from("const ERROR_PAGES: &[(&str, &str)] = &[\n");
    for path in files(&root.join("docs/errors"), "md")? {
        let name = stem(&path);
        if name != "README" {
            let _ = writeln!(pages, "    ({name:?}, include_str!({:?})),", path.canonicalize()?);
        }
    }
    fs::write(out.join("error_pages.rs"), pages + "];\n")?;

    let mut components = String::from("const COMPONENTS: &[(&str, &[u8])] = &[\n");
    let built = files(&root.join("plugins/dist"), "wasm")?;
    for path in built.iter().filter(|path| BUILTIN.contains(&stem(path).as_str())) {
        let _ = writeln!(components, "    ({:?}, include_bytes!({:?})),", stem(path), path.canonicalize()?);
    }
    fs::write(out.join("components.rs"), components + "];\n")?;
    Ok(())
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The files of a folder with this ending, by name; the build runs again when the folder changes.
fn files(folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    files.retain(|path| path.extension().is_some_and(|e| e == ending));
    files.sort();
    Ok(files)
}
