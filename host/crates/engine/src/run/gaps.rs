//! The stretches of the log that optional sinks were not given: recorded before the stream goes on without them, shown
//! until somebody has seen them, and kept.

use deltaforge_model::Position;
use tracing::error;

use crate::plan::PipelinePlan;
use crate::state::{StateError, StateStore};
use crate::status::{Gap, Shared, position_json};

/// Gaps told apart; beyond it the oldest ones are shown as one.
const MAX_GAPS: usize = 100;

/// The recorded gaps of one sink. They lie in the store only, so that who adds one and who acknowledges them need not
/// know of each other.
#[derive(Clone)]
pub(crate) struct Gaps {
    key: String,
    sink: String,
    index: usize,
}

impl Gaps {
    pub fn of(plan: &PipelinePlan, index: usize) -> Self {
        let sink = plan.sinks[index].id.clone();
        Self { key: Self::key(plan, &sink), sink, index }
    }

    /// Where a sink's gaps are stored.
    pub fn key(plan: &PipelinePlan, sink: &str) -> String {
        format!("gap/{}/{}/{sink}", plan.tenant, plan.name)
    }

    /// Reads them, oldest first, and shows them.
    pub async fn load(&self, store: &dyn StateStore, shared: &Shared) -> Result<Vec<Gap>, StateError> {
        let gaps = self.stored(store).await?;
        shared.gaps(self.index, gaps.clone());
        Ok(gaps)
    }

    /// The sink misses the events of a batch. Adds to the newest gap where the batch `extends` it. Durable on return.
    pub async fn record(
        &self,
        store: &dyn StateStore,
        shared: &Shared,
        (from, through): (&Position, &Position),
        events: u64,
        extends: bool,
    ) -> Result<(), StateError> {
        metrics::counter!("deltaforge_sink_gap_events_total", "sink" => self.sink.clone()).increment(events);
        self.change(store, shared, |gaps| match gaps.last_mut() {
            // Damage that was found meanwhile is another one.
            Some(gap) if extends && gap.to == position_json(from) => {
                gap.to = position_json(through);
                gap.events = gap.events.map(|before| before + events);
                gap.acknowledged = false;
            }
            _ => {
                error!(
                    sink = self.sink,
                    from = from.as_str(),
                    "the spill is full; the sink misses events from here on, as recorded"
                );
                let (from, to) = (position_json(from), position_json(through));
                gaps.push(Gap { from, to, events: Some(events), acknowledged: false });
            }
        })
        .await
    }

    /// Spilled batches could not be read again: what lay between these positions is missing, where they are known. How
    /// much that was nobody knows. Answers whether it was not recorded before. Durable on return.
    pub async fn record_damage(
        &self,
        store: &dyn StateStore,
        shared: &Shared,
        from: Option<&Position>,
        to: Option<&Position>,
    ) -> Result<bool, StateError> {
        let mut gap = Gap::default();
        gap.from = from.map_or(gap.from, position_json);
        gap.to = to.map_or(gap.to, position_json);
        let mut is_new = true;
        self.change(store, shared, |gaps| {
            // A restart finds the same damage again.
            let is_same = |old: &Gap| (&old.from, &old.to, old.events) == (&gap.from, &gap.to, gap.events);
            is_new = gap.stretch().is_none() || !gaps.iter().any(is_same);
            if is_new {
                gaps.push(gap);
            }
        })
        .await?;
        Ok(is_new)
    }

    /// Somebody has seen them: they count as no fault any more. Answers those that nobody had seen before.
    pub async fn acknowledge(&self, store: &dyn StateStore, shared: &Shared) -> Result<Vec<Gap>, StateError> {
        let mut seen = Vec::new();
        self.change(store, shared, |gaps| {
            for gap in gaps.iter_mut().filter(|gap| !gap.acknowledged) {
                seen.push(gap.clone());
                gap.acknowledged = true;
            }
        })
        .await?;
        Ok(seen)
    }

    async fn change(
        &self,
        store: &dyn StateStore,
        shared: &Shared,
        change: impl FnOnce(&mut Vec<Gap>),
    ) -> Result<(), StateError> {
        let _turn = shared.changing_gaps().await;
        let mut gaps = self.stored(store).await?;
        change(&mut gaps);
        if gaps.len() > MAX_GAPS {
            // The count stays exact; the stretch of the oldest grows over what lies between.
            let second = gaps.remove(1);
            let oldest = &mut gaps[0];
            oldest.to = second.to;
            oldest.events = oldest.events.zip(second.events).map(|(a, b)| a + b);
            oldest.acknowledged &= second.acknowledged;
        }
        let bytes = serde_json::to_vec(&gaps).expect("plain JSON");
        store.put_many(vec![(self.key.clone(), bytes)], None).await?;
        shared.gaps(self.index, gaps);
        Ok(())
    }

    async fn stored(&self, store: &dyn StateStore) -> Result<Vec<Gap>, StateError> {
        match store.get(&self.key).await? {
            None => Ok(Vec::new()),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| StateError::backend(format!("read {}", self.key), error)),
        }
    }
}
