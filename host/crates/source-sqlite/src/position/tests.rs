//! What positions say, and how they compare.

use super::*;

#[test]
fn numbers_that_doubles_round_are_texts_and_stored_ones_are_read() {
    let large = [i64::MAX, i64::MIN, (1 << 53) + 1, -7];
    for number in large {
        let mut at = At::start("x".into());
        at.sequence = 120;
        at.nonce = Some(number);
        at.tables = BTreeMap::from([("t".to_owned(), number)]);
        at.jobs.push(Job {
            generation: "g".into(),
            started_ms: 1,
            since: 0,
            tables: vec!["t".into()],
            after: vec![Mark::Int(number), Mark::Real((number as f64).to_bits())],
            schema: None,
            rows: 0,
        });
        at.phase = Phase::Snapshot;
        let position = at.position();
        let json: serde_json::Value = serde_json::from_str(position.as_str()).expect("JSON");
        assert_eq!(json["nonce"], number.to_string());
        assert_eq!(json["tables"]["t"], number.to_string());
        assert_eq!(json["jobs"][0]["after"][0]["int"], number.to_string());
        assert_eq!(json["sequence"], 120);
        assert_eq!(At::parse(&position).expect("parses"), at);
        // As an earlier build stored it.
        let bits = (number as f64).to_bits();
        let mut stored = json;
        stored["nonce"] = number.into();
        stored["tables"]["t"] = number.into();
        stored["jobs"][0]["after"] = serde_json::json!([{ "int": number }, { "real": bits }]);
        let stored = Position::new(stored.to_string());
        assert_eq!(At::parse(&stored).expect("parses"), at);
        assert_eq!(compare(&stored, &position), Order::Same);
    }
    assert!(At::parse(&Position::new(At::start("x".into()).position().as_str())).is_ok(), "no nonce yet");
}

#[test]
fn positions_order_by_sequence_then_by_copied_rows() {
    let at = |sequence, rows| At { sequence, snapshot_rows: rows, ..At::start("a".into()) }.position();
    assert_eq!(compare(&at(1, 0), &at(2, 0)), Order::Before);
    assert_eq!(compare(&at(2, 5), &at(2, 4)), Order::After);
    assert_eq!(compare(&at(2, 5), &at(2, 5)), Order::Same);
    let other = At::start("b".into()).position();
    assert_eq!(compare(&at(0, 0), &other), Order::Unrelated);
    assert_eq!(compare(&at(0, 0), &Position::new("{}")), Order::Unrelated);
}

#[test]
fn a_position_that_cannot_be_read_is_told_without_keys_of_rows() {
    let newer = r#"{"v":2,"kind":"sqlite","sequence":7,"jobs":[{"after":[{"text":"somebody"}]}]}"#;
    let told = At::parse(&Position::new(newer)).expect_err("of a newer build").to_string();
    assert!(told.contains("sequence: 7") && !told.contains("somebody"), "{told}");
}

#[test]
fn a_position_reads_back_and_names_its_phase() {
    let mut at = At::start("x".into());
    assert!(at.position().as_str().contains(r#""phase":"log""#));
    at.jobs.push(Job {
        generation: "g".into(),
        started_ms: 1,
        since: 0,
        tables: vec!["t".into()],
        after: vec![Mark::Int(3), Mark::Real(1.5f64.to_bits()), Mark::Blob("00".into())],
        schema: Some(2),
        rows: 9,
    });
    let position = at.position();
    assert!(position.as_str().contains(r#""phase":"snapshot""#));
    assert_eq!(At::parse(&position).expect("parses").jobs, at.jobs);
}

fn copying(sequence: i64, rows: u64, after: i64) -> At {
    let job = Job {
        generation: "g".into(),
        started_ms: 1,
        since: 0,
        tables: vec!["t".into()],
        after: vec![Mark::Int(after)],
        schema: None,
        rows,
    };
    At { sequence, snapshot_rows: rows, jobs: vec![job], ..At::start("a".into()) }
}

/// Where two positions meet: the change, and the last row of the copy.
fn met(a: &At, b: &At) -> (i64, Vec<Mark>) {
    let there = meet(&a.position(), &b.position()).expect("one history");
    assert_eq!(meet(&b.position(), &a.position()), Some(there.clone()), "whichever comes first");
    for one in [a, b] {
        assert_ne!(compare(&there, &one.position()), Order::After);
    }
    let there = At::parse(&there).expect("parses");
    (there.sequence, there.jobs.first().map_or(Vec::new(), |job| job.after.clone()))
}

#[test]
fn positions_of_one_run_meet_at_the_lower_one() {
    let (low, high) = (copying(100, 2_000, 2_000), copying(200, 7_900, 7_900));
    assert_eq!(met(&low, &high), (100, vec![Mark::Int(2_000)]));
    assert_eq!(meet(&low.position(), &At::start("b".into()).position()), None);
}

#[test]
fn positions_of_different_runs_meet_where_neither_lacks_anything() {
    let (low, high) = (copying(100, 2_000, 2_000), copying(200, 7_900, 7_900));
    let mut again = low.clone();
    again.go_on(&[low.clone(), high.clone()]);
    assert_eq!((again.snapshot_rows, &again.jobs), (7_900, &low.jobs), "it counts on after all of them");
    // It has more changes, and fewer rows, with another count.
    let moved = At {
        sequence: 250,
        snapshot_rows: 7_950,
        jobs: vec![Job { after: vec![Mark::Int(2_100)], ..low.jobs[0].clone() }],
        ..again.clone()
    };
    assert_eq!(met(&moved, &high), (200, vec![Mark::Int(2_000)]));
    // It has all rows.
    let done = At { sequence: 300, snapshot_rows: 9_000, jobs: Vec::new(), ..again.clone() };
    assert_eq!(met(&done, &high), (200, vec![Mark::Int(2_000)]));
    assert_eq!(met(&done, &moved), (250, vec![Mark::Int(2_100)]), "on one branch");
    // A copy that the log asked for after the fork: it asks again where the other one has not got so far.
    let mut asked = moved;
    asked.begin(Job { generation: "late".into(), since: 220, ..low.jobs[0].clone() });
    assert_eq!(met(&asked, &high), (200, vec![Mark::Int(2_000)]));
    let there = At::parse(&meet(&asked.position(), &high.position()).expect("they meet")).expect("parses");
    assert_eq!(there.jobs.len(), 1);
    let later = At { sequence: 230, ..high };
    let there = At::parse(&meet(&asked.position(), &later.position()).expect("they meet")).expect("parses");
    assert_eq!(there.jobs.iter().map(|job| job.since).collect::<Vec<_>>(), [0, 220]);
}

#[test]
fn polled_positions_meet_at_the_lower_row_of_each_table() {
    let at = |sequence, tables: &[(&str, i64)]| At {
        sequence,
        tables: tables.iter().map(|(name, row)| ((*name).to_owned(), *row)).collect(),
        ..At::start("a".into())
    };
    let (a, b) = (at(14, &[("a", 5), ("b", 9)]), at(24, &[("a", 7), ("b", 3), ("c", 1)]));
    let there = At::parse(&meet(&a.position(), &b.position()).expect("they meet")).expect("parses");
    assert_eq!(there, at(14, &[("a", 5), ("b", 3)]));
}
