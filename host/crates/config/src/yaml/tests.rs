#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::{plain_value, read};
use crate::problem::Code;
use crate::problems::Problems;

fn documents(text: &str) -> (Vec<Value>, Vec<Code>) {
    let mut problems = Problems::new(Some("t"), text);
    let nodes = read(text, &mut problems);
    let codes = problems.finish().into_iter().map(|problem| problem.code).collect();
    (nodes.iter().map(super::Node::to_json).collect(), codes)
}

#[test]
fn plain_scalars_follow_the_core_schema() {
    for (text, value) in [
        ("", json!(null)),
        ("~", json!(null)),
        ("NULL", json!(null)),
        ("nULL", json!("nULL")),
        ("true", json!(true)),
        ("FALSE", json!(false)),
        ("yes", json!("yes")),
        ("on", json!("on")),
        ("0", json!(0)),
        ("-7", json!(-7)),
        ("+7", json!(7)),
        ("007", json!(7)),
        ("0o17", json!(15)),
        ("0xff", json!(255)),
        ("0x", json!("0x")),
        ("0xfg", json!("0xfg")),
        ("1_000", json!("1_000")),
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("1.", json!(1.0)),
        ("1e3", json!(1000.0)),
        ("-1.5E-1", json!(-0.15)),
        (".", json!(".")),
        ("e3", json!("e3")),
        ("1e", json!("1e")),
        ("1.2.3", json!("1.2.3")),
        ("-", json!("-")),
        ("16/B374D848", json!("16/B374D848")),
        ("2024-01-01", json!("2024-01-01")),
        ("12:30", json!("12:30")),
    ] {
        assert_eq!(plain_value(text), Some(value), "{text}");
    }
    for text in [".inf", "-.INF", ".nan", "1e999", "0xffffffffffffffffff"] {
        assert_eq!(plain_value(text), None, "{text}");
    }
}

#[test]
fn quotes_tags_and_blocks_make_text() {
    let text = "a: '5'\nb: \"x\\ty\"\nc: !!str 5\nd: |\n  one\n  two\ne: >\n  one\n  two\n";
    let (documents, codes) = documents(text);
    assert_eq!(codes, []);
    assert_eq!(documents, [json!({ "a": "5", "b": "x\ty", "c": "5", "d": "one\ntwo\n", "e": "one two\n" })]);
}

#[test]
fn aliases_stand_for_what_they_name() {
    let (read, codes) = documents("a: &x {b: &y [1, 2]}\nc: *x\nd: *y\n");
    assert_eq!(codes, []);
    assert_eq!(read, [json!({ "a": { "b": [1, 2] }, "c": { "b": [1, 2] }, "d": [1, 2] })]);
    // Anchors end with their document.
    let (read, codes) = documents("a: &x 1\n---\nb: *x\n");
    assert_eq!((read.len(), codes), (1, vec![Code::UnsupportedYaml]));
}

#[test]
fn a_file_with_a_byte_order_mark_is_read() {
    let (read, codes) = documents("\u{feff}a: 1\n");
    assert_eq!((read, codes), (vec![json!({ "a": 1 })], vec![]));
}

#[test]
fn documents_before_a_broken_one_are_kept() {
    let (read, codes) = documents("a: 1\n---\nb: [1\n");
    assert_eq!((read, codes), (vec![json!({ "a": 1 })], vec![Code::Syntax]));
}
