//! Reading and checking pipeline files: `validate`, `schema`, `explain`.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use deltaforge_config::{Catalog, Finding, Pipeline, PluginCheck, PluginUse, Report, Role};
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::message::FormatterFactory;
use deltaforge_engine::stage::{StageCode, StageFactory, StageSpec};
use deltaforge_engine::suggest::near;
use deltaforge_engine::tenants::{TenantLimits, Tenants};
use deltaforge_store::DataDir;

use crate::Exit;
use crate::builtin;
use crate::cli::ValidateArgs;
use crate::plan::stage_limits;
use crate::registry::{Registry, findings};
use crate::tenants;

/// Everything that can build stages and envelopes, and the catalog that checks documents with it.
pub struct Builders {
    /// The connectors.
    pub registry: Registry,
    /// Whoever builds stages.
    pub stages: Vec<Arc<dyn StageFactory>>,
    /// Whoever builds envelopes.
    pub formatters: Vec<Arc<dyn FormatterFactory>>,
    /// What documents may contain.
    pub catalog: Arc<Catalog>,
    /// What runs plugins, and where they are found.
    pub plugins: (Arc<deltaforge_wasm::Runtime>, Arc<deltaforge_wasm::Registry>),
    /// Whose stages they build.
    pub tenants: Arc<Tenants>,
}

impl Builders {
    /// The builders over a plugin registry folder; `data` keeps what ran, compiled and as it was.
    pub fn new(plugins: &Path, data: Option<&DataDir>) -> anyhow::Result<Self> {
        let tenants = Tenants::new(TenantLimits::default(), 1);
        Self::for_tenants(plugins, data, deltaforge_wasm::MAX_CACHE, tenants)
    }

    /// The same under the bounds of a host's tenants.
    pub fn for_tenants(
        plugins: &Path,
        data: Option<&DataDir>,
        cache_bytes: u64,
        tenants: Arc<Tenants>,
    ) -> anyhow::Result<Self> {
        let registry = Registry::default();
        let kept = data.map_or_else(|| plugins.join(".kept"), DataDir::components);
        let components = builtin::with_components(deltaforge_wasm::Registry::new(plugins, kept));
        let components = Arc::new(components);
        let cache = data.map(DataDir::cache);
        let runtime = deltaforge_wasm::Runtime::with_cache(cache.as_deref(), cache_bytes)
            .context("start the WebAssembly runtime")?;
        let wasm_stages = deltaforge_wasm::WasmStageFactory::new(runtime.clone(), components.clone());
        let wasm_stages = Arc::new(wasm_stages.with_tenants(tenants.clone()));
        let wasm_formatters = deltaforge_wasm::WasmFormatterFactory::new(runtime.clone(), components.clone());
        let wasm_formatters = Arc::new(wasm_formatters.with_tenants(tenants.clone()));
        let scripts = Arc::new(deltaforge_js::Javascript::new(tenants.clone()));
        let stages: Vec<Arc<dyn StageFactory>> =
            vec![Arc::new(builtin::Processors), scripts.clone(), wasm_stages.clone()];
        let formatters: Vec<Arc<dyn FormatterFactory>> =
            vec![Arc::new(builtin::Envelopes), wasm_formatters.clone()];
        let catalog = builtin::describe(registry.catalog(), &scripts).plugins(Arc::new(Components {
            stages: wasm_stages,
            formatters: wasm_formatters,
            tenants: tenants.clone(),
        }));
        let plugins = (runtime, components);
        Ok(Self { registry, stages, formatters, catalog: Arc::new(catalog), plugins, tenants })
    }

    /// Reads and checks pipeline files with the environment's values.
    ///
    /// # Errors
    ///
    /// Every problem of every file.
    pub fn read(&self, config: &Path) -> Result<Vec<Pipeline>, Report> {
        self.catalog.read_path(config, &|name| std::env::var(name).ok())
    }
}

/// Runs a check to its end, from code that cannot wait.
pub fn wait<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let check = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime of one thread can be made").block_on(future)
        });
        check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Looks plugins up before anything starts.
struct Components {
    stages: Arc<deltaforge_wasm::WasmStageFactory>,
    formatters: Arc<deltaforge_wasm::WasmFormatterFactory>,
    tenants: Arc<Tenants>,
}

impl PluginCheck for Components {
    fn check(&self, plugin: &PluginUse<'_>) -> Vec<Finding> {
        let spec = StageSpec {
            id: "validate".to_owned(),
            pipeline: "validate".to_owned(),
            tenant: plugin.tenant.to_owned(),
            code: StageCode::Plugin(plugin.reference.to_owned()),
            config: plugin.config.clone(),
            limits: Some(stage_limits(plugin.limits)),
            grants: plugin.grants.iter().map(|grant| grant.name().to_owned()).collect(),
            base_dir: plugin.folder.map(Path::to_owned),
        };
        let result: Result<(), Vec<ConfigError>> = match (plugin.role, plugin.effort.may_run()) {
            (Role::Processor, true) => wait(self.tenants.run(plugin.tenant, self.stages.validate(&spec))),
            (Role::Envelope, true) => wait(self.tenants.run(plugin.tenant, self.formatters.validate(&spec))),
            (Role::Processor, false) => wait(self.stages.look(&spec)),
            (Role::Envelope, false) => wait(self.formatters.look(&spec)),
        };
        findings(result)
    }
}

/// `deltaforge validate`.
pub fn validate(args: &ValidateArgs) -> anyhow::Result<Exit> {
    let limits = match tenants::read(args.tenants.as_deref()) {
        Ok(limits) => limits,
        Err(report) => {
            show(&report, args.json)?;
            return Ok(Exit::Config);
        }
    };
    let builders = Builders::for_tenants(&args.plugins, None, 0, Tenants::new(limits, 1))?;
    match builders.read(&args.config) {
        Ok(pipelines) => {
            if args.json {
                let names: Vec<&str> = pipelines.iter().map(|p| p.spec.metadata.name.as_str()).collect();
                print(&format!("{}\n", serde_json::json!({ "valid": true, "pipelines": names })))?;
            } else {
                print(&pipelines.iter().map(|pipeline| summary(pipeline) + "\n").collect::<String>())?;
            }
            Ok(Exit::Ok)
        }
        Err(report) => {
            show(&report, args.json)?;
            Ok(Exit::Config)
        }
    }
}

/// A valid pipeline in one line.
fn summary(pipeline: &Pipeline) -> String {
    let spec = &pipeline.spec.spec;
    let counted = |count: usize, thing: &str| format!("{count} {thing}{}", if count == 1 { "" } else { "s" });
    format!(
        "ok: {} ({} source, {}, {})",
        pipeline.spec.metadata.name,
        spec.source.kind,
        counted(spec.processors.len(), "processor"),
        counted(spec.sinks.len(), "sink")
    )
}

/// Prints a report: for machines on stdout, for people on stderr.
pub fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        return print(&format!("{}\n", serde_json::to_string(&report.to_json())?));
    }
    writeln!(std::io::stderr(), "{report}")?;
    Ok(())
}

/// Writes to stdout. A reader that has seen enough, as in `deltaforge schema | head`, is no failure.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to stdout"),
    }
}

/// `deltaforge schema`.
pub fn schema() -> anyhow::Result<Exit> {
    let builders = Builders::new(Path::new("./data/plugins"), None)?;
    print(&format!("{}\n", serde_json::to_string_pretty(builders.catalog.json_schema())?))?;
    Ok(Exit::Ok)
}

include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

/// `deltaforge explain CODE`. Codes of the API, which are in capitals, have pages of the same names in small letters.
pub fn explain(code: &str) -> anyhow::Result<Exit> {
    let wanted = code.to_lowercase().replace('-', "_");
    if let Some((_, text)) = ERROR_PAGES.iter().find(|(known, _)| *known == wanted) {
        print(text)?;
        return Ok(Exit::Ok);
    }
    let known: Vec<&str> = ERROR_PAGES.iter().map(|(code, _)| *code).collect();
    writeln!(std::io::stderr(), "{}", no_page(code, &wanted, &known))?;
    Ok(Exit::Config)
}

/// What is said of a code that has no page: those that were probably meant, or all there are.
fn no_page(code: &str, wanted: &str, known: &[&str]) -> String {
    let mut text = format!("error: no page for {code:?}");
    let part = |known: &&&str| wanted.len() >= 4 && known.contains(wanted);
    let mut meant: Vec<&str> = near(wanted, known.iter().copied()).into_iter().collect();
    meant.extend(
        known.iter().filter(part).filter(|known| !meant.contains(*known)).copied().collect::<Vec<_>>(),
    );
    match meant.as_slice() {
        [one] => return text + &format!("; did you mean {one}?"),
        [] => text.push_str("; there are pages for:"),
        _ => text.push_str("; did you mean one of these?"),
    }
    let shown = if meant.is_empty() { known } else { &meant };
    text + &in_columns(shown, 100)
}

/// Words below each other, in as many columns as fit in so many characters; each line begins with its break.
fn in_columns(words: &[&str], width: usize) -> String {
    let widest = words.iter().map(|word| word.len()).max().unwrap_or(0) + 2;
    let rows = words.len().div_ceil((width.saturating_sub(2) / widest).max(1));
    let line = |row: usize| {
        let cells = words.iter().skip(row).step_by(rows.max(1)).map(|word| format!("{word:<widest$}"));
        format!("\n  {}", cells.collect::<String>().trim_end())
    };
    (0..rows).map(line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
