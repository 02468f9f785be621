//! Projects in Python.

use std::path::{Path, PathBuf};

use componentize::about::About;
use toml::{Table, Value};

use super::world::{self, World};
use super::{BuildError, answer, program, put, read, scratch};

/// The program that makes components.
const TOOL: &str = "componentize-py";
/// The module that makes the exports of the plugin's class.
const ENTRY: &str = "deltaforge_entry";

pub(super) fn component(dir: &Path) -> Result<(Vec<u8>, About), BuildError> {
    let project = Project::read(dir)?;
    let tool = tool(dir)?;
    let scratch = scratch()?;
    let (wit, out) = (scratch.path().join("wit"), scratch.path().join("plugin.wasm"));
    project.world.write(&wit)?;
    put(&scratch.path().join(ENTRY).with_extension("py"), &project.entry())?;
    let mut python = program(&tool.program, dir);
    python.arg("--quiet").arg("--wit-path").arg(&wit).args(["--world", world::NAME, "componentize"]);
    // Nothing of WASI is left.
    python.args(["--stub-wasi", ENTRY, "--output"]).arg(&out);
    let own = ["src", ".", "sdk"].map(|folder| dir.join(folder)).into_iter().filter(|folder| folder.is_dir());
    for folder in own.chain([scratch.path().to_owned()]) {
        python.arg("--python-path").arg(folder.canonicalize().unwrap_or(folder));
    }
    if let Some(environment) = &tool.environment {
        // Its packages are those that the plugin imports.
        python.env("VIRTUAL_ENV", environment);
    }
    python.stdout(std::io::stderr());
    let (built, _) = answer(python)?.ok_or_else(|| missing(dir))?;
    if !built {
        return Err(BuildError::Toolchain(format!("{TOOL} does not build it, see above")));
    }
    Ok((read(&out)?, project.about))
}

/// The program, and the virtual environment that it is of.
struct Tool {
    program: PathBuf,
    environment: Option<PathBuf>,
}

/// The tool of the project's own environment, of the active one, or on the `PATH`.
fn tool(dir: &Path) -> Result<Tool, BuildError> {
    let active = std::env::var_os("VIRTUAL_ENV").filter(|path| !path.is_empty()).map(PathBuf::from);
    for environment in [Some(dir.join(".venv")), active].into_iter().flatten() {
        let program = environment.join("bin").join(TOOL);
        if let (true, Ok(program)) = (program.is_file(), std::path::absolute(&program)) {
            return Ok(Tool { program, environment: std::path::absolute(&environment).ok() });
        }
    }
    let mut said = program(TOOL, dir);
    said.arg("--version");
    match answer(said)? {
        Some(_) => Ok(Tool { program: TOOL.into(), environment: None }),
        None => Err(missing(dir)),
    }
}

fn missing(dir: &Path) -> BuildError {
    let mut python = program("python3", dir);
    python.arg("--version");
    if !matches!(answer(python), Ok(Some(_))) {
        return BuildError::Missing {
            what: "Python is not installed here: there is no `python3` on the PATH".to_owned(),
            install:
                "see https://www.python.org/downloads, 3.10 or newer   (Debian: apt install python3-venv)"
                    .to_owned(),
        };
    }
    let here = dir.canonicalize().unwrap_or_default();
    let wanted = if dir.join("requirements-dev.txt").is_file() { "-r requirements-dev.txt" } else { TOOL };
    BuildError::Missing {
        what: format!("{TOOL} is neither in this project's .venv nor on the PATH"),
        install: format!("python3 -m venv .venv && .venv/bin/pip install {wanted}   (in {})", here.display()),
    }
}

/// What the manifest says.
#[derive(Debug)]
struct Project {
    about: About,
    /// The module with the plugin, and the class in it.
    plugin: (String, String),
    world: World,
}

impl Project {
    fn read(dir: &Path) -> Result<Self, BuildError> {
        let path = dir.join("pyproject.toml");
        let wrong = |what: String| BuildError::Toolchain(format!("{}: {what}", path.display()));
        let text = String::from_utf8(read(&path)?).map_err(|error| wrong(error.to_string()))?;
        let manifest: Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        let mut own = manifest
            .get("tool")
            .and_then(|tools| tools.get("deltaforge"))
            .and_then(Value::as_table)
            .cloned()
            .ok_or_else(|| {
                let block = "[tool.deltaforge] with plugin = \"MODULE:CLASS\" and kind = \"processor\"";
                wrong(format!("it does not say what plugin it is; add {block}"))
            })?;
        let plugin = own.remove("plugin").and_then(|plugin| {
            let (module, class) = plugin.as_str()?.split_once(':')?;
            (is_dotted(module) && is_dotted(class)).then(|| (module.to_owned(), class.to_owned()))
        });
        let plugin = plugin.ok_or_else(|| {
            wrong("`plugin` of [tool.deltaforge] names a class, such as \"plugin:HidePhones\"".to_owned())
        })?;
        let world = own
            .try_into()
            .map_err(|error: toml::de::Error| wrong(format!("[tool.deltaforge]: {}", error.message())))?;
        let empty = Value::Table(Table::new());
        let project = manifest.get("project").unwrap_or(&empty);
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = text(project.get("name"));
        if name.is_empty() {
            return Err(wrong("[project] has no name".to_owned()));
        }
        let authors = project.get("authors").and_then(Value::as_array).into_iter().flatten();
        let authors: Vec<String> = authors.map(|author| text(author.get("name"))).collect();
        let urls = project.get("urls").and_then(Value::as_table).into_iter().flatten();
        let is_source = |name: &str| ["repository", "source"].contains(&name.to_lowercase().as_str());
        let source = urls.into_iter().find(|(name, _)| is_source(name)).map(|(_, url)| text(Some(url)));
        let about = About {
            name,
            version: text(project.get("version")),
            description: text(project.get("description")),
            authors: authors.join(", "),
            licence: text(project.get("license")),
            source: source.unwrap_or_default(),
        };
        Ok(Self { about, plugin, world })
    }

    fn entry(&self) -> String {
        let (module, class) = &self.plugin;
        let root = class.split('.').next().unwrap_or(class);
        let (kind, export) = (self.world.kind.name(), self.world.kind.export());
        let services = self.world.services().join(", ");
        let About { name, version, description, .. } = &self.about;
        // A string of JSON is one of Python.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let given = ["types", "events", "Err"].map(str::to_owned).into_iter();
        let given = given.chain(["lifecycle".to_owned(), export.to_owned()]);
        let given: Vec<String> = given
            .chain(self.world.services().into_iter().map(str::to_owned))
            .map(|name| format!("{name}={name}"))
            .collect();
        let class_of = match self.world.kind {
            world::Kind::Processor => "Processing",
            world::Kind::Formatter => "Formatting",
        };
        format!(
            "from types import SimpleNamespace\n\
             from componentize_py_types import Err\n\
             from wit_world.exports import {export}, lifecycle\n\
             from wit_world.imports import events, types, {services}\n\
             from deltaforge import guest\n\
             from {module} import {root}\n\
             project = dict(name={}, version={}, description={})\n\
             given = SimpleNamespace({})\n\
             Lifecycle, {class_of} = guest.{kind}({class}, project, given)\n",
            quoted(name),
            quoted(version),
            quoted(description),
            given.join(", ")
        )
    }
}

/// Whether it is a name of Python, such as `package.module`.
fn is_dotted(name: &str) -> bool {
    name.split('.').all(|part| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn project(text: &str) -> Result<Project, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pyproject.toml"), text).unwrap();
        Project::read(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_says_who_made_it_and_which_class_it_is() {
        let told = project(
            "[project]\nname = 'hide'\nversion = '1.0.0'\nlicense = 'MIT'\nauthors = [{name = 'A'}, {name = 'B'}]\n\
             urls = {Homepage = 'https://example.com', Repository = 'https://example.com/hide'}\n\
             [tool.deltaforge]\nplugin = 'hide.main:Hide'\nkind = 'formatter'\ngrants = ['clock', 'metrics']\n",
        )
        .unwrap();
        assert_eq!((told.about.authors.as_str(), told.about.licence.as_str()), ("A, B", "MIT"));
        assert_eq!(told.about.source, "https://example.com/hide");
        let entry = told.entry();
        for line in [
            "from wit_world.exports import formatting, lifecycle\n",
            "from wit_world.imports import events, types, log, metrics, clock\n",
            "from hide.main import Hide\n",
            "Lifecycle, Formatting = guest.formatter(Hide, project, given)\n",
        ] {
            assert!(entry.contains(line), "{line}: {entry}");
        }
    }

    #[test]
    fn a_manifest_that_says_no_plugin_is_refused_with_what_to_write() {
        let own = "[project]\nname = 'x'\n[tool.deltaforge]\n";
        for (text, wanted) in [
            ("[project]\nname = 'x'\n".to_owned(), "add [tool.deltaforge] with plugin ="),
            (format!("{own}plugin = 'x'\nkind = 'processor'\n"), "names a class"),
            (format!("{own}plugin = 'x:y; import os'\nkind = 'processor'\n"), "names a class"),
            (format!("{own}plugin = 'x:Y'\n"), "missing field `kind`"),
            (
                format!("{own}plugin = 'x:Y'\nkind = 'processor'\ngrants = ['disk']\n"),
                "unknown variant `disk`",
            ),
            ("[project\n".to_owned(), "pyproject.toml"),
        ] {
            let refused = project(&text).err().unwrap();
            assert!(refused.contains(wanted), "{wanted}: {refused}");
        }
    }
}
