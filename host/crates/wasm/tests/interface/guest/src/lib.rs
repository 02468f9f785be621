//! Works on rows by their column `note`, through the test-only version of the interface.
#![allow(missing_docs)]

use std::sync::OnceLock;

#[cfg(not(feature = "formatter"))]
mod bindings {
    wit_bindgen::generate!({ world: "processor", path: "../next" });
}
#[cfg(feature = "formatter")]
mod bindings {
    wit_bindgen::generate!({ world: "formatter", path: "../next" });
}

use bindings::deltaforge::plugin::events::Batch;
use bindings::deltaforge::plugin::log::{self, Line};
use bindings::deltaforge::plugin::types::Failure;
use bindings::exports::deltaforge::plugin::lifecycle;

/// What it marks rows with.
static MARK: OnceLock<String> = OnceLock::new();

struct Next;

impl lifecycle::Guest for Next {
    fn describe() -> lifecycle::About {
        lifecycle::About { plugin: "next 0.1.0".to_owned(), tables: vec!["orders".to_owned()] }
    }

    fn open(config: Vec<u8>) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(&config);
        let mark = text.split("\"mark\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let Some(mark) = mark else {
            return Err(Failure { again: false, code: 7, message: "it needs a mark".to_owned() });
        };
        MARK.set(mark.to_owned()).expect("opened once");
        Ok(())
    }
}

#[cfg(not(feature = "formatter"))]
impl bindings::exports::deltaforge::plugin::processing::Guest for Next {
    fn transform(batch: &Batch) -> Result<u32, Failure> {
        for row in 0..batch.size() {
            match batch.text(row, "note").as_deref() {
                Some("trap") => trap_deep_inside(),
                Some("later") => {
                    return Err(Failure { again: true, code: 1, message: "not yet".to_owned() });
                }
                Some("away") => batch.discard(row),
                Some(note) => {
                    batch.set_text(row, "note", &note.to_uppercase());
                    batch.mark(row, MARK.get().expect("it is open"));
                }
                None => {}
            }
        }
        Ok(batch.size())
    }
}

#[cfg(not(feature = "formatter"))]
#[inline(never)]
fn trap_deep_inside() {
    log::say(&Line { urgency: 9, text: "a note that nobody can stand".to_owned() });
    panic!("no");
}

#[cfg(feature = "formatter")]
impl bindings::exports::deltaforge::plugin::formatting::Guest for Next {
    fn media_type() -> String {
        log::say(&Line { urgency: 1, text: "it is asked what it makes".to_owned() });
        "text/plain".to_owned()
    }

    fn format(
        batch: &Batch,
    ) -> Result<Vec<bindings::exports::deltaforge::plugin::formatting::Message>, Failure> {
        use bindings::exports::deltaforge::plugin::formatting::Message;
        let mark = MARK.get().expect("it is open");
        let message = |row| match batch.text(row, "note").as_deref() {
            Some("unwritable") => Message::Unwritable("nobody can write that".to_owned()),
            Some(note) => Message::Body(format!("{mark}: {note}").into_bytes()),
            None => Message::Tombstone,
        };
        Ok((0..batch.size()).map(message).collect())
    }
}

bindings::export!(Next with_types_in bindings);
