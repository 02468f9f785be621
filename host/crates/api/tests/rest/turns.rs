//! What a new version begins with runs where its calls run: on the compute threads, in its tenant's turn.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::plan::Services;
use deltaforge_engine::stage::{Stage, StageCode, StageError, StageFactory, StageSpec, StageVersion};
use deltaforge_engine::tenants::{TenantLimits, Tenants};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::json;

use crate::host::{Host, Plan, answer};
use crate::parts::Markers;
use crate::setup;

/// Makes markers, and notes on which threads.
struct OnThreads(Arc<Mutex<Vec<String>>>);

impl OnThreads {
    fn note(&self, what: &str) {
        let thread = std::thread::current();
        self.0.lock().push(format!("{what} on {}", thread.name().unwrap_or_default()));
    }
}

#[async_trait]
impl StageFactory for OnThreads {
    fn handles(&self, code: &StageCode) -> bool {
        Markers.handles(code)
    }

    async fn validate(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        self.note("checked");
        Markers.validate(spec).await
    }

    async fn build(
        &self,
        spec: &StageSpec,
        digest: Option<&str>,
    ) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
        self.note("built");
        Markers.build(spec, digest).await
    }
}

#[test]
fn a_swap_begins_on_the_compute_threads_when_it_is_its_tenants_turn() {
    let threads = |name: &str| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).thread_name(name.to_owned()).enable_all().build().unwrap()
    };
    let (io, compute) = (threads("io"), threads("compute"));
    let (handle, began, tenants) =
        (compute.handle().clone(), Arc::default(), Tenants::new(TenantLimits::default(), 1));
    io.block_on(async {
        let (services, spill) = setup::services(Duration::from_secs(5));
        let stages: Vec<Arc<dyn StageFactory>> = vec![Arc::new(OnThreads(Arc::clone(&began)))];
        let services = Services { stages, compute: handle, tenants: tenants.clone(), ..services };
        let host = Host::over(services, spill, Vec::new(), |api| api).await;
        let orders = host.run(Plan::named("orders"));
        orders.read(10, 10).await;
        began.lock().clear();
        let place = tenants.place("zeta").await;
        let path = "/pipelines/orders/processors/mark/plugin";
        let swap = host.request(Method::PUT, path).json(&json!({ "plugin": "marker@1.1.0" }));
        let swap = tokio::spawn(answer(swap));
        // As long as others need to be answered anyway.
        for _ in 0..50 {
            assert_eq!(host.get("/pipelines").await.0, 200);
        }
        assert_eq!(*began.lock(), [""; 0], "zeta has the only place");
        drop(place);
        let (status, swap) = swap.await.unwrap();
        assert_eq!(status, 200, "{swap}");
        assert_eq!(*began.lock(), ["checked on compute", "built on compute"]);
    });
}
