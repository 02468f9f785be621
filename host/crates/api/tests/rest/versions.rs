//! Which version an event passes, whatever is swapped at what moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::control::{Change, Control, ControlError};
use deltaforge_engine::plan::{PipelinePlan, Services, SinkPlan};
use deltaforge_engine::sink::{Delivery, Durable, Sink, SinkError};
use deltaforge_engine::stage::StageCode;
use deltaforge_engine::status::State;
use deltaforge_engine::swap::{Note, Swappable};
use serde_json::{Value, json};

use crate::parts::{Numbers, Shelf, ShelfSink, onto, opens};
use crate::setup::{self, checkpointed, within};

const MARK: Swappable<'_> = Swappable::Stage("mark");

/// A pipeline with a stage that marks each row with a version, and what commands it.
struct Marked {
    numbers: Arc<Numbers>,
    pipeline: Pipeline,
    control: Control,
}

impl Marked {
    fn start(services: &Services, sinks: Vec<SinkPlan>, numbers: Arc<Numbers>) -> Self {
        let plan = PipelinePlan { stages: vec![setup::marker("v1")], sinks, ..setup::plan("p", &numbers) };
        let (control, pipeline) = (Control::new(), Pipeline::start(plan, services.clone()));
        control.add(pipeline.clone(), json!({}), None).unwrap();
        Self { numbers, pipeline, control }
    }

    async fn swap(
        &self,
        part: Swappable<'_>,
        plugin: Option<&str>,
        config: Option<Value>,
    ) -> Result<(), ControlError> {
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
    let sink = setup::sink("p", "s0", onto(&shelf), true);
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
        let plugin = format!("marker@v{version}");
        match tokio::time::timeout(BOUND, marked.swap(MARK, Some(&plugin), None)).await {
            Ok(Err(ControlError::Failed(failure))) => assert_eq!(failure.code, "pipeline_not_running"),
            other => panic!("swap {version}: {other:?}"),
        }
    };
    for version in 2..12 {
        swap(version).await;
    }
    futures::future::join_all((12..22).map(swap)).await;
    tokio::time::resume();
    marked.numbers.broken.store(false, Ordering::SeqCst);
    marked.read(30).await;
    let history = marked.pipeline.history(MARK).await.unwrap().unwrap();
    assert_eq!(history.all().len(), 1);
    assert!(shelf.rows.lock().iter().all(|(_, mark)| mark == "v1"), "{:?}", shelf.rows.lock());
    marked.pipeline.shutdown().await;
}

/// Fails in the middle of each delivery until it works.
#[derive(Clone, Default)]
struct Halfway {
    works: Arc<AtomicBool>,
    sink: ShelfSink,
}

#[async_trait]
impl Sink for Halfway {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        for (place, message) in delivery.messages() {
            if place == 5 && !self.works.load(Ordering::SeqCst) {
                return Err(SinkError::retry("halfway", "write", "no more for now"));
            }
            self.sink.shelf.take(&message);
        }
        self.sink.through = delivery.seq;
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        self.sink.durable().await
    }
}

impl Halfway {
    fn sink(&self) -> Vec<SinkPlan> {
        let own = self.clone();
        vec![setup::sink("p", "s0", opens(move |_| Ok(Box::new(own.clone()))), true)]
    }

    /// What each number bore, over all deliveries.
    fn marks(&self) -> BTreeMap<u64, BTreeSet<String>> {
        let mut marks = BTreeMap::<_, BTreeSet<_>>::new();
        for (n, mark) in self.sink.shelf.rows.lock().iter() {
            marks.entry(*n).or_default().insert(mark.clone());
        }
        marks
    }
}

#[tokio::test]
async fn what_was_delivered_before_an_attempt_ended_keeps_its_version_without_a_checkpoint() {
    for part in [MARK, Swappable::Envelope("s0")] {
        let (services, _spill) = setup::services(Duration::from_millis(300));
        let sink = Halfway::default();
        let mut sinks = sink.sink();
        sinks[0].envelope.code = StageCode::Plugin("rows@a".into());
        let marked = Marked::start(&services, sinks, Arc::default());
        let Numbers { bound, unreadable, .. } = &*marked.numbers;
        bound.send_replace(10);
        within("half of it is out", async || sink.sink.shelf.rows.lock().len() >= 5).await;
        unreadable.store(20, Ordering::SeqCst);
        bound.send_replace(30);
        marked.until(State::Failed).await;
        let first = marked.pipeline.checkpoints().await.unwrap();
        assert_eq!(first[0].position, json!({ "n": 0 }), "nothing of it is checkpointed");
        let plugin = if part == MARK { "marker@v2" } else { "rows@b" };
        marked.swap(part, Some(plugin), None).await.unwrap();
        sink.works.store(true, Ordering::SeqCst);
        unreadable.store(u64::MAX, Ordering::SeqCst);
        marked.pipeline.resume();
        marked.read(50).await;
        marked.pipeline.shutdown().await;
        let marks = sink.marks();
        assert!(marks.values().all(|marks| marks.len() == 1), "{part}: {marks:?}");
        let of = |n| marks[&n].first().unwrap().as_str();
        let new = if part == MARK { "v2 as a" } else { "v1 as b" };
        assert_eq!((of(0), of(9), of(49)), ("v1 as a", "v1 as a", new), "{part}");
    }
}

#[tokio::test]
async fn what_never_left_is_mended_by_a_swap() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    // It refuses all, and there is no dead-letter queue.
    let refuses = Arc::new(Shelf { refuse: Some(1), ..Shelf::default() });
    let accepts = Arc::<Shelf>::default();
    let (first, second, is_mended) = (refuses.clone(), accepts.clone(), Arc::new(AtomicBool::new(false)));
    let mended = is_mended.clone();
    let sink = opens(move |_| {
        let shelf = if mended.load(Ordering::SeqCst) { &second } else { &first };
        Ok(Box::new(ShelfSink { shelf: shelf.clone(), through: 0 }))
    });
    let marked = Marked::start(&services, vec![setup::sink("p", "s0", sink, true)], Arc::default());
    marked.numbers.bound.send_replace(10);
    marked.until(State::Failed).await;
    marked.swap(MARK, Some("marker@v2"), None).await.unwrap();
    is_mended.store(true, Ordering::SeqCst);
    marked.read(20).await;
    assert!(accepts.rows.lock().iter().all(|(_, mark)| mark == "v2"), "{:?}", accepts.rows.lock());
    marked.pipeline.shutdown().await;
}

#[tokio::test]
async fn an_envelope_that_takes_the_place_of_one_that_nothing_passed_is_at_work_where_it_says() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (shelf, mut sinks) = shelf();
    sinks[0].envelope.code = StageCode::Plugin("rows@a".into());
    let behind = Halfway::default();
    sinks.extend(behind.sink().into_iter().map(|sink| SinkPlan { id: "s1".into(), ..sink }));
    let marked = Marked::start(&services, sinks, Arc::default());
    let Numbers { bound, unreadable, .. } = &*marked.numbers;
    bound.send_replace(30);
    checkpointed(&marked.pipeline, "s0", 30).await;
    let envelope = Swappable::Envelope("s0");
    let swap = async |plugin: &str| {
        let change = Change::Plugin { plugin: Some(plugin.to_owned()), config: None };
        marked.control.swap("p", envelope, change, 0, Note::default()).await.unwrap()
    };
    swap("rows@b").await;
    unreadable.store(30, Ordering::SeqCst);
    bound.send_replace(50);
    marked.until(State::Failed).await;
    marked.control.pause("p").unwrap();
    marked.until(State::Paused).await;
    unreadable.store(u64::MAX, Ordering::SeqCst);
    behind.works.store(true, Ordering::SeqCst);
    swap("rows@c").await;
    marked.control.resume("p").await.unwrap();
    marked.read(50).await;
    marked.pipeline.shutdown().await;
    let rows = shelf.rows.lock().clone();
    let wrong: Vec<_> =
        rows.iter().filter(|(n, mark)| mark != if *n < 30 { "v1 as a" } else { "v1 as c" }).collect();
    assert!(wrong.is_empty() && rows.len() == 50, "{rows:?}");
}

#[tokio::test]
async fn a_history_holds_what_a_replay_may_need_however_often_is_swapped() {
    const SWAPS: u64 = 300;
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (_, sinks) = shelf();
    let marked = Marked::start(&services, sinks, Arc::default());
    let envelope = Swappable::Envelope("s0");
    for n in 1..=SWAPS {
        marked.read(n).await;
        marked.swap(MARK, Some(&format!("marker@v{n}")), None).await.unwrap();
        marked.swap(envelope, None, Some(json!({ "n": n }))).await.unwrap();
    }
    for part in [MARK, envelope] {
        let history = marked.pipeline.history(part).await.unwrap().unwrap();
        // It is looked at what is past from sixteen on.
        assert!(history.generations.len() <= 16, "{part}: {}", history.generations.len());
        assert_eq!(history.newest(), SWAPS + 1, "{part}");
    }
    marked.pipeline.shutdown().await;
}

#[tokio::test]
async fn a_new_configuration_is_for_what_was_swapped_last_also_before_it_is_at_work() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (shelf, mut sinks) = shelf();
    let behind = Halfway::default();
    sinks.extend(behind.sink().into_iter().map(|sink| SinkPlan { id: "s1".into(), ..sink }));
    let marked = Marked::start(&services, sinks.clone(), Arc::default());
    let Numbers { bound, unreadable, .. } = &*marked.numbers;
    bound.send_replace(30);
    within("one sink has it", async || shelf.rows.lock().len() == 30).await;
    unreadable.store(30, Ordering::SeqCst);
    bound.send_replace(50);
    marked.until(State::Failed).await;
    marked.control.pause("p").unwrap();
    marked.until(State::Paused).await;
    marked.swap(MARK, Some("marker@v2"), None).await.unwrap();
    assert_eq!(marked.pipeline.status().stages[0].plugin, "marker@v1", "the new one is to take over later");
    let suffix = Some(json!({ "suffix": "!" }));
    let mend = async {
        behind.works.store(true, Ordering::SeqCst);
        marked.control.resume("p").await.unwrap();
        marked.read(30).await;
    };
    let (swapped, ()) = tokio::join!(marked.swap(MARK, None, suffix.clone()), mend);
    swapped.unwrap();
    unreadable.store(u64::MAX, Ordering::SeqCst);
    marked.read(50).await;
    marked.pipeline.shutdown().await;
    assert_eq!(shelf.rows.lock().last().unwrap(), &(49, "v2!".to_owned()));

    // A host that has just started, and has built no stage yet.
    let marked = Marked::start(&services, sinks, Arc::default());
    let runs = marked.control.runs("p", MARK).await.unwrap();
    assert!(marked.pipeline.status().stages.is_empty());
    assert_eq!((runs.code, Some(runs.config)), (StageCode::Plugin("marker@v2".into()), suffix));
    marked.pipeline.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_begins_anew_passes_what_was_swapped_in_last() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (shelf, mut sinks) = shelf();
    sinks[0].envelope.code = StageCode::Plugin("rows@a".into());
    let marked = Marked::start(&services, sinks, Arc::default());
    marked.read(30).await;
    marked.swap(MARK, Some("marker@v2"), None).await.unwrap();
    marked.swap(Swappable::Envelope("s0"), Some("rows@b"), None).await.unwrap();
    marked.read(40).await;
    marked.control.stop("p").await.unwrap();
    marked.control.forget_checkpoints("p", None).await.unwrap();
    shelf.rows.lock().clear();
    // Nothing is there to be read yet.
    marked.numbers.bound.send_replace(0);
    marked.control.resume("p").await.unwrap();
    let swap = marked.swap(MARK, Some("marker@v3"), None);
    tokio::time::timeout(Duration::from_secs(5), swap).await.expect("an idle pipeline takes it").unwrap();
    marked.control.rollback("p", MARK, Note::default()).await.unwrap();
    marked.read(35).await;
    let rows = shelf.rows.lock().clone();
    assert!(rows.len() == 35 && rows.iter().all(|(_, mark)| mark == "v2 as b"), "{rows:?}");
    marked.pipeline.shutdown().await;
}
