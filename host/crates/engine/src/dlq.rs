//! The dead-letter queue: where an event goes that can never be delivered, with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deltaforge_model::Event;
use deltaforge_model::json::{EventWriter, RowEncoders};
use metrics::{counter, gauge};
use serde_json::{Value, json, value::RawValue};

use crate::secrets::Secrets;
use crate::state::{Pushed, QueueFilter, QueueItem, QueueOverflow, StateError, StateStore};
use crate::status::{Failure, STALLED_AFTER};
use crate::waits::{Waiting, Waits};

mod told;

use told::{Loss, Told};

/// What happens to a new entry when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The pipeline waits until an operator makes room.
    Block,
    /// The oldest entries make room; each loss is counted.
    DropOldest,
    /// The new entry is thrown away; each loss is counted.
    Reject,
}

/// The bounds of a dead-letter queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DlqLimits {
    /// Most entries.
    pub max_entries: u64,
    /// Entries older than this are removed.
    pub max_age: Duration,
    /// What happens past `max_entries`.
    pub overflow: Overflow,
    /// A larger event is kept without its images, but with its key.
    pub max_event_bytes: usize,
}

/// One event that goes to the queue.
pub struct Letter<'a> {
    /// The event, masked already.
    pub event: Event<'a>,
    /// Whether its content must not be kept (it could not be masked).
    pub hide: bool,
    /// The sink that could not take it; empty when a stage rejected it.
    pub sink_id: &'a str,
    /// The stage that rejected it; empty when a sink could not take it.
    pub stage_id: &'a str,
    /// `serialization`, `routing`, `fatal`, `other`, …
    pub kind: &'a str,
    /// The stable code.
    pub code: &'a str,
    /// Why.
    pub message: &'a str,
    /// How often it was tried.
    pub attempts: u32,
}

/// All of an event but its rows: what happened to which table, and where that is in the log.
fn without_images(event: &Event<'_>, encoders: &mut RowEncoders) -> Vec<u8> {
    let mut json = br#"{"before":null,"after":null"#.to_vec();
    let brace = json.len();
    EventWriter::new(event.batch(), encoders).write_origin(event, false, &mut json);
    json[brace] = b',';
    json
}

/// By which its row is found, as a JSON object; `None`: its table has no key.
fn key(event: &Event<'_>, encoders: &mut RowEncoders) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    let of_tables = encoders.of_batch(event.batch());
    of_tables[event.table_index()].write_event_key(event, &mut key).then_some(key)
}

fn raw(json: Option<Vec<u8>>) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(json?).ok()?).ok()
}

/// The dead-letter queue of one pipeline.
#[derive(Clone)]
pub struct Dlq {
    store: Arc<dyn StateStore>,
    queue: String,
    pipeline: String,
    limits: DlqLimits,
    waits: Waits,
    secrets: Secrets,
    patience: Option<Duration>,
    told: Told,
}

impl Dlq {
    /// The queue of a pipeline.
    pub fn new(store: Arc<dyn StateStore>, tenant: &str, pipeline: &str, limits: DlqLimits) -> Self {
        let queue = format!("dlq/{tenant}/{pipeline}");
        Self {
            store,
            queue,
            pipeline: pipeline.to_owned(),
            limits,
            waits: Waits::default(),
            secrets: Secrets::default(),
            patience: Some(STALLED_AFTER),
            told: Told::default(),
        }
    }

    /// Lets it say where it waits for room, and keeps secrets out of what it stores.
    pub(crate) fn telling(self, waits: Waits, secrets: Secrets) -> Self {
        Self { waits, secrets, ..self }
    }

    /// For one that holds nothing up while it waits for room.
    pub(crate) fn patient(self) -> Self {
        Self { patience: None, ..self }
    }

    /// Stores letters; durable on return. With [`Overflow::Block`] this waits while the queue is full. Answers how
    /// many entries, old or new, were lost to the bounds, of age too.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn put(&self, letters: &[Letter<'_>]) -> Result<u64, StateError> {
        let items: Vec<QueueItem> = letters.iter().map(|letter| self.item(letter)).collect();
        let overflow = match self.limits.overflow {
            Overflow::Block => QueueOverflow::Fail,
            Overflow::DropOldest => QueueOverflow::DropOldest,
            Overflow::Reject => QueueOverflow::Reject,
        };
        // More than fit into an empty queue could wait for ever.
        let most = usize::try_from(self.limits.max_entries.max(1)).unwrap_or(usize::MAX);
        let mut lost = 0;
        for (some, letters) in items.chunks(most).zip(letters.chunks(most)) {
            let (pushed, expired) = self.push(some, overflow).await?;
            lost += pushed.evicted + pushed.rejected + expired;
            let added: Vec<&Letter<'_>> = pushed.added_at.iter().map(|at| &letters[*at]).collect();
            for Letter { sink_id, kind, .. } in &added {
                counter!("deltaforge_dlq_events_total", "pipeline" => self.pipeline.clone(),
                    "sink" => (*sink_id).to_owned(), "error_kind" => (*kind).to_owned())
                .increment(1);
            }
            self.told.stored(&added, &self.secrets);
        }
        Ok(lost)
    }

    /// Answers what came of it, and how many old ones expired.
    async fn push(&self, items: &[QueueItem], overflow: QueueOverflow) -> Result<(Pushed, u64), StateError> {
        let mut expired = 0;
        let mut pause = Duration::from_millis(100);
        let mut waiting: Option<Waiting> = None;
        loop {
            expired += self.expire().await?;
            match self.store.queue_push(&self.queue, items.to_vec(), self.limits.max_entries, overflow).await
            {
                Ok(pushed) => {
                    self.told.lost(&self.pipeline, Loss::Evicted, pushed.evicted);
                    self.told.lost(&self.pipeline, Loss::Rejected, pushed.rejected);
                    self.observe().await?;
                    return Ok((pushed, expired));
                }
                Err(StateError::QueueFull { entries, max_entries, more, .. }) => {
                    let text = format!(
                        "the dead-letter queue holds {entries} of at most {max_entries} entries, and {more} more \
                         do not fit; the pipeline waits until enough are acknowledged or purged"
                    );
                    waiting.get_or_insert_with(|| {
                        self.waits.begin(Failure::operator("dlq_full", text), self.patience)
                    });
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                Err(error) => {
                    counter!("deltaforge_dlq_write_failures_total", "pipeline" => self.pipeline.clone())
                        .increment(1);
                    return Err(error);
                }
            }
        }
    }

    /// Lets old entries go, and shows how full it is. Answers how many went.
    pub(crate) async fn look(&self) -> Result<u64, StateError> {
        let expired = self.expire().await?;
        self.observe().await?;
        Ok(expired)
    }

    async fn observe(&self) -> Result<(), StateError> {
        let entries = self.store.queue_count(&self.queue, &QueueFilter::new()).await? as f64;
        gauge!("deltaforge_dlq_entries", "pipeline" => self.pipeline.clone()).set(entries);
        gauge!("deltaforge_dlq_saturation_ratio", "pipeline" => self.pipeline.clone())
            .set(entries / self.limits.max_entries.max(1) as f64);
        Ok(())
    }

    async fn expire(&self) -> Result<u64, StateError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let before = now.saturating_sub(self.limits.max_age).as_millis() as i64;
        let expired = self.store.queue_expire(&self.queue, before).await?;
        self.told.lost(&self.pipeline, Loss::Expired, expired);
        Ok(expired)
    }

    fn item(&self, letter: &Letter<'_>) -> QueueItem {
        let mut encoders = RowEncoders::default();
        let mut event = Vec::new();
        EventWriter::new(letter.event.batch(), &mut encoders).write_event(&letter.event, false, &mut event);
        let truncated = letter.hide || event.len() > self.limits.max_event_bytes;
        let kept = match (letter.hide, truncated) {
            (true, _) => None,
            (false, false) => Some(event),
            (false, true) => Some(without_images(&letter.event, &mut encoders))
                .filter(|rest| rest.len() <= self.limits.max_event_bytes),
        };
        let event = raw(kept);
        let key = (truncated && !letter.hide).then(|| key(&letter.event, &mut encoders)).flatten();
        let id = letter.event.id().to_string();
        let mut body = json!({
            "pipeline": self.pipeline,
            "stream": "dlq",
            "event_id": id,
            "source_cursor": { letter.event.info().pos_name.as_str(): letter.event.pos() },
            "event": event,
            "payload_truncated": truncated,
            "meta": {
                "sink_id": letter.sink_id,
                "stage_id": letter.stage_id,
                "error_kind": format!("{} error", letter.kind),
                "error_code": letter.code,
                "error_message": self.secrets.hide(letter.message),
                "attempts": letter.attempts,
            },
        });
        if let Some(key) = raw(key.filter(|key| key.len() <= self.limits.max_event_bytes)) {
            body["key"] = json!(key);
        }
        let place = if letter.sink_id.is_empty() { letter.stage_id } else { letter.sink_id };
        QueueItem {
            unique_key: format!("{id}|{place}"),
            labels: BTreeMap::from([
                ("sink_id".to_owned(), letter.sink_id.to_owned()),
                ("error_kind".to_owned(), letter.kind.to_owned()),
            ]),
            payload: body.to_string().into_bytes(),
        }
    }

    /// Its bounds.
    pub fn limits(&self) -> DlqLimits {
        self.limits
    }

    /// Entries after `after` for one sink and error kind (with or without the word "error"), oldest first.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn peek(
        &self,
        sink_id: Option<&str>,
        error_kind: Option<&str>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Value>, StateError> {
        let mut filter = QueueFilter::new();
        filter.extend(sink_id.map(|id| ("sink_id".to_owned(), id.to_owned())));
        filter.extend(
            error_kind.map(|kind| ("error_kind".to_owned(), kind.trim_end_matches(" error").to_owned())),
        );
        let entries = self.store.queue_peek(&self.queue, &filter, after, limit).await?;
        Ok(entries
            .into_iter()
            .map(|entry| {
                let mut value = json!({ "seq": entry.seq, "timestamp": entry.pushed_ms.div_euclid(1000) });
                if let (Some(out), Ok(Value::Object(body))) =
                    (value.as_object_mut(), serde_json::from_slice::<Value>(&entry.item.payload))
                {
                    out.extend(body);
                }
                value
            })
            .collect())
    }

    /// How many entries there are.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn count(&self) -> Result<u64, StateError> {
        self.store.queue_count(&self.queue, &QueueFilter::new()).await
    }

    /// Removes the entries up to and including `up_to`; answers how many.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn ack(&self, up_to: u64) -> Result<u64, StateError> {
        let acked = self.store.queue_ack(&self.queue, up_to).await?;
        self.observe().await?;
        Ok(acked)
    }

    /// Removes every entry; answers how many there were.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn purge(&self) -> Result<u64, StateError> {
        let purged = self.store.queue_purge(&self.queue).await?;
        self.observe().await?;
        Ok(purged)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
