//! Which code a stage runs, and which shapes a sink's messages, is a function of the position.
//!
//! A swap is stored before the first event passes the new version, with the position it takes over from. A
//! replay after a crash runs each stretch of the log on the version that ran it first, so every event bears
//! one version, whatever happens.

use deltaforge_model::Position;
use deltaforge_model::position::Order;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::stage::StageVersion;
use crate::state::{StateError, StateStore};

/// Who swaps in the host's own name.
pub const BY_ITSELF: &str = "deltaforge";
/// Who puts in place what a pipeline's document says.
const BY_CONFIGURATION: &str = "configuration";
/// Generations that are kept for people to see, beside those that a replay may need.
const MOST_PAST: usize = 100;
/// Generations that a replay may need before no more are taken: a checkpoint that stays behind keeps them all.
pub const MOST_NEEDED: usize = 1_000;
/// Bytes of the ones, and of the others, in the state store: a history is one value, written with every swap.
const MOST_BYTES: usize = 8 << 20;
/// Characters that are kept of what somebody says a swap is for.
const MOST_WHY: usize = 300;

/// What somebody wrote, as far as it is kept: nothing grows by what somebody likes to write.
pub fn cut(text: &str) -> String {
    // Nothing that a terminal would take for an order, or that turns text around.
    let is_order = |char: char| {
        char.is_control()
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut chars = text.chars().map(|char| if is_order(char) { ' ' } else { char });
    let mut short: String = chars.by_ref().take(MOST_WHY).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

/// What can be swapped in a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swappable<'a> {
    /// The stage with this id.
    Stage(&'a str),
    /// The envelope of the sink with this id.
    Envelope(&'a str),
}

/// Whether it is a stage or an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// A stage.
    Stage,
    /// An envelope.
    Envelope,
}

impl Part {
    /// The one of these with an id: a stage's, or a sink's.
    pub fn of(self, id: &str) -> Swappable<'_> {
        match self {
            Self::Stage => Swappable::Stage(id),
            Self::Envelope => Swappable::Envelope(id),
        }
    }
}

impl Swappable<'_> {
    /// Which of the two it is.
    pub fn part(self) -> Part {
        match self {
            Self::Stage(_) => Part::Stage,
            Self::Envelope(_) => Part::Envelope,
        }
    }

    /// The key of its history in the state store.
    pub(crate) fn key(self, tenant: &str, pipeline: &str) -> String {
        match self {
            Self::Stage(stage) => format!("swap/{tenant}/{pipeline}/{stage}"),
            Self::Envelope(sink) => format!("envelope/{tenant}/{pipeline}/{sink}"),
        }
    }
}

impl std::fmt::Display for Swappable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stage(stage) => write!(f, "processor {stage}"),
            Self::Envelope(sink) => write!(f, "the envelope of sink {sink}"),
        }
    }
}

/// How a generation came into its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapKind {
    /// A start of the pipeline found no generation yet, or a block or a file that had changed meanwhile.
    Start,
    /// Somebody gave the part another version, configuration or script.
    Deploy,
    /// The host did, since a newer version of what is followed was there.
    Follow,
    /// Somebody had what ran before put back.
    Rollback,
    /// The host did, since a newer generation did worse.
    AutomaticRollback,
}

/// Who had something swapped, and what for, in their own words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Who.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// What for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// How, where the rest does not tell; [`Generation::kind`] does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SwapKind>,
}

impl Note {
    /// A note. A long text is cut.
    pub fn new(by: impl Into<String>, why: impl AsRef<str>) -> Self {
        Self { by: by.into(), why: cut(why.as_ref()), kind: None }
    }

    /// It says how, unless it does already.
    #[must_use]
    pub fn of(mut self, kind: SwapKind) -> Self {
        self.kind.get_or_insert(kind);
        self
    }
}

/// One version at work from one position on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Grows with every swap; the first is 1.
    pub generation: u64,
    /// What runs: the reference as given (`mask@1.1.0`) and the code behind it.
    #[serde(flatten)]
    pub version: StageVersion,
    /// The reference to build it from.
    pub code: String,
    /// The configuration in this generation.
    pub config: Value,
    /// Events after this position pass it; `None`: from the beginning.
    pub from: Option<String>,
    /// When it was stored, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who put it in place, and what for.
    #[serde(flatten)]
    pub note: Note,
    /// So many batches it has yet to get through no worse than what ran before, or that is put back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probation: u32,
    /// The generation that did not, so that this one was put back for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<u64>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// About how many bytes a value is as JSON, without making it.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| bytes_of(item) + 1).sum::<usize>() + 2,
        Value::Object(members) => {
            members.iter().map(|(key, value)| key.len() + bytes_of(value) + 4).sum::<usize>() + 2
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

impl Generation {
    /// Whether it is the same code with the same configuration.
    fn is_same_as(&self, other: &Self) -> bool {
        (&self.version.digest, &self.config) == (&other.version.digest, &other.config)
    }

    /// About how large it is in the state store.
    fn bytes(&self) -> usize {
        const THE_REST: usize = 500;
        bytes_of(&self.config) + THE_REST
    }

    /// The position it takes over from.
    pub fn from(&self) -> Option<Position> {
        self.from.as_deref().map(Position::new)
    }

    /// How it came into its place. `None`: somebody had it put there, and the host of that time stored no more
    /// of it.
    pub fn kind(&self) -> Option<SwapKind> {
        let Note { by, kind, .. } = &self.note;
        match kind {
            _ if self.instead_of.is_some() => Some(SwapKind::AutomaticRollback),
            Some(kind) => Some(*kind),
            None if by == BY_CONFIGURATION => Some(SwapKind::Start),
            None if by == BY_ITSELF => Some(SwapKind::Follow),
            None => None,
        }
    }
}

/// The generations of one stage or envelope that a replay may still need, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// What the pipeline's YAML said that the generations were made against. Something else ends them.
    pub block: Value,
    /// Oldest first; never empty once stored.
    pub generations: Vec<Generation>,
    /// Those before, which no replay needs; oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<Generation>,
}

impl History {
    /// What the keys of all histories begin with: of stages, and of envelopes.
    pub(crate) const ALL: [&str; 2] = ["swap/", "envelope/"];

    /// Reads a history; `None`: it never ran.
    ///
    /// # Errors
    ///
    /// When the store fails or holds something else.
    pub async fn load(store: &dyn StateStore, key: &str) -> Result<Option<Self>, StateError> {
        let Some(bytes) = store.get(key).await? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| StateError::backend(format!("read {key}"), error))
    }

    /// Stores it; durable on return.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn save(&self, store: &dyn StateStore, key: &str) -> Result<(), StateError> {
        store.put_many(self.records(key, None)?, None).await
    }

    /// What is stored of it, and with it of a swap that the host did by itself: all or nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub(crate) fn records(
        &self,
        key: &str,
        own: Option<&OwnSwap>,
    ) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let failed = |key: &str, error| StateError::backend(format!("write {key}"), error);
        let bytes = serde_json::to_vec(self).map_err(|error| failed(key, error))?;
        let mut entries = vec![(key.to_owned(), bytes)];
        if let Some(own) = own {
            let key = format!("{}{}", OwnSwap::PREFIX, Uuid::now_v7());
            let bytes = serde_json::to_vec(own).map_err(|error| failed(&key, error))?;
            entries.push((key, bytes));
        }
        Ok(entries)
    }

    /// The index of the generation that events after `position` pass.
    pub fn at(&self, position: Option<&Position>, compare: impl Fn(&Position, &Position) -> Order) -> usize {
        generation_at(&self.generations, position, compare)
    }

    /// The number of the newest generation.
    pub fn newest(&self) -> u64 {
        self.generations.iter().chain(&self.past).map(|one| one.generation).max().unwrap_or(0)
    }

    /// The newest generation before the newest that was something else, another code or another configuration, and
    /// that proved itself. It was in place also if no event came meanwhile.
    pub fn before(&self) -> Option<&Generation> {
        let (now, earlier) = self.generations.split_last()?;
        let before = earlier.iter().chain(&self.past);
        before.filter(|one| one.probation == 0 && !one.is_same_as(now)).max_by_key(|one| one.generation)
    }

    /// What may be put back: [`History::before`]; and what is before that, as long as the newest is on probation and may itself
    /// be taken back.
    pub fn may_come_back(&self) -> Vec<&Generation> {
        let Some(before) = self.before() else { return Vec::new() };
        let is_judged = self.generations.last().is_some_and(|now| now.probation > 0);
        let known = self.generations.iter().chain(&self.past).filter(|_| is_judged);
        let earlier = known.filter(|one| one.probation == 0 && !one.is_same_as(before));
        [before].into_iter().chain(earlier.max_by_key(|one| one.generation)).collect()
    }

    /// All that is known, newest first.
    pub fn all(self) -> Vec<Generation> {
        let mut all = self.past;
        all.extend(self.generations);
        // One that no event has passed is past before those that it followed.
        all.sort_by_key(|one| std::cmp::Reverse(one.generation));
        all
    }

    /// Keeps a generation for people to see that no position is processed with any more.
    pub fn retire(&mut self, generation: Generation) {
        self.past.push(generation);
        let mut bytes = 0;
        let kept = self.past.iter().rev().take(MOST_PAST).take_while(|one| {
            bytes += one.bytes();
            bytes <= MOST_BYTES
        });
        // What a rollback puts back stays, however large it is.
        let kept = kept.count().max(2);
        self.past.drain(..self.past.len().saturating_sub(kept));
    }

    /// Whether a replay needs so much already that no other generation may come.
    pub fn is_full(&self) -> bool {
        let bytes = || self.generations.iter().map(Generation::bytes).sum::<usize>();
        self.generations.len() >= MOST_NEEDED || bytes() >= MOST_BYTES
    }

    /// The newest generation is for all events, and the others are past.
    pub fn begin_anew(&mut self) {
        let Some(mut newest) = self.generations.pop() else { return };
        for ended in std::mem::take(&mut self.generations) {
            self.retire(ended);
        }
        newest.from = None;
        self.generations.push(newest);
    }

    /// Retires generations that ended at or before `lowest`, the lowest position a replay can begin at. Answers whether
    /// there were any.
    pub fn prune(
        &mut self,
        lowest: Option<&Position>,
        compare: impl Fn(&Position, &Position) -> Order,
    ) -> bool {
        self.retire_first(self.at(lowest, compare))
    }

    /// Retires the `first` generations of those that a replay may need. Answers whether there were any.
    pub(crate) fn retire_first(&mut self, first: usize) -> bool {
        let ended: Vec<Generation> = self.generations.drain(..first).collect();
        let any = !ended.is_empty();
        ended.into_iter().for_each(|one| self.retire(one));
        any
    }
}

/// A swap that the host did by itself: a version that is followed, or one that was put back. It is stored with the history
/// that it is in, until whoever keeps account of commands has taken it away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnSwap {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The pipeline's tenant.
    pub tenant: String,
    /// The pipeline.
    pub pipeline: String,
    /// The stage, or the sink whose envelope it is.
    pub part: String,
    /// What ran before.
    pub previous: String,
    /// What runs now.
    pub current: String,
    /// SHA-256 of its code, hex.
    pub digest: String,
    /// Its generation.
    pub generation: u64,
    /// The generation that did worse, where it was put back for that.
    pub instead_of: Option<u64>,
    /// What for.
    pub why: String,
}

impl OwnSwap {
    /// What the keys of all begin with.
    const PREFIX: &str = "own-swap/";

    /// Those that nobody has taken away yet, oldest first, each by its key.
    ///
    /// # Errors
    ///
    /// When the store fails or holds something else.
    pub async fn untold(store: &dyn StateStore) -> Result<Vec<(String, Self)>, StateError> {
        let read = |(key, bytes): (String, Vec<u8>)| match serde_json::from_slice(&bytes) {
            Ok(own) => Ok((key, own)),
            Err(error) => Err(StateError::backend(format!("read {key}"), error)),
        };
        store.list(Self::PREFIX).await?.into_iter().map(read).collect()
    }
}

/// The index of the generation, of these, that events after `position` pass.
pub(crate) fn generation_at(
    generations: &[Generation],
    position: Option<&Position>,
    compare: impl Fn(&Position, &Position) -> Order,
) -> usize {
    let reached = |generation: &&Generation| match (generation.from(), position) {
        (None, _) => true,
        (Some(_), None) => false,
        // A position of another history of the source is none that is yet to come.
        (Some(from), Some(position)) => compare(&from, position) != Order::After,
    };
    generations.iter().skip(1).take_while(reached).count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn generation(generation: u64, from: Option<u64>) -> Generation {
        let version = StageVersion { plugin: "p".into(), digest: generation.to_string() };
        let from = from.map(|n| n.to_string());
        Generation {
            generation,
            version,
            code: "p".into(),
            config: Value::Null,
            from,
            at_ms: 0,
            note: Note::default(),
            probation: 0,
            instead_of: None,
        }
    }

    fn compare(a: &Position, b: &Position) -> Order {
        let number = |p: &Position| p.as_str().parse::<u64>().unwrap_or(0);
        match number(a).cmp(&number(b)) {
            std::cmp::Ordering::Less => Order::Before,
            std::cmp::Ordering::Equal => Order::Same,
            std::cmp::Ordering::Greater => Order::After,
        }
    }

    #[test]
    fn the_generation_is_a_function_of_the_position() {
        let mut history = History {
            block: Value::Null,
            generations: vec![generation(1, None), generation(2, Some(10)), generation(3, Some(20))],
            past: Vec::new(),
        };
        let at = |history: &History, n: u64| history.at(Some(&Position::new(n.to_string())), compare);
        assert_eq!(
            [at(&history, 0), at(&history, 9), at(&history, 10), at(&history, 19), at(&history, 99)],
            [0, 0, 1, 1, 2]
        );
        assert_eq!(history.at(None, compare), 0);
        history.prune(Some(&Position::new("15")), compare);
        assert_eq!(history.generations[0].generation, 2);
        assert_eq!(history.past[0].generation, 1);
        history.begin_anew();
        assert_eq!((history.generations.len(), history.past.len()), (1, 2));
        assert_eq!((history.generations[0].generation, history.generations[0].from()), (3, None));
    }

    #[test]
    fn a_position_of_another_history_of_the_source_is_reached() {
        let generations = [generation(1, None), generation(2, Some(10)), generation(3, Some(20))];
        let at = |n: &str| generation_at(&generations, Some(&Position::new(n)), |_, _| Order::Unrelated);
        assert_eq!(at("5 in another"), 2);
        assert_eq!(generation_at(&generations, None, compare), 0);
    }

    #[test]
    fn what_ran_before_is_found_also_when_no_replay_needs_it() {
        let mut history =
            History { block: Value::Null, generations: vec![generation(1, None)], past: Vec::new() };
        assert_eq!(history.before(), None);
        let same = Generation { generation: 2, from: Some("5".into()), ..history.generations[0].clone() };
        history.generations.push(same);
        assert_eq!(history.before(), None, "the same again is nothing to go back to");
        history.generations.push(generation(3, Some(10)));
        history.prune(Some(&Position::new("15")), compare);
        assert_eq!((history.generations.len(), history.before().map(|one| one.generation)), (1, Some(2)));
        let replaced =
            History { generations: vec![generation(1, None), generation(4, Some(20))], ..history.clone() };
        assert_eq!(replaced.before().map(|one| one.generation), Some(2), "in the order in which they came");
        assert_eq!(replaced.all().iter().map(|one| one.generation).collect::<Vec<_>>(), [4, 2, 1, 1]);
        let unproven = Generation { probation: 1, ..generation(4, Some(20)) };
        history.retire(unproven);
        assert_eq!(
            history.before().map(|one| one.generation),
            Some(2),
            "what never proved itself does not count"
        );
        let numbers = |history: &History| -> Vec<u64> {
            history.may_come_back().iter().map(|one| one.generation).collect()
        };
        let proven: Vec<Generation> = (1..=3).map(|number| generation(number, Some(number))).collect();
        let ran = |newest: Generation, past: usize| {
            let generations = proven[past..].iter().cloned().chain([newest]).collect();
            History { generations, past: proven[..past].to_vec(), ..History::default() }
        };
        assert_eq!(numbers(&ran(generation(4, Some(20)), 1)), [3]);
        for past in 1..=3 {
            let judged = Generation { probation: 1, ..generation(4, Some(20)) };
            assert_eq!(
                numbers(&ran(judged, past)),
                [3, 2],
                "3 is put back if 4 does worse, and 2 is before it"
            );
        }
        for number in 5..300 {
            history.retire(generation(number, Some(number)));
        }
        assert_eq!((history.past.len(), history.past[99].generation), (MOST_PAST, 299));
    }

    #[test]
    fn a_history_has_a_bound_by_number_and_by_bytes() {
        let large = |number: u64| Generation {
            config: Value::String("x".repeat(64 << 10)),
            ..generation(number, Some(number))
        };
        let size = |history: &History| serde_json::to_vec(history).expect("a history").len();
        let mut history = History::default();
        for number in 0..300 {
            history.retire(large(number));
        }
        assert!(size(&history) < MOST_BYTES + (1 << 20), "{}", size(&history));
        assert_eq!((history.past.len(), history.past.last().expect("one").generation), (100, 299));
        let huge = Generation { config: Value::String("x".repeat(MOST_BYTES)), ..generation(300, Some(300)) };
        history.retire(huge.clone());
        history.retire(Generation { generation: 301, ..huge });
        assert_eq!(history.past.iter().map(|one| one.generation).collect::<Vec<_>>(), [300, 301]);

        let mut history = History::default();
        while !history.is_full() {
            history.generations.push(large(1));
        }
        assert!(size(&history) < MOST_BYTES + (1 << 20), "{}", size(&history));
        let generations = (0..MOST_NEEDED as u64).map(|number| generation(number, Some(number))).collect();
        let mut history = History { generations, ..History::default() };
        assert!(history.is_full());
        history.generations.pop();
        assert!(!history.is_full());
    }

    #[test]
    fn how_a_generation_came_is_told_also_by_records_that_do_not_say_it() {
        let stored = |more: Value| {
            let mut held = serde_json::to_value(generation(2, Some(5))).expect("a generation");
            held.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
            serde_json::from_value::<Generation>(held).expect("a generation that is stored").kind()
        };
        for (held, kind) in [
            (json!({ "by": "configuration" }), Some(SwapKind::Start)),
            (json!({ "by": "deltaforge", "instead_of": 1 }), Some(SwapKind::AutomaticRollback)),
            (json!({ "by": "deltaforge", "why": "follows mask@1" }), Some(SwapKind::Follow)),
            (json!({ "by": "ada" }), None),
            (json!({}), None),
            (json!({ "by": "configuration", "kind": "deploy" }), Some(SwapKind::Deploy)),
            (json!({ "by": "ada", "kind": "rollback" }), Some(SwapKind::Rollback)),
        ] {
            assert_eq!(stored(held.clone()), kind, "{held}");
        }
        let note = Note::new("ada", "").of(SwapKind::Follow).of(SwapKind::Deploy);
        assert_eq!(note.kind, Some(SwapKind::Follow));
        assert_eq!(serde_json::to_value(Note::new("ada", "")).expect("a note"), json!({ "by": "ada" }));
    }

    #[test]
    fn what_a_swap_is_for_is_cut() {
        assert_eq!(Note::new("me", "é".repeat(300)).why, "é".repeat(300));
        assert_eq!(Note::new("me", "two\nlines, \u{1b}[31mred\u{202e}, \0").why, "two lines,  [31mred ,  ");
        assert_eq!(Note::new("me", "é".repeat(3_000)).why, format!("{}…", "é".repeat(300)));
    }
}
