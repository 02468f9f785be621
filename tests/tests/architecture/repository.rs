//! The checkout that the tests look at.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' crate stands in the checkout")
}

/// Every file that git keeps or would keep, relative to the root, sorted.
///
/// # Errors
///
/// When this is not a git checkout.
pub fn files() -> Result<Vec<PathBuf>> {
    let listed = run("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    let mut files: Vec<PathBuf> = listed
        .split(|&byte| byte == 0)
        .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()))
        .filter(|file| root().join(file).is_file())
        .collect();
    files.sort();
    files.dedup();
    ensure!(!files.is_empty(), "git lists no files");
    Ok(files)
}

/// Runs a program in the root and returns what it printed.
///
/// # Errors
///
/// When the program cannot be started or does not end well; the text has what it complained about.
pub fn run(program: &str, args: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(program)
        .args(args)
        .current_dir(root())
        .output()
        .with_context(|| format!("start {program}"))?;
    ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
