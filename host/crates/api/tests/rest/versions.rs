//! Which version an event passes, whatever is swapped at what moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::control::{Change, Control, ControlError};
use deltaforge_engine::plan::{PipelinePlan, Services, SinkPlan, StagePlan};
use deltaforge_engine::sink::{Delivery, Durable, Sink, SinkError};
use deltaforge_engine::stage::StageCode;
use deltaforge_engine::status::State;
use deltaforge_engine::swap::{Note, Swappable};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::parts::{Numbers, Shelf, ShelfFactory, opens};
use crate::setup::{self, within};

const MARK: Swappable<'_> = Swappable::Stage("mark");

/// A pipeline with a stage that marks each row with a version, and what commands it.
struct Marked {
    numbers: Arc<Numbers>,
    pipeline: Pipeline,
    control: Control,
}

impl Marked {
    fn start(services: &Services, sinks: Vec<SinkPlan>, numbers: Arc<Numbers>) -> Self {
        let stage = StagePlan {
            spec: setup::spec("p", "mark", StageCode::Plugin("marker@1".into()), json!({})),
            block: json!({ "plugin": "marker@1" }),
            on_error: Default::default(),
            tables: Default::default(),
            masks: false,
            follows: false,
        };
        let plan = PipelinePlan { stages: vec![stage], sinks, ..setup::plan("p", &numbers) };
        let (control, pipeline) = (Control::new(), Pipeline::start(plan, services.clone()));
        control.add(pipeline.clone(), json!({}), None).unwrap();
        Self { numbers, pipeline, control }
    }

    async fn swap(&self, part: Swappable<'_>, plugin: Option<&str>, config: Option<Value>) -> Result<(), ControlError> {
        let change = Change::Plugin { plugin: plugin.map(str::to_owned), config };
        self.control.swap("p", part, change, 1, Note::default()).await.map(drop)
    }

    async fn until(&self, state: State) {
        within(state.word(), async || self.pipeline.status().status == state).await;
    }

    async fn read(&self, bound: u64) {
        self.numbers.bound.send_replace(bound);
        within("it is stored", async || {
            let stored = self.pipeline.checkpoints().await.unwrap();
            !stored.is_empty() && stored.iter().all(|one| one.position == json!({ "n": bound }))
        })
        .await;
    }
}

fn shelf() -> (Arc<Shelf>, Vec<SinkPlan>) {
    let shelf = Arc::<Shelf>::default();
    let sink = setup::sink("p", "s0", Arc::new(ShelfFactory(shelf.clone())), true);
    (shelf, vec![sink])
}

#[tokio::test(start_paused = true)]
async fn a_swap_that_was_given_up_neither_stands_in_the_way_nor_comes_later() {
    /// A swap waits for its turn and for the pipeline, and no longer.
    const BOUND: Duration = Duration::from_secs(21);
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (shelf, sinks) = shelf();
    let numbers = Arc::new(Numbers { broken: AtomicBool::new(true), ..Numbers::default() });
    let marked = Marked::start(&services, sinks, numbers);
    let swap = async |version: usize| {
        let plugin = format!("marker@{version}");
        match tokio::time::timeout(BOUND, marked.swap(MARK, Some(&plugin), None)).await {
            Ok(Err(ControlError::Failed(failure))) => assert_eq!(failure.code, "pipeline_not_running"),
            other => panic!("swap {version}: {other:?}"),
        }
    };
    for version in 2..12 {
        swap(version).await;
    }
    futures::future::join_all((12..22).map(swap)).await;
    marked.numbers.broken.store(false, Ordering::SeqCst);
    marked.read(30).await;
    let history = marked.pipeline.history(MARK).await.unwrap().unwrap();
    assert_eq!(history.all().len(), 1);
    assert!(shelf.rows.lock().iter().all(|(_, mark)| mark == "1"), "{:?}", shelf.rows.lock());
    marked.pipeline.shutdown().await;
}
