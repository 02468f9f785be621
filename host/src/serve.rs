//! `deltaforge run`: everything wired together, until a signal.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use deltaforge_api::{Api, Audit};
use deltaforge_config::auth::FileToken;
use deltaforge_engine::Pipeline;
use deltaforge_engine::budget::Budget;
use deltaforge_engine::catalog::{Copies, PluginCatalog};
use deltaforge_engine::checkpoint::Checkpoints;
use deltaforge_engine::control::Control;
use deltaforge_engine::disk::RealDisk;
use deltaforge_engine::failpoint;
use deltaforge_engine::plan::Services;
use deltaforge_engine::secrets::Secrets;
use deltaforge_engine::state::StateStore;
use deltaforge_engine::tenants::Tenants;
use deltaforge_store::{DataDir, MemoryStore, SqliteStore};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::check::{Builders, show};
use crate::cli::{RunArgs, Storage};
use crate::{Exit, access, log, measure, memory, plan, priority, tenants};

/// The host's version, as `source.version` of every event states it.
const VERSION: &str = concat!("deltaforge-", env!("CARGO_PKG_VERSION"));

/// How long a host that was killed may still hold the data directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Runs pipelines until SIGTERM or SIGINT.
pub fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    memory::give_back();
    let hidden = log::Hidden::default();
    log::start(args.log_format, hidden.clone());
    if !access::may_serve_metrics(args) {
        return Ok(Exit::Config);
    }
    let auth = match access::of_file(args) {
        Ok(tokens) => tokens,
        Err(report) => {
            show(&report, false)?;
            return Ok(Exit::Config);
        }
    };
    let limits = match tenants::read(args.tenants.as_deref()) {
        Ok(limits) => limits,
        Err(report) => {
            show(&report, false)?;
            return Ok(Exit::Config);
        }
    };
    if args.test_hooks {
        let spec = std::env::var("DELTAFORGE_FAILPOINTS").unwrap_or_default();
        failpoint::arm(&spec).map_err(anyhow::Error::msg)?;
    }
    let data = DataDir::lock_within(&args.data_dir, LOCK_PATIENCE)?;
    let plugins = args.plugins.clone().unwrap_or_else(|| data.plugins());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let builders = {
        let (cache_bytes, tenants) = (args.plugin_cache_bytes as u64, Tenants::new(limits, threads));
        Builders::for_tenants(&plugins, Some(&data), cache_bytes, tenants)?
    };
    let pipelines = match &args.config {
        None => {
            warn!("no --config: the API is served, and no pipeline runs");
            Vec::new()
        }
        Some(config) => match builders.read(config) {
            Ok(pipelines) => pipelines,
            Err(report) => {
                show(&report, false)?;
                return Ok(Exit::Config);
            }
        },
    };
    let metrics = install_metrics()?;
    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(4))
        .thread_name("io")
        .enable_all()
        .build()
        .context("start the I/O threads")?;
    let compute = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("compute")
        .enable_all()
        .build()
        .context("start the compute threads")?;
    let background = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("background")
        .enable_time()
        .on_thread_start(priority::behind_others)
        .build()
        .context("start the background threads")?;
    builders.tenants.set_background(background.handle().clone());
    let handle = compute.handle().clone();
    let result =
        io.block_on(serve(args, &data, builders, Files { pipelines, auth }, hidden, metrics, handle));
    compute.shutdown_timeout(Duration::from_secs(1));
    background.shutdown_timeout(Duration::from_secs(1));
    io.shutdown_timeout(Duration::from_secs(1));
    result
}

/// What the files say.
struct Files {
    pipelines: Vec<deltaforge_config::Pipeline>,
    auth: Vec<FileToken>,
}

async fn serve(
    args: &RunArgs,
    data: &DataDir,
    builders: Builders,
    files: Files,
    hidden: log::Hidden,
    metrics: PrometheusHandle,
    compute: tokio::runtime::Handle,
) -> anyhow::Result<Exit> {
    let pipelines = files.pipelines;
    let store: Arc<dyn StateStore> = match args.storage_backend {
        Storage::Memory => {
            warn!("state is kept in memory only: a restart begins anew");
            Arc::new(MemoryStore::new())
        }
        Storage::Sqlite => {
            Arc::new(SqliteStore::open(args.storage_path.clone().unwrap_or_else(|| data.database()))?)
        }
    };
    let Some(tokens) = access::tokens(args, store.clone(), files.auth).await? else {
        return Ok(Exit::Config);
    };
    let audit = Audit::new(store.clone()).keeping(args.audit_entries);
    audit.recover().await.context("read the audit log")?;
    let checkpoints = Arc::new(Checkpoints::start(store.clone(), Checkpoints::DEFAULT_INTERVAL));
    let (runtime, registry) = builders.plugins.clone();
    registry.tidy(args.plugins.is_none());
    let plugins = deltaforge_wasm::WasmCatalog::new(runtime, registry, args.max_plugin_bytes as u64)
        .with_tenants(builders.tenants.clone())
        .with_histories(store.clone())
        .on(compute.clone());
    let plugins = Arc::new(plugins);
    forget_copies(&*plugins).await;
    let services = Services {
        store,
        checkpoints: checkpoints.clone(),
        stages: builders.stages.clone(),
        formatters: builders.formatters.clone(),
        budget: Budget::new(args.memory_budget.unwrap_or_else(memory::half), None),
        compute,
        tenants: builders.tenants.clone(),
        spill_dir: data.spill(),
        spill_disk: Arc::new(RealDisk),
        base_dir: std::env::current_dir().context("find the working directory")?,
        version: VERSION.to_owned(),
        shutdown_timeout: args.shutdown_timeout,
        own_swaps: Arc::default(),
    };
    let listener = tokio::net::TcpListener::bind(args.api_addr).await.with_context(|| {
        format!("listen on {} for the API; another host may use it (--api-addr)", args.api_addr)
    })?;
    fits(&pipelines, services.budget.limit())?;
    let control = Control::new();
    for document in &pipelines {
        let secrets = secrets(&builders, document);
        hidden.add(&document.spec.metadata.name, secrets.clone());
        let plan = plan::plan(document, &builders.registry, secrets)?;
        let pipeline = Pipeline::start(plan, services.clone());
        let origin = document.origin.as_ref().map(|origin| origin.file.display().to_string());
        control.add(pipeline, builders.catalog.redact(&document.document), origin)?;
    }
    let catalog = builders.catalog.clone();
    let recording = tokio::spawn(audit.clone().record_own_swaps(services.own_swaps.clone()));
    let following = tokio::spawn(deltaforge_engine::follow::follow(control.clone(), plugins.clone()));
    let mut api = Api::new(control.clone(), catalog, plugins, metrics.clone(), tokens, audit)
        .timeout(args.shutdown_timeout + Duration::from_secs(10));
    if args.insecure_no_auth {
        api = api.any_host();
    }
    let api = api.service();
    let api_addr = listener.local_addr()?;
    let mut servers = tokio::task::JoinSet::new();
    servers.spawn(async move { axum::serve(listener, api).await });
    match tokio::net::TcpListener::bind(args.metrics_addr).await {
        Ok(listener) => {
            let router = deltaforge_api::metrics_router(control.clone(), metrics);
            servers.spawn(async move { axum::serve(listener, router).await });
        }
        Err(error) => warn!(addr = %args.metrics_addr, %error, "metrics are on the API address only"),
    }
    info!(api = %api_addr, pipelines = pipelines.len(), data_dir = %args.data_dir.display(), "deltaforge is up");
    wait_for_signal().await?;
    info!("stopping: what was read is delivered and checkpointed");
    following.abort();
    let mut drained = control.shutdown_all().await;
    // What it has not come to is stored, and recorded at the next start.
    recording.abort();
    if tokio::time::timeout(args.shutdown_timeout, checkpoints.flush()).await.is_err() {
        drained = false;
        warn!("the last checkpoints could not be stored in time; their events will come again");
    }
    servers.shutdown().await;
    info!(drained, "stopped");
    Ok(if drained { Exit::Ok } else { Exit::Undrained })
}

/// Takes away the kept code that nothing may need again. It does no harm while it is there.
async fn forget_copies(plugins: &dyn PluginCatalog) {
    match plugins.collect_copies(false).await {
        Ok(Copies { removed: 0, .. }) => {}
        Ok(Copies { removed, removed_bytes, kept, kept_bytes }) => {
            info!(
                removed,
                removed_bytes, kept, kept_bytes, "took away the code of plugins that nothing may need again"
            );
        }
        Err(error) => warn!(%error, "cannot look which code of plugins nothing needs"),
    }
}

/// What a pipeline keeps secret: now, and what a swap brings.
fn secrets(builders: &Builders, pipeline: &deltaforge_config::Pipeline) -> Secrets {
    let catalog = builders.catalog.clone();
    let in_stage = move |block: &Value| catalog.secrets(&json!({ "spec": { "processors": [block] } }));
    Secrets::new(builders.catalog.secrets(&pipeline.document), in_stage)
}

/// Refuses pipelines that may hold more memory than the host: the last of them would wait for the others.
fn fits(pipelines: &[deltaforge_config::Pipeline], budget: usize) -> anyhow::Result<()> {
    let wanted: u64 = pipelines.iter().map(|pipeline| pipeline.spec.spec.max_memory_bytes).sum();
    anyhow::ensure!(
        wanted <= budget as u64,
        "the pipelines may hold {} MiB in all (spec.max_memory_bytes), and this host {} MiB: raise --memory-budget or lower \
         theirs",
        wanted >> 20,
        budget >> 20
    );
    Ok(())
}

async fn wait_for_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let recorder = measure::recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("install the metrics recorder")?;
    metrics::gauge!("deltaforge_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}
