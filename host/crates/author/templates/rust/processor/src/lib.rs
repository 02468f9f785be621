//! MY-DESCRIPTION.

use deltaforge_sdk::{Batch, Failure, Image, Manifest, Processor};

/// The plugin. One instance sees all batches of one processor, so it may keep state between calls; a call that fails
/// ends the instance.
#[derive(Debug)]
pub struct MyPlugin {
    config: Config,
}

/// What stands under `config:` in the pipeline's file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The column whose digits are hidden.
    column: String,
}

impl Processor for MyPlugin {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_DESCRIPTION"),
        )
    }

    fn open(config: Config) -> Result<Self, Failure> {
        if config.column.is_empty() {
            return Err(Failure::fatal("`column` is empty"));
        }
        Ok(Self { config })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        for image in Image::BOTH {
            batch.map_texts(image, &self.config.column, |text, out| {
                out.extend(
                    text.chars()
                        .map(|c| if c.is_ascii_digit() { '#' } else { c }),
                );
            });
        }
        Ok(())
    }
}

deltaforge_sdk::processor!(MyPlugin);

#[cfg(test)]
mod tests;
