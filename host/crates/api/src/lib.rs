//! The REST API of a host: health, pipelines, the dead-letter queue, swaps, metrics.
//!
//! Everything goes through [`Control`]; nothing here knows how a pipeline works. Each answer is JSON (metrics
//! are text), each error is `{"code", "message"}`, no answer holds a secret.
//!
//! Who may do what stands in one list, [`rules`]; who asks is told by a token, [`access`]; what was done stands in
//! the audit log. A host that knows no token listens on a loopback address ([`is_loopback`]) unless its operator says
//! otherwise aloud. Against web pages that reach for it through a visitor's browser, a request must then name a
//! local host, and must never come from another origin.

pub mod access;
mod at_once;
mod audit;
mod dlq;
mod error;
mod extract;
mod guard;
mod health;
mod hidden;
mod metrics;
mod openapi;
mod pipelines;
mod plugins;
mod routes;
mod snapshots;
mod swap;
mod tap;
mod tokens;
mod validate;
mod view;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use deltaforge_config::Catalog;
use deltaforge_engine::Control;
use deltaforge_engine::catalog::PluginCatalog;
use metrics_exporter_prometheus::PrometheusHandle;

pub use audit::{Audit, ENTRIES_KEPT, Entry as AuditEntry};
pub use error::ErrorBody;
pub use openapi::document as openapi_document;
pub use routes::{Rule, Scope, rules};
pub use tokens::TokenView;

use access::{Throttle, Tokens};
use at_once::AtOnce;
use plugins::trial;

/// Largest request body, in bytes.
const MAX_BODY_BYTES: usize = 4 << 20;
/// Longest time for a request, with room for a graceful stop of the default 30 seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What every request can use.
#[derive(Clone)]
pub(crate) struct App {
    pub control: Control,
    pub catalog: Arc<Catalog>,
    pub plugins: Arc<dyn PluginCatalog>,
    pub metrics: PrometheusHandle,
    pub guard: guard::Guard,
    pub tokens: Tokens,
    pub audit: Audit,
    pub failures: Arc<Throttle<IpAddr>>,
    /// Commands of tokens that were refused.
    pub refusals: Arc<Throttle<String>>,
    pub uploads: Arc<plugins::publish::Uploads>,
    /// Trials that are under way.
    pub trials: AtOnce,
    /// Checks of documents that are under way.
    pub validations: AtOnce,
}

/// The API before it is served.
#[derive(Clone)]
pub struct Api {
    app: App,
}

impl Api {
    /// The API of a host. Without tokens it is for a listener on a loopback address.
    pub fn new(
        control: Control,
        catalog: Arc<Catalog>,
        plugins: Arc<dyn PluginCatalog>,
        metrics: PrometheusHandle,
        tokens: Tokens,
        audit: Audit,
    ) -> Self {
        let guard = guard::Guard { any_host: false, tokens: tokens.clone(), timeout: TIMEOUT };
        let app = App {
            control,
            catalog,
            plugins,
            metrics,
            guard,
            tokens,
            audit,
            failures: Arc::new(Throttle::of_addresses()),
            refusals: Arc::new(Throttle::of_tokens()),
            uploads: Default::default(),
            trials: AtOnce::new(trial::AT_ONCE, trial::AT_ONCE_OF_A_TENANT),
            validations: AtOnce::new(validate::AT_ONCE, validate::AT_ONCE_OF_A_TENANT),
        };
        Self { app }
    }

    /// Serves requests under any host name although no token is asked for: for a listener that others reach under its
    /// own names.
    #[must_use]
    pub fn any_host(mut self) -> Self {
        self.app.guard.any_host = true;
        self
    }

    /// Longest time for one request. A graceful stop must fit in it.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.app.guard.timeout = timeout;
        self
    }

    /// The routes, for a server that tells where a connection comes from.
    pub fn service(self) -> IntoMakeServiceWithConnectInfo<Router, SocketAddr> {
        let app = self.app;
        let router = routes::router(&app)
            .fallback(error::no_such_path)
            .method_not_allowed_fallback(error::no_such_method)
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(from_fn_with_state(app.guard.clone(), guard::guard))
            .with_state(app);
        router.into_make_service_with_connect_info()
    }
}

/// `/metrics` alone, for a port of its own.
pub fn metrics_router(control: Control, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/metrics", get(async move || as_metrics(metrics_text(&control, &metrics))))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
}

/// Whether only this machine reaches `address`.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

pub(crate) fn metrics_text(control: &Control, metrics: &PrometheusHandle) -> String {
    // What depends on the time that has passed is measured now.
    drop(control.list());
    metrics.run_upkeep();
    metrics.render() + &deltaforge_engine::usage::rendered()
}

pub(crate) fn as_metrics(text: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
