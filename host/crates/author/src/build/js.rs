//! Packages for Node.

use std::path::{Component, Path, PathBuf};

use componentize::about::About;
use serde_json::{Value, json};

use super::world::{self, World};
use super::{BuildError, answer, program, put, read, scratch};

/// The oldest Node that the tools run on.
const OLDEST: u32 = 20;
/// The package that makes components.
const TOOL: &str = "@bytecodealliance/componentize-js";
/// The module that makes the exports of the plugin's class, in a folder of the project that goes after the build.
const ENTRY: &str = "entry.js";
/// What runs in Node.
const SCRIPT: &str = include_str!("componentize.mjs");
pub(super) fn component(dir: &Path) -> Result<(Vec<u8>, About), BuildError> {
    let package = Package::read(dir)?;
    check_toolchain(dir)?;
    if package.has_build {
        // What a bundler or a compiler makes of the sources.
        let mut npm = program("npm", dir);
        npm.args(["run", "--silent", "build"]).stdout(std::io::stderr());
        let (built, _) = answer(npm)?.ok_or_else(no_node)?;
        if !built {
            return Err(BuildError::Toolchain("`npm run build` fails, see above".to_owned()));
        }
    }
    let main = package.main(dir)?;
    let scratch = scratch()?;
    let (wit, out) = (scratch.path().join("wit"), scratch.path().join("plugin.wasm"));
    package.world.write(&wit)?;
    // In the project: a component's modules come from below the folder in which it is built.
    let beside = tempfile::Builder::new().prefix(".deltaforge-").tempdir_in(dir);
    let beside =
        beside.map_err(|cause| BuildError::Io { doing: format!("write into {}", dir.display()), cause })?;
    put(&beside.path().join(ENTRY), &package.entry(&main))?;
    let mut node = program("node", dir);
    node.args(["--input-type=module", "--eval", SCRIPT, "--"]);
    node.arg(Path::new(beside.path().file_name().unwrap_or_default()).join(ENTRY))
        .arg(&wit)
        .arg(world::NAME)
        .arg(&out)
        .stdout(std::io::stderr());
    let (built, _) = answer(node)?.ok_or_else(no_node)?;
    if !built {
        return Err(BuildError::Toolchain(format!("{TOOL} does not build it, see above")));
    }
    Ok((read(&out)?, package.about))
}

/// What the manifest says.
struct Package {
    about: About,
    main: String,
    has_build: bool,
    world: World,
}

impl Package {
    fn read(dir: &Path) -> Result<Self, BuildError> {
        let path = dir.join("package.json");
        let wrong = |what: String| BuildError::Toolchain(format!("{}: {what}", path.display()));
        let manifest: Value =
            serde_json::from_slice(&read(&path)?).map_err(|error| wrong(error.to_string()))?;
        let world = manifest.get("deltaforge").cloned().ok_or_else(|| {
            let block = r#""deltaforge": {"kind": "processor", "grants": []}"#;
            wrong(format!("it does not say what plugin it is; add {block}"))
        })?;
        let world = serde_json::from_value(world).map_err(|error| wrong(format!("`deltaforge`: {error}")))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // `"author": "A <a@b.c>"` or `{"name": "A", …}`, and likewise for the repository.
        let either =
            |value: &Value, member: &str| text(if value.is_object() { &value[member] } else { value });
        let name = text(&manifest["name"]);
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(wrong("it has no name".to_owned()));
        }
        let licence = text(&manifest["license"]);
        let is_spdx = licence != "UNLICENSED" && !licence.starts_with("SEE LICENSE");
        let source = either(&manifest["repository"], "url");
        let source = source.strip_prefix("git+").unwrap_or(&source).to_owned();
        let about = About {
            name,
            version: text(&manifest["version"]),
            description: text(&manifest["description"]),
            authors: either(&manifest["author"], "name"),
            licence: if is_spdx { licence } else { String::new() },
            source: if source.contains("://") { source } else { String::new() },
        };
        let main = manifest["main"].as_str().unwrap_or("index.js").to_owned();
        let has_build = manifest["scripts"]["build"].is_string();
        Ok(Self { about, main, has_build, world })
    }

    /// The module with the plugin, relative to the project's folder.
    fn main(&self, dir: &Path) -> Result<PathBuf, BuildError> {
        let main = Path::new(self.main.trim_start_matches("./"));
        let is_below = main.components().all(|part| matches!(part, Component::Normal(_)));
        if !is_below || !dir.join(main).is_file() {
            let text =
                format!("there is no {} in {}: `main` of package.json names it", self.main, dir.display());
            return Err(BuildError::Toolchain(text));
        }
        Ok(main.to_owned())
    }

    /// The module that makes the exports of the plugin's class.
    fn entry(&self, main: &Path) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let services = self.world.services();
        let imports = services
            .iter()
            .map(|name| format!("import * as {name} from 'deltaforge:plugin/{name}@1.0.0';\n"))
            .collect::<String>();
        let main = format!("../{}", main.display());
        let (kind, export) = (self.world.kind.name(), self.world.kind.export());
        let About { name, version, description, .. } = &self.about;
        let project = json!({ "name": name, "version": version, "description": description });
        format!(
            "{imports}import Plugin from {};\nimport {{ {kind} }} from {};\n\
             export const {{ lifecycle, {export} }} = {kind}(Plugin, {project}, {{ {} }});\n",
            quoted(&main),
            quoted("../sdk/guest.js"),
            services.join(", ")
        )
    }
}

fn no_node() -> BuildError {
    BuildError::Missing {
        what: "Node is not installed here: there is no `node` or `npm` on the PATH".to_owned(),
        install: format!("see https://nodejs.org, {OLDEST} or newer   (Debian: apt install nodejs npm)"),
    }
}

fn check_toolchain(dir: &Path) -> Result<(), BuildError> {
    let mut node = program("node", dir);
    node.arg("--version");
    let (_, version) = answer(node)?.ok_or_else(no_node)?;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < OLDEST) {
        return Err(BuildError::Missing {
            what: format!("Node {version} is too old for {TOOL}, which needs {OLDEST}"),
            install: format!("see https://nodejs.org, {OLDEST} or newer"),
        });
    }
    // As Node looks for packages: here, then in the folders above.
    let here = dir.canonicalize().unwrap_or_default();
    let tool = Path::new("node_modules").join(TOOL).join("package.json");
    if here.ancestors().any(|folder| folder.join(&tool).is_file()) {
        return Ok(());
    }
    let command = if dir.join("package-lock.json").is_file() { "npm ci" } else { "npm install" };
    Err(BuildError::Missing {
        what: format!("the packages of this project are not installed: {TOOL} is not in its node_modules"),
        install: format!("{command}   (in {})", here.display()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn package(text: &str) -> Result<Package, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("package.json"), text).unwrap();
        Package::read(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_says_who_made_it_in_either_way() {
        let told = package(
            r#"{"name": "@acme/hide", "version": "1.2.3", "author": {"name": "A"}, "license": "UNLICENSED",
                "repository": {"url": "git+https://example.com/hide.git"}, "deltaforge": {"kind": "formatter"}}"#,
        )
        .unwrap();
        assert_eq!((told.about.name.as_str(), told.about.authors.as_str()), ("hide", "A"));
        assert_eq!((told.about.licence.as_str(), told.main.as_str()), ("", "index.js"));
        assert_eq!(told.about.source, "https://example.com/hide.git");
        let brief = r#"{"name": "hide", "author": "A", "repository": "github:a/b", "main": "x.js",
            "deltaforge": {"kind": "processor", "grants": ["clock"]}}"#;
        let told = package(brief).unwrap();
        assert_eq!((told.about.authors.as_str(), told.about.source.as_str()), ("A", ""));
        assert_eq!(told.world.services(), ["log", "clock"]);
    }

    #[test]
    fn a_manifest_that_says_no_plugin_is_refused_with_what_to_write() {
        for (text, wanted) in [
            (r#"{"name": "x"}"#, r#"add "deltaforge": {"kind": "processor""#),
            (r#"{"name": "x", "deltaforge": {"kind": "sink"}}"#, "unknown variant `sink`"),
            (
                r#"{"name": "x", "deltaforge": {"kind": "processor", "grants": ["disk"]}}"#,
                "unknown variant `disk`",
            ),
            (r#"{"name": "x", "deltaforge": {"kind": "processor", "world": 1}}"#, "unknown field `world`"),
            (r#"{"deltaforge": {"kind": "processor"}}"#, "it has no name"),
            ("{", "package.json: EOF"),
        ] {
            let refused = package(text).err().unwrap();
            assert!(refused.contains(wanted), "{wanted}: {refused}");
        }
    }

    #[test]
    fn the_entry_imports_just_what_is_granted() {
        let text = r#"{"name": "x", "version": "0.1.0", "deltaforge": {"kind": "processor", "grants": ["metrics"]}}"#;
        let entry = package(text).unwrap().entry(Path::new("dist/plugin.js"));
        for line in [
            "import * as log from 'deltaforge:plugin/log@1.0.0';",
            "import * as metrics from 'deltaforge:plugin/metrics@1.0.0';",
            r#"import Plugin from "../dist/plugin.js";"#,
            "export const { lifecycle, processing } = processor(Plugin,",
            "{ log, metrics });",
        ] {
            assert!(entry.contains(line), "{line}: {entry}");
        }
        assert!(!entry.contains("clock"), "{entry}");
    }
}
