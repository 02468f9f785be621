//! Go modules.

use std::path::Path;

use componentize::about::About;

use super::{BuildError, Core, answer, program, read, scratch};

/// The oldest Go that can export functions as plugins do: 1.OLDEST.
const OLDEST: u32 = 25;

pub(super) fn core(dir: &Path) -> Result<Core, BuildError> {
    check_toolchain(dir)?;
    let about = About { name: name(dir)?, ..About::default() };
    let scratch = scratch()?;
    let path = scratch.path().join("core.wasm");
    let mut go = program("go", dir);
    go.env("GOOS", "wasip1").env("GOARCH", "wasm");
    // Without what a debugger wants (-w); the names of functions stay, since a trap shows them.
    go.args(["build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-w", "-o"]);
    go.arg(&path).arg(".");
    let (built, _) = answer(go)?.ok_or_else(no_go)?;
    if !built {
        return Err(BuildError::Toolchain("go does not build it, see above".to_owned()));
    }
    Ok(Core { module: read(&path)?, about })
}

fn no_go() -> BuildError {
    BuildError::Missing {
        what: "Go is not installed here: there is no `go` on the PATH".to_owned(),
        install: format!("see https://go.dev/dl, 1.{OLDEST} or newer"),
    }
}

fn check_toolchain(dir: &Path) -> Result<(), BuildError> {
    let mut go = program("go", dir);
    go.args(["env", "GOVERSION"]);
    let (said, version) = answer(go)?.ok_or_else(no_go)?;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    if said && is_new_enough(&version) {
        return Ok(());
    }
    Err(BuildError::Missing {
        what: format!("{version} is too old for plugins, which need Go 1.{OLDEST}"),
        install: format!("see https://go.dev/dl, 1.{OLDEST} or newer"),
    })
}

fn is_new_enough(version: &str) -> bool {
    let Some(numbers) = version.strip_prefix("go") else { return version.starts_with("devel") };
    let mut numbers = numbers.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (major, minor) >= (1, OLDEST)
}

/// The last part of the module's path.
fn name(dir: &Path) -> Result<String, BuildError> {
    let path = dir.join("go.mod");
    let text = std::fs::read_to_string(&path)
        .map_err(|cause| BuildError::Io { doing: format!("read {}", path.display()), cause })?;
    let module = text.lines().find_map(|line| line.strip_prefix("module ")).unwrap_or_default().trim();
    let name = module.trim_matches('"').rsplit('/').next().unwrap_or_default();
    if name.is_empty() {
        return Err(BuildError::Toolchain(format!("{} names no module", path.display())));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::is_new_enough;

    #[test]
    fn versions_are_compared_as_numbers() {
        for good in ["go1.25", "go1.25.3", "go1.26rc1", "go2.0", "devel go1.27-abc"] {
            assert!(is_new_enough(good), "{good}");
        }
        for bad in ["go1.9", "go1.24.7", "", "go"] {
            assert!(!is_new_enough(bad), "{bad}");
        }
    }
}
