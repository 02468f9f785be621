//! Embeds what `plugin new` writes: the templates, and the sources of the SDKs with what they are built on.
//!
//! The manifests of the Rust SDK name the workspace of this repository; a project elsewhere has none, so the values
//! that they inherit are put in.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use toml::{Table, Value};

/// Not part of an SDK.
const EXAMPLES: &str = "examples/";

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    let root = here.join("../../..");

    let mut rust = Vec::new();
    for (name, folder) in [("deltaforge-sdk", "sdk/rust"), ("deltaforge-model", "host/crates/model")] {
        let crate_in = format!("crates/{name}");
        collect(&root.join(folder).join("src"), &format!("{crate_in}/src"), &mut rust)?;
        let manifest = out.join(format!("{name}.toml"));
        fs::write(&manifest, standing_alone(&root, folder)?)?;
        rust.push((format!("{crate_in}/Cargo.toml"), manifest));
    }
    collect(&root.join("wit"), "wit", &mut rust)?;
    // Tests of the SDK itself are not a plugin author's business.
    rust.retain(|(path, _)| !path.ends_with("/tests.rs") && !path.contains("/tests/"));

    let mut go = Vec::new();
    collect(&root.join("sdk/go"), "", &mut go)?;
    go.retain(|(path, _)| {
        let is_test = path.ends_with("_test.go") || path.starts_with("internal/puppet/");
        !is_test && !path.starts_with(EXAMPLES)
    });

    let mut text = format!("{}{}", list("RUST_SDK", &rust)?, list("GO_SDK", &go)?);
    for language in ["js", "python"] {
        let mut sdk = Vec::new();
        collect(&root.join("sdk").join(language), "", &mut sdk)?;
        sdk.retain(|(path, _)| !path.starts_with(EXAMPLES));
        text += &list(&format!("{}_SDK", language.to_uppercase()), &sdk)?;
    }
    for language in ["rust", "go", "js", "ts", "python"] {
        for kind in ["processor", "formatter"] {
            let mut files = Vec::new();
            for folder in [language.to_owned(), format!("{language}/{kind}")] {
                let folder = here.join("templates").join(folder);
                println!("cargo::rerun-if-changed={}", folder.display());
                let is_kind = |path: &str| path.starts_with("processor/") || path.starts_with("formatter/");
                let mut found = Vec::new();
                collect(&folder, "", &mut found)?;
                files.extend(found.into_iter().filter(|(path, _)| !is_kind(path)));
            }
            text += &list(&format!("{}_{}", language.to_uppercase(), kind.to_uppercase()), &files)?;
        }
    }
    fs::write(out.join("embedded.rs"), text)
}

/// The files below a folder, each with its path in a project, by name.
fn collect(folder: &Path, path: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().map_err(|name| io::Error::other(format!("{name:?}")))?;
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        match entry.file_type()?.is_dir() {
            true if ["target", "__pycache__"].iter().any(|made| path.ends_with(made)) => {}
            true => collect(&entry.path(), &path, files)?,
            false => files.push((path, entry.path())),
        }
    }
    Ok(())
}

fn list(name: &str, files: &[(String, PathBuf)]) -> io::Result<String> {
    let mut text = format!("const {name}: &[(&str, &str)] = &[\n");
    for (path, file) in files {
        let _ = writeln!(text, "    ({path:?}, include_str!({:?})),", file.canonicalize()?);
    }
    Ok(text + "];\n")
}

/// A crate's manifest without its workspace, its tests and its benchmarks.
fn standing_alone(root: &Path, folder: &str) -> io::Result<String> {
    let read = |path: PathBuf| -> io::Result<Table> {
        println!("cargo::rerun-if-changed={}", path.display());
        fs::read_to_string(path)?.parse().map_err(io::Error::other)
    };
    let workspace = read(root.join("Cargo.toml"))?;
    let workspace = table(&workspace, "workspace")?;
    let own = read(root.join(folder).join("Cargo.toml"))?;

    let mut package = table(&own, "package")?.clone();
    for (key, value) in &mut package {
        if is_inherited(value) {
            *value = get(table(workspace, "package")?, key)?.clone();
        }
    }
    let shared = table(workspace, "dependencies")?;
    let mut alone = Table::new();
    alone.insert("package".to_owned(), Value::Table(package));
    alone.insert("dependencies".to_owned(), dependencies(table(&own, "dependencies")?, shared)?);
    if let Some(targets) = own.get("target").and_then(Value::as_table) {
        let mut kept = Table::new();
        for (target, of) in targets {
            let of = of.as_table().ok_or_else(|| io::Error::other("a target is a table"))?;
            let found = dependencies(table(of, "dependencies")?, shared)?;
            kept.insert(target.clone(), Value::Table(Table::from_iter([("dependencies".to_owned(), found)])));
        }
        alone.insert("target".to_owned(), Value::Table(kept));
    }
    toml::to_string(&alone).map_err(io::Error::other)
}

fn dependencies(own: &Table, shared: &Table) -> io::Result<Value> {
    let mut found = Table::new();
    for (name, value) in own {
        if !is_inherited(value) {
            return Err(io::Error::other(format!("{name} is not declared in the workspace")));
        }
        let mut value = get(shared, name)?.clone();
        if value.get("path").is_some() {
            // Crates of ours lie side by side.
            value =
                Value::Table(Table::from_iter([("path".to_owned(), Value::String(format!("../{name}")))]));
        }
        found.insert(name.clone(), value);
    }
    Ok(Value::Table(found))
}

fn is_inherited(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

fn get<'a>(table: &'a Table, key: &str) -> io::Result<&'a Value> {
    table.get(key).ok_or_else(|| io::Error::other(format!("there is no {key}")))
}

fn table<'a>(from: &'a Table, key: &str) -> io::Result<&'a Table> {
    get(from, key)?.as_table().ok_or_else(|| io::Error::other(format!("{key} is no table")))
}
