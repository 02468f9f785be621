//! No input makes the reader panic or run away.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use deltaforge_config::Catalog;
use proptest::prelude::*;

use crate::host::{catalog, environment};

/// One for all cases: its schema is put together once.
static CATALOG: LazyLock<Catalog> = LazyLock::new(catalog);

/// Pieces that YAML documents here are made of, and some that break them.
fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "metadata",
        "name",
        "tenant",
        "spec",
        "source",
        "sinks",
        "processors",
        "type",
        "config",
        "id",
        "sqlite",
        "stdout",
        "file",
        "null",
        "plugin",
        "inline",
        "envelope",
        "encoding",
        "batch",
        "commit_policy",
        "mode",
        "quorum",
        "limits",
        "journal",
        ": ",
        ":",
        "- ",
        "-",
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "!x ",
        "|\n",
        ">\n",
        "\"",
        "'",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "? ",
        "~",
        "true",
        "-1",
        "1e999",
        ".inf",
        "0x",
        "${DB_PATH}",
        "${UNSET}",
        "${A:-",
        "${after.id}",
        "\t",
        "\r",
        "\u{feff}",
        "\u{85}",
        "\u{0}",
        "é",
        "🦀",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(pieces in prop::collection::vec(piece(), 0..80)) {
        let text = pieces.concat();
        if let Err(report) = CATALOG.read_text("hostile.yaml", &text, &environment) {
            prop_assert!(!report.problems().is_empty());
            prop_assert!(!report.to_string().is_empty());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = CATALOG.read_text("hostile.yaml", &String::from_utf8_lossy(&bytes), &environment);
    }

    #[test]
    fn a_good_document_with_one_change_is_read_or_refused(at in any::<prop::sample::Index>(), new in piece()) {
        let good = include_str!("../fixtures/good/full.yaml");
        let places: Vec<usize> = good.char_indices().map(|(at, _)| at).collect();
        let at = places[at.index(places.len())];
        let text = format!("{}{new}{}", &good[..at], &good[at..]);
        if let Err(report) = CATALOG.read_text("hostile.yaml", &text, &environment) {
            prop_assert!(!report.to_string().contains("hunter2"), "{}", report);
        }
    }

    #[test]
    fn any_json_is_read_or_refused(text in "\\PC{0,40}", number in any::<f64>()) {
        for value in [serde_json::json!(text), serde_json::json!({ "spec": { &text: number } }), serde_json::json!([text])] {
            let _ = CATALOG.read_json(&value);
        }
    }
}

#[test]
fn large_inputs_end_in_time() {
    let started = Instant::now();
    for text in [
        "[".repeat(1 << 20),
        "{a: ".repeat(200_000),
        "- ".repeat(200_000),
        "? ".repeat(200_000),
        "a: &a [*a]\n".repeat(10_000),
        "!".repeat(1 << 20),
        "a: \"".to_owned() + &"\\".repeat(1 << 20),
        "${".repeat(1 << 18),
        "x: ${DB_PATH".to_owned() + &":-${".repeat(1 << 18),
        (0..60_000).map(|at| format!("key{at}: x\n")).collect(),
        " ".repeat(1 << 20),
        "\n".repeat(1 << 20),
        "a:\n".to_owned() + &(1..2_000).map(|depth| " ".repeat(depth) + "a:\n").collect::<String>(),
    ] {
        let before = Instant::now();
        let _ = CATALOG.read_text("large.yaml", &text, &environment);
        let took = before.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?} for {}", text.chars().take(20).collect::<String>());
    }
    assert!(started.elapsed() < Duration::from_secs(90));
}
