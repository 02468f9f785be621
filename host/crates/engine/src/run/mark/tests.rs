use super::*;
use crate::run::skip::tests::Sets;
use crate::run::standing::tests::Numbers;

fn piece(from: &str, rows_done: u64) -> Meta {
    let boundary = Boundary::Inside { transaction: "t".into(), rows_done };
    Meta::new("run", 1, 0, &Position::new(from), &Position::new("5"), &boundary)
}

fn start(resume: &str, rows: u64) -> Start {
    let inside = (rows > 0).then(|| ("t".to_owned(), rows));
    Start { known: true, resume: Some(Position::new(resume)), inside, ..Start::default() }
}

#[test]
fn pieces_of_a_transaction_that_a_sink_has_had_are_behind_it() {
    for from in ["4", "5"] {
        assert!(start("5", 100).is_past(&piece(from, 50), &Numbers));
        assert!(start("5", 100).is_past(&piece(from, 100), &Numbers));
        assert!(!start("5", 100).is_past(&piece(from, 150), &Numbers));
        assert!(!start("5", 0).is_past(&piece(from, 50), &Numbers));
        assert!(start("6", 0).is_past(&piece(from, 50), &Numbers), "the whole of it");
    }
}

#[test]
fn a_sink_begins_behind_the_pieces_of_its_spill() {
    let passed = |mut start: Start, spilled: &Meta| {
        start.pass(spilled, &Numbers);
        (start.resume.unwrap().as_str().to_owned(), start.inside.map_or(0, |(_, rows)| rows))
    };
    let is = |at: &str, rows| (at.to_owned(), rows);
    for from in ["4", "5"] {
        assert_eq!(passed(start("5", 100), &piece(from, 150)), is("5", 150));
        assert_eq!(passed(start("5", 200), &piece(from, 150)), is("5", 200));
        assert_eq!(passed(start("5", 0), &piece(from, 150)), is("5", 150));
        assert_eq!(passed(start("3", 0), &piece(from, 150)), is("5", 150));
        assert_eq!(passed(start("6", 0), &piece(from, 150)), is("6", 0));
    }
    let whole = Meta::new("run", 1, 0, &Position::new("4"), &Position::new("5"), &Boundary::Transaction);
    assert_eq!(passed(start("3", 7), &whole), is("5", 0));
    assert_eq!(passed(start("5", 7), &whole), is("5", 7));
    assert_eq!(passed(start("another", 0), &whole), is("another", 0));
}

/// Another server has the transactions in another order: the sink has later ones, and not this one.
#[test]
fn pieces_of_a_transaction_that_a_sink_lacks_are_not_behind_it() {
    let piece = |transaction: &str| {
        let boundary = Boundary::Inside { transaction: format!("{transaction} tables"), rows_done: 2 };
        Meta::new("run", 1, 0, &Position::new("AB"), &Position::new("AB"), &boundary)
    };
    assert!(start("ABC", 0).is_past(&piece("C"), &Sets));
    assert!(!start("ABC", 0).is_past(&piece("D"), &Sets));
}
