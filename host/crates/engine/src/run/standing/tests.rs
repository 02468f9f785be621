use async_trait::async_trait;
use deltaforge_model::Batch;
use serde_json::Value;

use super::*;
use crate::error::ConfigError;
use crate::source::{SourceContext, SourceError, SourceReader};

/// Positions are numbers; a text is of another history.
pub(crate) struct Numbers;

#[async_trait]
impl SourceFactory for Numbers {
    fn kind(&self) -> &'static str {
        "numbers"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::Schema::default()
    }

    fn validate(&self, _: &Value) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    async fn connect(&self, _: &Value, _: SourceContext) -> Result<Box<dyn SourceReader>, SourceError> {
        Err(SourceError::operator("no_source", "there is none"))
    }

    fn compare(&self, a: &Position, b: &Position) -> Order {
        let number = |position: &Position| position.as_str().parse::<u64>().ok();
        match number(a).zip(number(b)).map(|(a, b)| a.cmp(&b)) {
            Some(std::cmp::Ordering::Less) => Order::Before,
            Some(std::cmp::Ordering::Equal) => Order::Same,
            Some(std::cmp::Ordering::Greater) => Order::After,
            None => Order::Unrelated,
        }
    }

    fn rows_through(&self, _: &Batch, _: &Position) -> usize {
        0
    }
}

fn at(resume: &str, rows: u64) -> Arc<[u8]> {
    let inside = (rows > 0).then(|| ("t".to_owned(), rows));
    tell("shop", &Mark { resume: Position::new(resume), inside })
}

fn stored(resume: &str, state: Option<&Arc<[u8]>>) -> Start {
    Start {
        known: true,
        resume: Some(Position::new(resume)),
        state: state.map(|state| state.to_vec()),
        ..Start::default()
    }
}

/// Where a sink begins by what the store and it itself say.
fn begins(mut start: Start, stands: Option<&Arc<[u8]>>) -> Result<(Option<String>, u64), Failure> {
    begin(&mut start, stands.map(|stands| &**stands), "out", "shop", &Numbers)?;
    assert_eq!(start.state.as_deref(), stands.map(|stands| &**stands));
    Ok((start.resume.map(|at| at.as_str().to_owned()), start.inside.map_or(0, |(_, rows)| rows)))
}

fn is(position: &str, rows: u64) -> Result<(Option<String>, u64), Failure> {
    Ok((Some(position.to_owned()), rows))
}

#[test]
fn a_sinks_own_position_beats_the_store() {
    let (earlier, later) = (at("5", 0), at("9", 3));
    assert_eq!(begins(stored("5", Some(&earlier)), Some(&later)), is("9", 3), "a crash came in between");
    assert_eq!(begins(stored("9", Some(&later)), Some(&earlier)), is("5", 0), "it lost what it had");
    assert_eq!(begins(Start::default(), Some(&later)), is("9", 3), "the store was lost");
}

/// What lies in its spill comes after what it has again.
#[test]
fn a_sink_that_lost_what_it_had_does_not_begin_behind_its_spill() {
    let (earlier, later) = (at("5", 0), at("9", 3));
    let is_back = |mut start: Start, stands: &Arc<[u8]>| {
        begin(&mut start, Some(&**stands), "out", "shop", &Numbers).unwrap();
        start.is_back
    };
    assert!(is_back(stored("9", Some(&later)), &earlier));
    assert!(!is_back(stored("5", Some(&earlier)), &later));
    assert!(!is_back(stored("9", Some(&earlier)), &earlier));
}

#[test]
fn the_store_may_be_further_by_what_had_nothing_for_the_sink() {
    let kept = at("5", 0);
    assert_eq!(begins(stored("8", Some(&kept)), Some(&kept)), is("8", 0));
}

/// What is delivered of a queue and of a spill in one transaction is told one after the other, with the state behind both.
#[test]
fn the_store_may_be_behind_what_it_knows_the_sink_to_have() {
    let kept = at("5", 40);
    assert_eq!(begins(stored("3", Some(&kept)), Some(&kept)), is("5", 40));
    let inside = |rows| Start { inside: Some(("t".to_owned(), rows)), ..stored("5", Some(&kept)) };
    assert_eq!(begins(inside(30), Some(&kept)), is("5", 40));
    assert_eq!(begins(inside(50), Some(&kept)), is("5", 50));
}

/// What docs/errors/kafka_checkpoint_missing.md advises: a while without `exactly_once`.
#[test]
fn a_sink_that_does_not_keep_its_position_leaves_no_word_of_it() {
    let kept = at("5", 0);
    let mut without = stored("5", Some(&kept));
    drop_foreign(&mut without, false);
    assert_eq!(without.state, None);
    let mut with = stored("5", Some(&kept));
    drop_foreign(&mut with, true);
    assert!(with.state.is_some());
    let other: Arc<[u8]> = b"a file's".as_slice().into();
    let (mut file, mut once) = (stored("5", Some(&other)), stored("5", Some(&other)));
    drop_foreign(&mut file, false);
    drop_foreign(&mut once, true);
    assert_eq!((file.state.is_some(), once.state), (true, None));
}

#[test]
fn a_sink_that_did_not_always_keep_its_position_begins_at_the_later_one() {
    let kept = at("5", 2);
    assert_eq!(begins(stored("8", None), Some(&kept)), is("8", 0));
    assert_eq!(begins(stored("5", None), Some(&kept)), is("5", 2));
    assert_eq!(begins(stored("3", None), Some(&kept)), is("5", 2));
    assert_eq!(begins(stored("3", None), None), is("3", 0), "it keeps it from now on");
    let failure = begins(stored("another", None), Some(&kept)).expect_err("no order");
    assert_eq!(failure.code, "unrelated_positions");
    assert!(!failure.message.contains("another"), "it tells what it does not understand: {failure}");
}

#[test]
fn a_position_of_another_source_is_not_this_ones() {
    let other = tell("other", &Mark { resume: Position::new("9"), inside: None });
    assert_eq!(begins(Start::default(), Some(&other)), Ok((None, 0)));
    let failure = begins(Start::default(), Some(&b"{}"[..].into())).expect_err("no position");
    assert_eq!(failure.code, "bad_checkpoint");
}

#[test]
fn a_position_that_a_newer_build_wrote_is_not_guessed_at() {
    let newer: Arc<[u8]> = br#"{"v":2,"source":"shop","resume":"9","inside":{"transaction":"t"}}"#[..].into();
    let failure = begins(stored("5", Some(&at("5", 0))), Some(&newer)).expect_err("it says something else");
    assert_eq!((failure.code.as_str(), failure.retriable), ("bad_checkpoint", false));
    assert!(failure.message.contains("version 2"), "{failure}");
}
