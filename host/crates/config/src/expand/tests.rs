#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Reference, expand, replace};
use crate::problem::Code;
use crate::problems::Problems;
use crate::yaml::{self, Node};

fn environment(name: &str) -> Option<String> {
    match name {
        "A" => Some("alpha".to_owned()),
        "_1" => Some("42".to_owned()),
        "EMPTY" => Some(String::new()),
        "NESTED" => Some("${A}".to_owned()),
        "YAML" => Some("[1, 2]".to_owned()),
        _ => None,
    }
}

fn expanded(text: &str) -> Result<Value, Vec<Code>> {
    let mut problems = Problems::new(Some("t"), text);
    let mut nodes: Vec<Node> = yaml::read(text, &mut problems);
    expand(&mut nodes[0], &environment, &mut problems);
    let codes: Vec<Code> = problems.finish().into_iter().map(|problem| problem.code).collect();
    if codes.is_empty() { Ok(nodes[0].to_json()) } else { Err(codes) }
}

#[test]
fn only_capital_names_are_the_environment() {
    let text = "[\"${A}-${_1}\", \"${a}\", \"$A\", \"${source.table}\", \"${A.b}\", \"${1A}\", \"${}\", \"${A\", \"${A-x}\"]";
    let expected =
        json!(["alpha-42", "${a}", "$A", "${source.table}", "${A.b}", "${1A}", "${}", "${A", "${A-x}"]);
    assert_eq!(expanded(text).unwrap(), expected);
}

#[test]
fn a_whole_plain_scalar_has_the_type_of_its_text() {
    let text = "a: ${_1}\nb: '${_1}'\nc: ${_1}0\nd: ${NONE:-true}\ne: ${EMPTY}\nf: ${YAML}\ng: ${NESTED}\n";
    let expected =
        json!({ "a": 42, "b": "42", "c": "420", "d": true, "e": null, "f": "[1, 2]", "g": "${A}" });
    assert_eq!(expanded(text).unwrap(), expected);
}

#[test]
fn a_default_stands_for_unset_and_for_empty() {
    let text = "a: ${NONE:-x y}\nb: ${EMPTY:-7}\nc: ${A:-z}\nd: ${NONE:-}\n";
    assert_eq!(expanded(text).unwrap(), json!({ "a": "x y", "b": 7, "c": "alpha", "d": null }));
    assert_eq!(expanded("a: ${NONE}").unwrap_err(), [Code::EnvUnset]);
    assert_eq!(expanded("a: ${NONE:-${A}}").unwrap_err(), [Code::EnvSyntax]);
}

#[test]
fn scripts_and_keys_are_left_alone() {
    let text = "spec:\n  processors:\n    - inline: '`${A}`'\n      note: ${A}\n${A}: 1\n";
    let expected = json!({ "spec": { "processors": [{ "inline": "`${A}`", "note": "alpha" }] }, "${A}": 1 });
    assert_eq!(expanded(text).unwrap(), expected);
}

proptest! {
    #[test]
    fn templates_are_left_alone(before in "[^$]{0,9}", path in "[a-z][a-zA-Z0-9_.]{0,12}", after in "[^$]{0,9}") {
        let text = format!("{before}${{{path}}}{after}");
        prop_assert_eq!(replace(&text, &mut |_| Some("x".to_owned())), None);
    }

    #[test]
    fn text_without_references_is_left_alone(text in "[^{]{0,40}") {
        prop_assert_eq!(replace(&text, &mut |_| Some("x".to_owned())), None);
    }

    #[test]
    fn every_reference_is_replaced(names in prop::collection::vec("[A-Z_][A-Z0-9_]{0,5}", 1..5), gap in "[a-z ]{1,5}") {
        let text: String = names.iter().map(|name| format!("${{{name}}}{gap}")).collect();
        let expected: String = names.iter().map(|name| format!("<{name}>{gap}")).collect();
        let replaced = replace(&text, &mut |reference| match reference {
            Reference::Variable { name, default: None } => Some(format!("<{name}>")),
            _ => None,
        });
        prop_assert_eq!(replaced.map(|expanded| expanded.text), Some(expected));
    }

    #[test]
    fn any_text_is_taken(text in "(\\$|\\{|\\}|:-|A|\\PC){0,40}") {
        let _ = replace(&text, &mut |_| Some("x".to_owned()));
    }
}
