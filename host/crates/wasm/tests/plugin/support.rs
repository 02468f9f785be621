//! What the tests have in common: guests, a runtime, what stages are made of.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use deltaforge_engine::stage::{StageCode, StageLimits, StageSpec};
use deltaforge_wasm::{Registry, Runtime};

pub use crate::batches::{mixed, notes, scattered};
use crate::guests::{build, scratch};

/// The puppet with the given features, as a component; built once a process.
pub fn guest(features: &str) -> &'static Path {
    static PLAIN: LazyLock<PathBuf> = LazyLock::new(|| build("guests", "puppet.wasm", ""));
    static FORMATTER: LazyLock<PathBuf> = LazyLock::new(|| build("guests", "puppet.wasm", "formatter"));
    static GRANTED: LazyLock<PathBuf> = LazyLock::new(|| build("guests", "puppet.wasm", "clock,metrics"));
    static WASI: LazyLock<PathBuf> = LazyLock::new(|| build("guests", "puppet.wasm", "wasi"));
    static ENDLESS: LazyLock<PathBuf> = LazyLock::new(|| build("guests", "puppet.wasm", "endless"));
    match features {
        "endless" => &ENDLESS,
        "wasi" => &WASI,
        "" => &PLAIN,
        "formatter" => &FORMATTER,
        "clock,metrics" => &GRANTED,
        other => panic!("no guest is built with {other}"),
    }
}

/// One runtime for all tests of a process: its caches are what is shared in a host, too.
pub fn runtime() -> Arc<Runtime> {
    static RUNTIME: LazyLock<Arc<Runtime>> = LazyLock::new(|| {
        let cache = scratch().join("plugin-cache");
        Runtime::new(Some(&cache)).unwrap()
    });
    RUNTIME.clone()
}

pub fn registry(dir: &Path) -> Arc<Registry> {
    Arc::new(Registry::new(dir.join("plugins"), dir.join("components")))
}

pub fn spec(plugin: &str, base_dir: &Path, config: serde_json::Value) -> StageSpec {
    StageSpec {
        id: "stage".to_owned(),
        pipeline: "pipe".to_owned(),
        tenant: "acme".to_owned(),
        code: StageCode::Plugin(plugin.to_owned()),
        config,
        limits: None,
        grants: Vec::new(),
        base_dir: Some(base_dir.to_owned()),
    }
}

/// A spec for the puppet with an act.
pub fn puppet(act: &str) -> StageSpec {
    let path = guest("");
    spec("./puppet.wasm", path.parent().unwrap(), serde_json::json!({ "act": act }))
}

pub fn limits(cpu_ms: u64, timeout_ms: u64, mem_mb: u64) -> Option<StageLimits> {
    Some(StageLimits { cpu_ms, timeout_ms, mem_mb, ..StageLimits::DEFAULT })
}
