//! The REST API of a host: health, pipelines, the dead-letter queue, swaps, metrics.
//!
//! Everything goes through [`Control`]; nothing here knows how a pipeline works. Each answer is JSON (metrics
//! are text), each error is `{"code", "message"}`, no answer holds a secret.
//!
//! Nobody logs in, so a host listens on a loopback address ([`is_loopback`]) unless its operator says
//! otherwise aloud. Against web pages that reach for it through a visitor's browser, a request must name a
//! local host and must not come from another origin.

mod dlq;
mod error;
mod extract;
mod guard;
mod health;
mod openapi;
mod pipelines;
mod plugins;
mod swap;
mod validate;
mod view;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use deltaforge_config::Catalog;
use deltaforge_engine::Control;
use deltaforge_engine::catalog::PluginCatalog;
use metrics_exporter_prometheus::PrometheusHandle;

pub use error::ErrorBody;
pub use openapi::document as openapi_document;

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
}

/// The API before it is served.
#[derive(Clone)]
pub struct Api {
    app: App,
}

impl Api {
    /// The API of a host, for a listener on a loopback address.
    pub fn new(
        control: Control,
        catalog: Arc<Catalog>,
        plugins: Arc<dyn PluginCatalog>,
        metrics: PrometheusHandle,
    ) -> Self {
        let guard = guard::Guard { any_host: false, timeout: TIMEOUT };
        Self { app: App { control, catalog, plugins, metrics, guard } }
    }

    /// Serves requests under any host name: for a listener that others reach under its own names.
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

    /// The routes.
    pub fn router(self) -> Router {
        let app = self.app;
        Router::new()
            .route("/health", get(health::health))
            .route("/ready", get(health::ready))
            .route("/log-level", get(health::log_level))
            .route("/metrics", get(health::metrics))
            .route("/openapi.json", get(openapi::serve))
            .route("/validate", post(validate::validate))
            .route("/pipelines", get(pipelines::list))
            .route("/pipelines/{name}", get(pipelines::show))
            .route("/pipelines/{name}/pause", post(pipelines::pause))
            .route("/pipelines/{name}/resume", post(pipelines::resume))
            .route("/pipelines/{name}/stop", post(pipelines::stop))
            .route(
                "/pipelines/{name}/checkpoints",
                get(pipelines::checkpoints).delete(pipelines::forget_checkpoints),
            )
            .route("/pipelines/{name}/sinks/{id}/gaps/ack", post(pipelines::acknowledge_gaps))
            .route("/pipelines/{name}/journal/dlq", get(dlq::peek).delete(dlq::purge))
            .route("/pipelines/{name}/journal/dlq/count", get(dlq::count))
            .route("/pipelines/{name}/journal/dlq/ack", post(dlq::ack))
            .route("/pipelines/{name}/processors/{id}/plugin", put(swap::plugin))
            .route("/pipelines/{name}/processors/{id}/script", put(swap::script))
            .route("/pipelines/{name}/processors/{id}/rollback", post(swap::rollback))
            .route("/pipelines/{name}/processors/{id}/history", get(swap::history))
            .route("/plugins", get(plugins::list))
            .nest("/plugins/{name}", plugin_routes())
            .nest("/plugins/{tenant}/{name}", plugin_routes())
            .fallback(error::no_such_path)
            .method_not_allowed_fallback(error::no_such_method)
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(from_fn_with_state(app.guard, guard::guard))
            .with_state(app)
    }
}

/// One plugin's routes, below `mask` or `@acme/mask`.
fn plugin_routes() -> Router<App> {
    Router::new()
        .route("/", get(plugins::versions))
        .route("/versions/{version}", get(plugins::version).put(plugins::publish).delete(plugins::delete))
        .route("/versions/{version}/content", get(plugins::content))
}

/// `/metrics` alone, for a port of its own.
pub fn metrics_router(control: Control, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/metrics", get(async move || metrics_text(&control, &metrics)))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
}

/// Whether only this machine reaches `address`.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

pub(crate) fn metrics_text(control: &Control, metrics: &PrometheusHandle) -> impl IntoResponse + use<> {
    // What depends on the time that has passed is measured now.
    drop(control.list());
    metrics.run_upkeep();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}
