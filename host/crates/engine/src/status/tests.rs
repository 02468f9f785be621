use serde_json::Value;

use super::*;
use crate::batcher::BatchLimits;
use crate::ledger::CommitPolicy;
use crate::plan::SourcePlan;
use crate::run::standing::tests::Numbers;

fn shared() -> Shared {
    Shared::new(&PipelinePlan {
        name: "p".to_owned(),
        tenant: "t".to_owned(),
        source: SourcePlan { id: "shop".to_owned(), factory: Arc::new(Numbers), config: Value::Null },
        stages: Vec::new(),
        sinks: Vec::new(),
        limits: BatchLimits::default(),
        max_inflight: 1,
        policy: CommitPolicy::All,
        max_memory_bytes: 0,
        dlq: None,
        secrets: Secrets::default(),
    })
}

/// It ends at work, and is at work again a moment later.
fn fails(shared: &Shared, failure: Failure) {
    shared.failed(failure, Some(Duration::ZERO));
    shared.set_state(State::Starting);
    shared.running(false);
}

/// It has failed of what only a person can mend, and been at work for long since, with nothing to do.
fn mended() -> Shared {
    let shared = shared();
    shared.running(false);
    fails(&shared, Failure::operator("broken", "mend it"));
    assert_eq!(shared.snapshot().status, State::Failed, "nothing says that it is mended");
    shared.inner.lock().running_since = Instant::now().checked_sub(WELL_AFTER + Duration::from_secs(1));
    assert_eq!(shared.snapshot().status, State::Running);
    shared
}

#[test]
fn what_was_mended_does_not_come_back_with_the_next_broken_connection() {
    let shared = mended();
    fails(&shared, Failure { retriable: true, ..Failure::operator("gone", "it comes back") });
    assert_eq!(shared.snapshot().status, State::Running);
}

#[test]
fn what_was_mended_does_not_come_back_with_the_next_batch() {
    let shared = mended();
    shared.opened(1, 0, 1, Instant::now());
    assert_eq!(shared.snapshot().status, State::Running);
}

#[test]
fn a_sink_that_has_nothing_to_deliver_is_well_after_a_while_beside_busy_ones() {
    let shared = mended();
    {
        let mut inner = shared.inner.lock();
        inner.durable = vec![0, 0];
        inner.stuck = Some(Stuck { failure: Failure::operator("refused", "mend it"), sink: Some(0) });
        inner.open.push_back((1, 0, Instant::now()));
        inner.passes(1, 1);
    }
    assert_eq!(shared.snapshot().status, State::Failed, "another one gets on");
    shared.inner.lock().passes(0, 1);
    assert_eq!(shared.snapshot().status, State::Running);
}
