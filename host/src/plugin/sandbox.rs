//! The sandbox of the author's commands: what was compiled once is found by the next command.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use deltaforge_wasm::Runtime;

/// Most bytes of compiled code that stay in the user's cache; a plugin in Go has some twenty million.
const MOST: u64 = 512 << 20;

/// An engine over the user's cache. One that cannot be used is no reason to stop: it is compiled anew then.
pub fn runtime() -> anyhow::Result<Arc<Runtime>> {
    if let Some(dir) = cache_dir() {
        prune(&dir, MOST);
        if let Ok(runtime) = Runtime::new(Some(&dir)) {
            return Ok(runtime);
        }
    }
    Runtime::new(None).context("start the WebAssembly runtime")
}

fn cache_dir() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")))?;
    caches.is_absolute().then(|| caches.join("deltaforge").join("author"))
}

/// Removes the oldest files until the rest is no more than so many bytes.
fn prune(dir: &Path, most: u64) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let held = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((held.modified().ok()?, held.len(), entry.path()))
        })
        .collect();
    files.sort();
    let mut held: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in files {
        if held <= most {
            return;
        }
        // Somebody else may have been faster.
        let _ = std::fs::remove_file(path);
        held -= bytes;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let dir = tempfile::tempdir().unwrap();
        for (age, name) in ["new", "middle", "old"].into_iter().enumerate() {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            file.set_len(100).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(60 * age as u64)).unwrap();
        }
        let left = || {
            let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        prune(dir.path(), 300);
        assert_eq!(left().len(), 3);
        prune(dir.path(), 299);
        assert_eq!(left(), ["middle", "new"]);
        prune(&dir.path().join("none"), 0);
    }
}
