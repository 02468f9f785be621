//! From events to messages: shape, address, key.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use deltaforge_model::json::{EventWriter, RowEncoders};
use deltaforge_model::{Batch, Boundary, Event, Op, RAW_MARK, View};

use crate::message::{BODY_FACTOR, Bodies, Formatter, MessageBatch};
use crate::search::Search;
use crate::sink::Addressing;
use crate::stage::{Limit, Made, StageAction, StageError, StageLimits, TooMany};
use crate::stages::OnError;
use crate::template::{Template, TemplateError};

mod keys;
#[cfg(test)]
mod tests;

use keys::Keys;

/// Most events a formatter gets at once.
const SLICE: usize = 500;

/// Which events a sink wants, by who made them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkFilter {
    /// Leaves out events that no source made.
    pub exclude_synthetic: bool,
    /// Leaves out events that a source made.
    pub synthetic_only: bool,
    /// Of synthetic events, only those of these producers; empty: all.
    pub producers: Vec<String>,
}

impl SinkFilter {
    /// Whether the envelope is shown an event.
    pub(crate) fn admits(&self, event: &Event<'_>) -> bool {
        if event.op() == Op::Heartbeat {
            return false;
        }
        match &event.side().synthetic {
            None => !self.synthetic_only,
            Some(producer) => {
                !self.exclude_synthetic && (self.producers.is_empty() || self.producers.contains(producer))
            }
        }
    }
}

/// An event that no message could be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// Its row in the batch.
    pub row: usize,
    /// `serialization` or `routing`.
    pub kind: &'static str,
    /// A stable code with a page in docs/errors.
    pub code: &'static str,
    /// Why.
    pub reason: String,
    /// What becomes of it; without a dead-letter queue [`OnError::Dlq`] is the pipeline's end.
    pub on_error: OnError,
}

/// Rows of a view that a formatter failed on by themselves, with the code of the error; the reason stands in the bodies.
type FailedOn = BTreeMap<usize, &'static str>;

/// Makes the messages of one (formatter, addressing, filter), for every sink that wants the same.
pub struct Composer {
    formatter: Box<dyn Formatter>,
    destination: Option<Template>,
    ignores_routed: bool,
    key: Option<Template>,
    tombstones: bool,
    filter: SinkFilter,
    on_error: OnError,
    /// The first failure that is not over with a second try is the end.
    whole: bool,
    encoders: RowEncoders,
    room: Room,
}

/// Most bytes of bodies that room is made for ahead.
const MOST_AHEAD: usize = 4 << 20;

/// What the bodies of the last batch took, for the next one: no growing, and what is freed fits again.
#[derive(Default)]
struct Room {
    rows: usize,
    bytes: usize,
}

impl Room {
    fn took(&mut self, rows: usize, bytes: usize) {
        (self.rows, self.bytes) = (rows, bytes);
    }

    /// For so many rows: no more than the last ones took, and a little.
    fn of(&self, rows: usize) -> usize {
        let bytes = self.bytes * rows.min(self.rows) / self.rows.max(1);
        (bytes + bytes / 16).min(MOST_AHEAD)
    }
}

impl Composer {
    /// A composer.
    ///
    /// # Errors
    ///
    /// When a template is none.
    pub fn new(
        formatter: Box<dyn Formatter>,
        addressing: &Addressing,
        filter: SinkFilter,
    ) -> Result<Self, TemplateError> {
        let parse = |text: &Option<String>| text.as_deref().map(Template::parse).transpose();
        // What does not depend on the event stays with the sink.
        let destination = parse(&addressing.destination)?.filter(|template| template.constant().is_none());
        Ok(Self {
            formatter,
            destination,
            ignores_routed: addressing.ignores_routed,
            key: parse(&addressing.key)?,
            tombstones: addressing.tombstones,
            filter,
            on_error: OnError::Dlq,
            whole: false,
            encoders: RowEncoders::default(),
            room: Room::default(),
        })
    }

    /// What becomes of events that the formatter fails on or rejects. With [`OnError::Fail`] the first is the end, so none
    /// is looked for.
    #[must_use]
    pub fn on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
    }

    /// As [`Composer::compose`], by a formatter of which it is not known yet whether it is any good: no time is spent on
    /// finding the events that it fails on.
    ///
    /// # Errors
    ///
    /// When the formatter failed on a slice, also the second time.
    pub async fn try_whole(
        &mut self,
        batch: &Arc<Batch>,
        boundary: &Boundary,
        first_row: u32,
    ) -> Result<(MessageBatch, Vec<Unwritten>), StageError> {
        self.whole = true;
        let made = self.compose(batch, boundary, first_row).await;
        self.whole = false;
        made
    }

    /// Makes one message for each event that the filter admits, in order; with tombstones a delete's is followed by one
    /// without a body. Progress-only entries make none, nor do events whose `source_row` is before the first one: they have
    /// been delivered.
    ///
    /// # Errors
    ///
    /// When the formatter failed as a whole.
    pub async fn compose(
        &mut self,
        batch: &Arc<Batch>,
        boundary: &Boundary,
        first_row: u32,
    ) -> Result<(MessageBatch, Vec<Unwritten>), StageError> {
        let rows: Arc<[u32]> = (0..batch.len() as u32)
            .filter(|row| {
                let event = batch.event(*row as usize);
                event.source_row() >= first_row && self.filter.admits(&event)
            })
            .collect();
        let view = View::new(batch.clone(), rows);
        let tx_end = transaction_ends(&view, boundary);
        let (bodies, failed_on) = self.bodies(&view, &tx_end).await?;
        let unwritable = |(row, reason): &(usize, String)| {
            let rejected = Unwritten {
                row: view.rows()[*row] as usize,
                kind: "serialization",
                code: "serialization_failed",
                reason: reason.clone(),
                on_error: self.on_error,
            };
            match failed_on.get(row) {
                Some(code) => Unwritten { code, ..rejected },
                None => rejected,
            }
        };
        let mut unwritten: Vec<Unwritten> = bodies.rejects().iter().map(unwritable).collect();
        let messages = self.address(&view, bodies, &mut unwritten);
        Ok((messages, unwritten))
    }

    /// One body for each row in view, in order. That of a row that is marked raw is its `after` alone, as JSON.
    async fn bodies(&mut self, view: &View, tx_end: &[bool]) -> Result<(Bodies, FailedOn), StageError> {
        let is_raw = |event: &Event<'_>| event.side().has_tag(RAW_MARK);
        if !view.events().any(|event| is_raw(&event)) {
            return self.format(view, tx_end).await;
        }
        let raw: Vec<bool> = view.events().map(|event| is_raw(&event)).collect();
        let rows: Vec<usize> = (0..view.len()).filter(|row| !raw[*row]).collect();
        let ends: Vec<bool> = rows.iter().map(|row| tx_end[*row]).collect();
        let others = view.retain(|event| !is_raw(&event));
        let (made, failed_on) = self.format(&others, &ends).await?;
        let writer = EventWriter::new(view.batch(), &mut self.encoders);
        let mut bodies = Bodies::default();
        let mut enveloped = (0..made.len()).map(|body| made.get(body));
        for (event, raw) in view.events().zip(&raw) {
            match (*raw, event.after()) {
                (true, Some(after)) => writer.write_image(&event, Some(after), bodies.buffer()),
                (true, None) => {
                    bodies.absent();
                    continue;
                }
                (false, _) => match enveloped.next().flatten() {
                    Some(body) => bodies.buffer().extend_from_slice(body),
                    None => {
                        bodies.absent();
                        continue;
                    }
                },
            }
            bodies.end();
        }
        for (row, reason) in made.rejects() {
            bodies.reject_row(rows[*row], reason.clone());
        }
        Ok((bodies, failed_on.into_iter().map(|(row, code)| (rows[row], code)).collect()))
    }

    /// As the formatter shapes them, slice by slice. A slice that it fails on is shown to it once more, then by halves,
    /// so that only rows that it fails on by themselves have no body.
    async fn format(&mut self, view: &View, tx_end: &[bool]) -> Result<(Bodies, FailedOn), StageError> {
        let room = self.room.of(view.len());
        let (mut bodies, mut failed_on) = (Bodies::with_room(view.len(), room), FailedOn::new());
        let mut start = 0;
        while start < view.len() {
            let end = (start + SLICE).min(view.len());
            let mut search = Search::of(start..end);
            let mut most = None;
            while let Some(piece) = search.next() {
                let rows = piece.rows.clone();
                if piece.is_part && most.is_none() {
                    let slice = view.slice(start..end);
                    most = Some(most_bytes(bodies.byte_len(), &slice, &self.formatter.limits()));
                }
                let slice = view.slice(rows.clone());
                let made = self.formatter.format(&slice, &tx_end[rows.clone()], &mut bodies).await;
                let Err(error) = made.and_then(|()| check(&bodies, &rows, most)) else { continue };
                bodies.truncate(rows.start);
                let ends = piece.again && (self.whole || self.on_error == OnError::Fail);
                if ends || error.action != StageAction::Isolate {
                    return Err(error);
                }
                if search.failed(piece) {
                    failed_on.insert(rows.start, error.code);
                    bodies.reject(error.message);
                }
            }
            start = end;
        }
        self.room.took(view.len(), bodies.byte_len());
        Ok((bodies, failed_on))
    }

    fn address(&mut self, view: &View, mut bodies: Bodies, unwritten: &mut Vec<Unwritten>) -> MessageBatch {
        let failed: Vec<usize> = bodies.rejects().iter().map(|(row, _)| *row).collect();
        let none = bodies.len();
        if self.tombstones {
            bodies.absent();
        }
        let mut messages = MessageBatch::new(self.formatter.content_type(), bodies);
        messages.reserve(view.len());
        let mut keys = Keys::new(self.key.as_ref(), self.encoders.of_batch(view.batch()));
        let mut names: HashMap<String, Arc<str>> = HashMap::new();
        let mut headers: HashMap<u32, Arc<[(String, String)]>> = HashMap::new();
        let (mut text, mut key) = (String::new(), Vec::new());
        for (row, event) in view.events().enumerate() {
            if failed.contains(&row) {
                continue;
            }
            let batch_row = view.rows()[row];
            let side = event.side();
            let mut lacks = |what: &str, path: String| {
                unwritten.push(Unwritten {
                    row: batch_row as usize,
                    kind: "routing",
                    code: "routing_missing_value",
                    reason: format!("{what} needs ${{{path}}}, and the event has no such value"),
                    on_error: OnError::Dlq,
                });
            };
            let routed = side.topic.as_ref().filter(|_| !self.ignores_routed);
            let destination = match (routed, &self.destination) {
                (Some(topic), _) => Some(intern(&mut names, topic)),
                (None, None) => None,
                (None, Some(template)) => {
                    text.clear();
                    if let Err(path) = template.render(&event, &mut text) {
                        lacks("the destination", path);
                        continue;
                    }
                    Some(intern(&mut names, &text))
                }
            };
            key.clear();
            let has_key = match keys.write(&event, &mut key) {
                Ok(has_key) => has_key,
                Err(path) => {
                    lacks("the key", path);
                    continue;
                }
            };
            let headers = match keys.headers(view.batch(), batch_row as usize) {
                Some(own) => own,
                None => {
                    headers.entry(event.side_index()).or_insert_with(|| side.headers.clone().into()).clone()
                }
            };
            let key = has_key.then_some(&key[..]);
            // Without a key it would mean nothing.
            let tombstone = self.tombstones && event.op() == Op::Delete && has_key;
            let again = tombstone.then(|| (destination.clone(), headers.clone()));
            messages.push(&event, batch_row, row as u32, key, destination, headers);
            let last = messages.len() - 1;
            if let Some((destination, headers)) = again.filter(|_| messages.get(last).body.is_some()) {
                messages.push(&event, batch_row, none as u32, key, destination, headers);
            }
        }
        messages
    }
}

/// What the bodies of a slice may come to, after so many bytes of those before it, where its rows are shown to the formatter in
/// parts: as much as in one call.
fn most_bytes(before: usize, slice: &View, limits: &StageLimits) -> TooMany {
    let images = slice.events().flat_map(|event| [event.before(), event.after()]);
    let rows = images.flatten().map(|row| row.byte_size()).sum::<usize>();
    let free = usize::try_from(limits.edit_bytes).unwrap_or(usize::MAX);
    let bound = before.saturating_add(free).saturating_add(BODY_FACTOR.saturating_mul(rows));
    TooMany { bound, made: Made::Bodies, limit: limits.name(Limit::EditBytes) }
}

/// Whether there is a body for each row up to the last one shown, and room for it.
fn check(bodies: &Bodies, rows: &Range<usize>, most: Option<TooMany>) -> Result<(), StageError> {
    if bodies.len() != rows.end {
        let (made, shown) = (bodies.len().saturating_sub(rows.start), rows.len());
        let text = format!("the formatter made {made} bodies for {shown} events");
        return Err(StageError::stop("formatter_count", text));
    }
    if let Some(most) = most.filter(|most| bodies.byte_len() > most.bound) {
        let text = format!("with the bodies before it in its slice it passes the bound of {most}");
        return Err(StageError::isolate("plugin_edit", text));
    }
    Ok(())
}

fn intern(names: &mut HashMap<String, Arc<str>>, text: &str) -> Arc<str> {
    match names.get(text) {
        Some(name) => name.clone(),
        None => {
            let name: Arc<str> = text.into();
            names.insert(text.to_owned(), name.clone());
            name
        }
    }
}

/// Which events are the last of their transaction that is left. Where the source knows no transactions each
/// event says for itself.
fn transaction_ends(view: &View, boundary: &Boundary) -> Vec<bool> {
    let last = view.len().saturating_sub(1);
    (0..view.len())
        .map(|row| {
            let event = view.event(row);
            match event.transaction_index() {
                None => event.is_last(),
                Some(_) if row == last => matches!(boundary, Boundary::Transaction),
                own => view.event(row + 1).transaction_index() != own,
            }
        })
        .collect()
}
