//! The Debezium envelope, as its JSON converter writes it with schemas off: the native event as `payload` beside a
//! `schema` of `null`.

use deltaforge_sdk::{Batch, Bodies, Failure, Formatter, Manifest};

#[cfg(test)]
mod tests;

/// The envelope; it has no options.
#[derive(Debug)]
pub struct Debezium;

/// Its configuration: nothing.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

impl Formatter for Debezium {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("debezium", env!("CARGO_PKG_VERSION"), "the event as the payload of a Debezium message")
    }

    fn open(_: Config) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn format(&mut self, batch: &Batch<'_>, bodies: &mut Bodies) -> Result<(), Failure> {
        let mut events = batch.json_events();
        for row in 0..batch.len() {
            bodies.push(|out| {
                out.extend_from_slice(br#"{"schema":null,"payload":"#);
                events.write(row, out);
                out.push(b'}');
            });
        }
        Ok(())
    }
}

deltaforge_sdk::formatter!(Debezium);
