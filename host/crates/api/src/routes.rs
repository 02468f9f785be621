//! Every route with what it asks for: the one list that the router is made from.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use deltaforge_config::auth::Role;

use crate::access::{Gate, admit};
use crate::{App, audit, dlq, health, openapi, pipelines, plugins, snapshots, swap, tap, tokens, validate};

/// What a route's path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Nothing of a tenant's: the route itself shows each caller what is theirs.
    Host,
    /// A pipeline: those of others are not there.
    Pipeline,
    /// A plugin: those of others are not there, everybody's are only looked at.
    Plugin,
    /// A token: those of others, and those for all tenants, are not there.
    Token,
}

/// What a route asks for.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its method.
    pub method: Method,
    /// Its path, with `{name}` for what is named.
    pub path: String,
    /// The least role; `None`: it is open to everybody.
    pub least: Option<Role>,
    /// What its path names.
    pub scope: Scope,
    /// What the audit log calls it, where it commands.
    pub action: Option<&'static str>,
}

pub(crate) struct Route {
    pub rule: Rule,
    handler: MethodRouter<App>,
}

impl Route {
    fn new<H, T>(method: Method, path: &str, least: Option<Role>, scope: Scope, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("the methods used here are known ones");
        let rule = Rule { method, path: path.to_owned(), least, scope, action: None };
        Self { rule, handler: on(filter, handler) }
    }

    /// A route that everybody may look at.
    fn open<H: Handler<T, App>, T: 'static>(path: &str, handler: H) -> Self {
        Self::new(Method::GET, path, None, Scope::Host, handler)
    }

    /// A route that shows something.
    fn look<H: Handler<T, App>, T: 'static>(least: Role, path: &str, scope: Scope, handler: H) -> Self {
        Self::new(Method::GET, path, Some(least), scope, handler)
    }

    /// A route that commands: what it does is recorded.
    fn command<H: Handler<T, App>, T: 'static>(
        action: &'static str,
        least: Role,
        method: Method,
        path: &str,
        scope: Scope,
        handler: H,
    ) -> Self {
        let mut route = Self::new(method, path, Some(least), scope, handler);
        route.rule.action = Some(action);
        route
    }
}

/// Every route.
#[rustfmt::skip]
pub(crate) fn table() -> Vec<Route> {
    use Role::{Admin, Author, Operator, Viewer};
    use Scope::{Host, Pipeline, Plugin, Token};
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const DELETE: Method = Method::DELETE;
    let mut all = vec![
        Route::open("/health", health::health),
        Route::open("/ready", health::ready),
        Route::look(Viewer, "/log-level", Host, health::log_level),
        Route::look(Viewer, "/metrics", Host, health::metrics),
        Route::look(Viewer, "/openapi.json", Host, openapi::serve),
        // Starts nothing and changes nothing.
        Route::new(POST, "/validate", Some(Viewer), Host, validate::validate),

        Route::look(Viewer, "/pipelines", Host, pipelines::list),
        Route::look(Viewer, "/pipelines/{name}", Pipeline, pipelines::show),
        Route::command("pause", Operator, POST, "/pipelines/{name}/pause", Pipeline, pipelines::pause),
        Route::command("resume", Operator, POST, "/pipelines/{name}/resume", Pipeline, pipelines::resume),
        Route::command("stop", Operator, POST, "/pipelines/{name}/stop", Pipeline, pipelines::stop),
        Route::look(Viewer, "/pipelines/{name}/checkpoints", Pipeline, pipelines::checkpoints),
        Route::command("forget-checkpoints", Admin, DELETE, "/pipelines/{name}/checkpoints", Pipeline, pipelines::forget_checkpoints),
        Route::command("ack-gaps", Operator, POST, "/pipelines/{name}/sinks/{id}/gaps/ack", Pipeline, pipelines::acknowledge_gaps),

        Route::look(Viewer, "/pipelines/{name}/snapshots", Pipeline, snapshots::list),
        Route::look(Viewer, "/pipelines/{name}/snapshots/{id}", Pipeline, snapshots::show),
        Route::command("snapshot", Operator, POST, "/pipelines/{name}/snapshots", Pipeline, snapshots::start),
        Route::command("snapshot-pause", Operator, POST, "/pipelines/{name}/snapshots/{id}/pause", Pipeline, snapshots::pause),
        Route::command("snapshot-resume", Operator, POST, "/pipelines/{name}/snapshots/{id}/resume", Pipeline, snapshots::resume),
        Route::command("snapshot-stop", Operator, POST, "/pipelines/{name}/snapshots/{id}/stop", Pipeline, snapshots::stop),

        // Dead letters are rows: who only looks after pipelines does not see them.
        Route::look(Operator, "/pipelines/{name}/journal/dlq", Pipeline, dlq::peek),
        Route::command("dlq-purge", Operator, DELETE, "/pipelines/{name}/journal/dlq", Pipeline, dlq::purge),
        Route::look(Viewer, "/pipelines/{name}/journal/dlq/count", Pipeline, dlq::count),
        Route::command("dlq-ack", Operator, POST, "/pipelines/{name}/journal/dlq/ack", Pipeline, dlq::ack),

        Route::command("swap", Operator, PUT, "/pipelines/{name}/processors/{id}/plugin", Pipeline, swap::plugin),
        Route::command("script", Author, PUT, "/pipelines/{name}/processors/{id}/script", Pipeline, swap::script),
        Route::command("rollback", Operator, POST, "/pipelines/{name}/processors/{id}/rollback", Pipeline, swap::rollback),
        Route::look(Viewer, "/pipelines/{name}/processors/{id}/history", Pipeline, swap::history),
        // What enters is rows, as whoever writes code for them sees them.
        Route::command("tap", Author, POST, "/pipelines/{name}/processors/{id}/tap", Pipeline, tap::processor),
        Route::command("swap", Operator, PUT, "/pipelines/{name}/sinks/{id}/envelope", Pipeline, swap::envelope),
        Route::command("rollback", Operator, POST, "/pipelines/{name}/sinks/{id}/envelope/rollback", Pipeline, swap::envelope_rollback),
        Route::look(Viewer, "/pipelines/{name}/sinks/{id}/envelope/history", Pipeline, swap::envelope_history),
        Route::command("tap", Author, POST, "/pipelines/{name}/sinks/{id}/envelope/tap", Pipeline, tap::envelope),

        Route::look(Viewer, "/plugins", Host, plugins::list),
        Route::command("plugin-gc", Admin, POST, "/plugins/gc", Host, plugins::remove::collect),

        Route::look(Admin, "/tokens", Host, tokens::list),
        Route::command("token-create", Admin, POST, "/tokens", Host, tokens::create),
        Route::command("token-revoke", Admin, DELETE, "/tokens/{name}", Token, tokens::revoke),
        Route::command("token-revoke", Admin, DELETE, "/tokens/{tenant}/{name}", Token, tokens::revoke),

        Route::look(Admin, "/audit", Host, audit::show),
    ];
    for plugin in ["/plugins/{name}", "/plugins/{tenant}/{name}"] {
        let version = format!("{plugin}/versions/{{version}}");
        all.extend([
            Route::look(Viewer, plugin, Plugin, plugins::versions),
            Route::look(Viewer, &version, Plugin, plugins::version),
            Route::look(Viewer, &format!("{version}/content"), Plugin, plugins::content),
            Route::command("upload", Author, PUT, &version, Plugin, plugins::publish::publish),
            Route::command("delete", Author, DELETE, &version, Plugin, plugins::remove::delete),
            // Changes nothing.
            Route::new(POST, &format!("{version}/test"), Some(Operator), Plugin, plugins::trial::test),
        ]);
    }
    all
}

/// What every route asks for.
pub fn rules() -> Vec<Rule> {
    table().into_iter().map(|route| route.rule).collect()
}

/// The router of all routes, each behind its gate.
pub(crate) fn router(app: &App) -> Router<App> {
    table().into_iter().fold(Router::new(), |router, Route { rule, handler }| {
        let path = rule.path.clone();
        let gate = Gate { app: app.clone(), rule: Arc::new(rule) };
        router.route(&path, handler.route_layer(from_fn_with_state(gate, admit)))
    })
}
