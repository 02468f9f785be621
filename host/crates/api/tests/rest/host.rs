//! A host with its API on a port of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deltaforge_api::access::Tokens;
use deltaforge_api::{Api, Audit};
use deltaforge_config::auth::FileToken;
use deltaforge_config::{Block, Catalog, Finding, Limits, Scrutiny, Secret};
use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::plan::{PipelinePlan, Services, StagePlan};
use deltaforge_engine::stage::{StageCode, StageSpec};
use deltaforge_engine::stages::{OnError, TableFilter};
use deltaforge_engine::{Control, Pipeline};
use metrics_exporter_prometheus::PrometheusBuilder;
use parking_lot::{Condvar, Mutex};
use reqwest::{Client, Method, RequestBuilder};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::parts::{Numbers, Shelf, onto};
use crate::plugins::MapCatalog;
use crate::setup::{self, within};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is of interest")]
struct NumbersConfig {
    dsn: Option<Secret>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is of interest")]
struct ScriptConfig {
    inline: String,
}

/// Whether checks of the script `held` take until this is over, or half a minute.
pub static HELD_CHECKS: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// How many of them have begun.
pub static CHECKS_HELD: AtomicUsize = AtomicUsize::new(0);

/// Checks a script: `told` tells whether it is run, and for whom.
fn script(config: &Value, Scrutiny { tenant, effort, .. }: &Scrutiny<'_>) -> Vec<Finding> {
    match config["inline"].as_str() {
        Some("told") if effort.may_run() => vec![Finding::new("/inline", format!("run for {tenant}"))],
        Some("held") => {
            let (held, over) = &HELD_CHECKS;
            let is_held = |held: &mut bool| *held;
            CHECKS_HELD.fetch_add(1, Ordering::SeqCst);
            over.wait_while_for(&mut held.lock(), is_held, Duration::from_secs(30));
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// What documents may say in these tests.
pub fn catalog() -> Catalog {
    Catalog::default()
        .source("numbers", Block::of::<NumbersConfig>())
        .sink("shelf", Block::empty())
        .processor("javascript", Block::of::<ScriptConfig>().limits(Limits::SCRIPT).check_with(script))
        .envelope("native", Block::empty())
}

/// How a pipeline differs from the plainest one.
pub struct Plan {
    pub name: &'static str,
    pub tenant: &'static str,
    pub labels: Value,
    pub dlq: Option<u64>,
    pub shelf: Shelf,
    pub required: bool,
    /// Most events of a batch.
    pub batch: usize,
    /// Of both processors.
    pub on_error: OnError,
    /// What shapes the messages.
    pub envelope: &'static str,
    /// Whether that follows.
    pub envelope_follows: bool,
    /// What the processor `mark` runs.
    pub plugin: &'static str,
    /// What it is opened with.
    pub config: Value,
    /// Whether it follows.
    pub follows: bool,
}

impl Plan {
    pub fn named(name: &'static str) -> Self {
        Self {
            name,
            tenant: "acme",
            labels: json!({}),
            dlq: None,
            shelf: Shelf::default(),
            required: true,
            batch: 10,
            on_error: OnError::Fail,
            envelope: "builtin:native",
            envelope_follows: false,
            plugin: "marker@1.0.0",
            config: json!({ "token": "t0ken" }),
            follows: false,
        }
    }
}

/// What a test holds of a pipeline.
pub struct Handle {
    pub numbers: Arc<Numbers>,
    pub shelf: Arc<Shelf>,
}

impl Handle {
    /// Lets the source read the numbers below `bound` and waits until `count` rows have arrived.
    pub async fn read(&self, bound: u64, count: usize) {
        self.numbers.bound.send_replace(bound);
        within("the rows arrive", async || self.shelf.rows.lock().len() >= count).await;
    }

    pub fn marks(&self) -> Vec<String> {
        self.shelf.rows.lock().iter().map(|(_, mark)| mark.clone()).collect()
    }
}

/// A running host.
pub struct Host {
    pub url: String,
    pub control: Control,
    pub plugins: Arc<MapCatalog>,
    pub services: Services,
    catalog: Arc<Catalog>,
    client: Client,
    _spill: tempfile::TempDir,
}

/// The status and the JSON of an answer.
pub type Answer = (u16, Value);

impl Host {
    pub async fn start() -> Self {
        Self::start_with(|api| api).await
    }

    pub async fn start_with(change: impl FnOnce(Api) -> Api) -> Self {
        Self::start_knowing(Vec::new(), change).await
    }

    /// A host that knows these tokens.
    pub async fn start_knowing(tokens: Vec<FileToken>, change: impl FnOnce(Api) -> Api) -> Self {
        let (services, spill) = setup::services(Duration::from_secs(5));
        Self::over(services, spill, tokens, change).await
    }

    /// A host over a store of its own.
    pub async fn over(
        services: Services,
        spill: tempfile::TempDir,
        tokens: Vec<FileToken>,
        change: impl FnOnce(Api) -> Api,
    ) -> Self {
        let catalog = Arc::new(catalog());
        let control = Control::new();
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let tokens = Tokens::load(services.store.clone(), tokens).await.unwrap();
        let audit = Audit::new(services.store.clone());
        tokio::spawn(audit.clone().record_own_swaps(services.own_swaps.clone()));
        let plugins = Arc::<MapCatalog>::default();
        let own = plugins.clone();
        let api = Api::new(control.clone(), catalog.clone(), plugins, metrics, tokens, audit);
        let api = change(api);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, api.service()).await.unwrap() });
        let client = Client::builder().no_proxy().build().unwrap();
        Self { url, control, plugins: own, services, catalog, client, _spill: spill }
    }

    /// Runs a pipeline: numbers → a plugin `mark` → a script `script` → a shelf.
    pub fn run(&self, plan: Plan) -> Handle {
        let numbers = Arc::new(Numbers::default());
        self.run_from(plan, numbers)
    }

    pub fn run_from(&self, plan: Plan, numbers: Arc<Numbers>) -> Handle {
        let shelf = Arc::new(plan.shelf);
        let document = json!({
            "metadata": { "name": plan.name, "tenant": plan.tenant, "labels": plan.labels },
            "spec": {
                "source": { "type": "numbers", "config": { "id": "src", "dsn": "db://me:pa55word@host/x" } },
                "processors": [{ "plugin": plan.plugin, "id": "mark", "config": plan.config }],
                "sinks": [{ "type": "shelf", "config": { "id": "out" } }],
            },
        });
        let spec = |id: &str, code, config| StageSpec {
            tenant: plan.tenant.to_owned(),
            ..setup::spec(plan.name, id, code, config)
        };
        let stage = |spec: StageSpec| StagePlan {
            block: json!({ "id": spec.id }),
            spec,
            on_error: plan.on_error,
            tables: TableFilter::default(),
            follows: false,
        };
        let script =
            spec("script", StageCode::Builtin("javascript".into()), json!({ "inline": "as it was" }));
        let mark = spec("mark", StageCode::Plugin(plan.plugin.into()), plan.config.clone());
        let mark = StagePlan { follows: plan.follows, ..stage(mark) };
        let mut sink = setup::sink(plan.name, "out", onto(&shelf), plan.required);
        sink.envelope = spec("out.envelope", StageCode::of_text(plan.envelope), json!({}));
        sink.follows = plan.envelope_follows;
        let pipeline = PipelinePlan {
            tenant: plan.tenant.to_owned(),
            stages: vec![stage(script), mark],
            sinks: vec![sink],
            dlq: plan.dlq.map(setup::dlq),
            limits: BatchLimits { max_events: plan.batch, ..BatchLimits::default() },
            ..setup::plan(plan.name, &numbers)
        };
        let pipeline = Pipeline::start(pipeline, self.services.clone());
        self.control.add(pipeline, self.catalog.redact(&document), None).unwrap();
        Handle { numbers, shelf }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    /// A processor of a pipeline, as its status shows it.
    pub async fn processor(&self, pipeline: &str, id: &str) -> Value {
        let info = self.get(&format!("/pipelines/{pipeline}")).await.1;
        let all = info["ops"]["processors"].as_array().unwrap();
        all.iter().find(|processor| processor["id"] == id).unwrap().clone()
    }

    pub async fn post(&self, path: &str) -> Answer {
        answer(self.request(Method::POST, path)).await
    }

    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        answer(self.request(method, path).json(body)).await
    }

    /// Waits until a pipeline has a status.
    pub async fn until(&self, pipeline: &str, status: &str) {
        let path = format!("/pipelines/{pipeline}");
        for _ in 0..500 {
            if self.get(&path).await.1["status"] == status {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{pipeline} is not {status}: {}", self.get(&path).await.1);
    }
}

/// Sends a request; the answer must be JSON and bear a request id.
pub async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(response.headers()["content-type"], "application/json");
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Checks an error's shape and gives its status and code.
pub fn code((status, body): &Answer) -> (u16, &str) {
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    (*status, body["code"].as_str().unwrap())
}
