//! Builds the guests of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The crate `tests/SOURCE` with the given features, as a component `FILE`; built by cargo only when it changed.
pub fn build(source: &str, file: &str, features: &str) -> PathBuf {
    // All in one directory, so that what they depend on is built once: one after the other, then.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let target = scratch().join(source);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source);
    let name = if features.is_empty() { "plain".to_owned() } else { features.replace(',', "-") };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--target", "wasm32-unknown-unknown", "--features", features])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&source)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .status()
        .unwrap();
    assert!(
        status.success(),
        "the guest does not build: is the target wasm32-unknown-unknown there (./dev setup)?"
    );
    let core = target.join("wasm32-unknown-unknown/release").join(file);
    let core = std::fs::read(core).unwrap();
    let component =
        wit_component::ComponentEncoder::default().validate(true).module(&core).unwrap().encode().unwrap();
    let folder = target.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let out = folder.join(format!("{}.wasm", std::process::id()));
    std::fs::write(&out, component).unwrap();
    let path = folder.join(file);
    std::fs::rename(out, &path).unwrap();
    path
}

/// Where tests of this crate may leave what the next run finds again.
pub fn scratch() -> PathBuf {
    // target/PROFILE/deps/PROGRAM
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().join("tmp")
}
