//! MY-DESCRIPTION.

use deltaforge_sdk::{Batch, Bodies, Failure, Formatter, Image, Manifest};

/// The plugin.
#[derive(Debug)]
pub struct MyPlugin {
    config: Config,
}

/// What stands under `config:` of the sink's envelope.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name of the member that holds the row.
    #[serde(default = "row")]
    member: String,
}

fn row() -> String {
    "row".to_owned()
}

impl Formatter for MyPlugin {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_DESCRIPTION"),
        )
    }

    fn open(config: Config) -> Result<Self, Failure> {
        if matches!(config.member.as_str(), "" | "table" | "op") {
            return Err(Failure::fatal("`member` must be a name of its own"));
        }
        Ok(Self { config })
    }

    fn format(&mut self, batch: &Batch<'_>, bodies: &mut Bodies) -> Result<(), Failure> {
        let (tables, table_of, ops) = (batch.tables(), batch.table_of(), batch.ops());
        let mut events = batch.json_events();
        let member = text(&self.config.member);
        for row in 0..batch.len() {
            let table = tables[table_of[row] as usize].name();
            bodies.push(|out| {
                let start = format!(
                    "{{\"table\":{},\"op\":{},{member}:",
                    text(table),
                    text(ops[row].code())
                );
                out.extend_from_slice(start.as_bytes());
                // A deleted row has an image of before only; a truncated table has none.
                if !events.write_image(row, Image::After, out)
                    && !events.write_image(row, Image::Before, out)
                {
                    out.extend_from_slice(b"null");
                }
                out.push(b'}');
            });
        }
        Ok(())
    }
}

/// A text as JSON.
fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

deltaforge_sdk::formatter!(MyPlugin);

#[cfg(test)]
mod tests;
