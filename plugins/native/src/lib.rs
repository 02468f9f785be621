//! The native envelope: an event as the host sees it, without anything around it.
//!
//! Members in this order, those in brackets only where there is something to say: `before`, `after`, `source`, `op`,
//! `ts_ms`, \[`transaction`\], `event_id`, \[`tenant_id`\], `schema_version`, \[`ddl`\], \[`message`\], \[`tags`\],
//! \[`synthetic`\], \[`tx_end`\], and what a script has added.

use deltaforge_sdk::{Batch, Bodies, Failure, Formatter, Manifest};

#[cfg(test)]
mod tests;

/// The envelope; it has no options.
#[derive(Debug)]
pub struct Native;

/// Its configuration: nothing.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

impl Formatter for Native {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("native", env!("CARGO_PKG_VERSION"), "the event as it is, as JSON")
    }

    fn open(_: Config) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn format(&mut self, batch: &Batch<'_>, bodies: &mut Bodies) -> Result<(), Failure> {
        let mut events = batch.json_events();
        for row in 0..batch.len() {
            bodies.push(|out| events.write(row, out));
        }
        Ok(())
    }
}

deltaforge_sdk::formatter!(Native);
