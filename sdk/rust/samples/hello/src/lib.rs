//! A first plugin: gives every row a greeting, made of the name that one of its columns holds.
//!
//! `deltaforge plugin new` begins one of your own; docs/PLUGINS.md walks through it.

use deltaforge_sdk::{Batch, CellKind, Failure, Image, Kind, Manifest, Processor, Value};

/// The plugin. One instance sees all batches of one processor, so it may keep state between calls; a call that fails
/// ends the instance.
#[derive(Debug)]
pub struct Hello {
    config: Config,
}

/// What stands under `config:` in the pipeline's file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The column that holds the name.
    name: String,
    /// The column that gets the greeting; made where a table lacks it.
    #[serde(default = "greeting")]
    into: String,
    /// The longest name that is greeted, in characters; a row with a longer one is rejected.
    #[serde(default = "sixty_four")]
    longest: usize,
}

fn greeting() -> String {
    "greeting".to_owned()
}

fn sixty_four() -> usize {
    64
}

impl Processor for Hello {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("hello", env!("CARGO_PKG_VERSION"), "greets every row by name")
    }

    fn open(config: Config) -> Result<Self, Failure> {
        if config.name == config.into {
            return Err(Failure::fatal("`into` must not be the column that holds the name"));
        }
        Ok(Self { config })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let Config { name, into, longest } = &self.config;
        if batch.column(name).is_none() {
            return Ok(()); // no table of this batch has it
        }
        let rows = batch.rows(&[name]);
        let target = batch.add_column(into, Kind::Of(CellKind::Text));
        for row in rows.iter() {
            // NULL, a value that the source did not log, a delete without an after image: nobody to greet.
            let value = row.after(0);
            let Some(name) = value.as_str() else { continue };
            if name.chars().count() > *longest {
                batch.reject(row.index(), "the name is too long to be greeted");
                continue;
            }
            batch.set(row.index(), Image::After, target, &Value::from(format!("Hello, {name}!")));
        }
        Ok(())
    }
}

deltaforge_sdk::processor!(Hello);

#[cfg(test)]
mod tests;
