//! Shows the ways to touch a batch at one piece of work: it covers texts that nobody shall read, tags rows whose number
//! is large, and counts a version up. The batch it leaves is the same whichever way it takes.
//!
//! The same plugin is written in Go, JavaScript and Python under `sdk/*/examples/scrub`; all pass the golden files in
//! `sdk/golden/scrub`.

use deltaforge_sdk::{Batch, Failure, Flat, Image, Manifest, Processor, Value, presence};

/// The plugin.
#[derive(Debug)]
pub struct Scrub {
    config: Config,
}

/// What stands under `config:` in the pipeline's file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The column of texts that are replaced, in both images.
    redact: String,
    /// What stands there instead.
    with: String,
    /// The column whose value decides about the tag `large`.
    amount: String,
    /// The value that is not large yet.
    over: i64,
    /// The column that is counted up in the image after the change.
    version: String,
    /// The way.
    by: Way,
}

#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    Columns,
    Rows,
    Cells,
    Events,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            redact: "email".to_owned(),
            with: "***".to_owned(),
            amount: "amount".to_owned(),
            over: 1000,
            version: "version".to_owned(),
            by: Way::Columns,
        }
    }
}

impl Processor for Scrub {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "scrub",
            env!("CARGO_PKG_VERSION"),
            "redacts a column, tags large rows, counts versions",
        )
    }

    fn open(config: Config) -> Result<Self, Failure> {
        Ok(Self { config })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        match self.config.by {
            Way::Columns => self.columns(batch),
            Way::Rows => self.rows(batch),
            Way::Cells => self.cells(batch),
            Way::Events => self.events(batch)?,
        }
        Ok(())
    }
}

impl Scrub {
    fn columns(&self, batch: &mut Batch<'_>) {
        let Config { redact, with, amount, over, version, .. } = &self.config;
        for image in Image::BOTH {
            let texts = batch.flats(image, redact);
            let mut fresh = Flat::default();
            for present in &texts.present {
                match *present {
                    presence::VALUE => fresh.push(presence::VALUE, with.as_bytes()),
                    _ => fresh.push(presence::NONE, &[]),
                }
            }
            batch.set_flats(image, redact, &fresh);
        }
        let amounts = batch.ints(Image::After, amount);
        let large = amounts.present.iter().zip(&amounts.values);
        let large: Vec<bool> =
            large.map(|(there, value)| *there == presence::VALUE && value > over).collect();
        batch.tag_where(Some(&large), "large");
        let mut versions = batch.ints(Image::After, version);
        for (there, value) in versions.present.iter().zip(&mut versions.values) {
            if *there == presence::VALUE {
                *value += 1;
            }
        }
        batch.set_ints(Image::After, version, &versions);
    }

    fn rows(&self, batch: &mut Batch<'_>) {
        let Config { redact, with, amount, over, version, .. } = &self.config;
        let (redacted, counted) = (batch.column(redact), batch.column(version));
        let rows = batch.rows(&[redact, amount, version]);
        for row in rows.iter() {
            for image in Image::BOTH {
                if let (Some(column), Some(_)) = (redacted, row.get(image, 0).as_str()) {
                    batch.set(row.index(), image, column, &Value::from(with.as_str()));
                }
            }
            if row.after(1).as_i64().is_some_and(|value| value > *over) {
                batch.tag(row.index(), "large");
            }
            if let (Some(column), Some(next)) = (counted, next(&row.after(2))) {
                batch.set(row.index(), Image::After, column, &next);
            }
        }
    }

    fn cells(&self, batch: &mut Batch<'_>) {
        let Config { redact, with, amount, over, version, .. } = &self.config;
        let (redacted, amount, counted) = (batch.column(redact), batch.column(amount), batch.column(version));
        for row in 0..batch.len() {
            for image in Image::BOTH {
                if let Some(column) = redacted
                    && batch.get(row, image, column).as_str().is_some()
                {
                    batch.set(row, image, column, &Value::from(with.as_str()));
                }
            }
            if let Some(column) = amount
                && batch.get(row, Image::After, column).as_i64().is_some_and(|value| value > *over)
            {
                batch.tag(row, "large");
            }
            if let Some(column) = counted
                && let Some(next) = next(&batch.get(row, Image::After, column))
            {
                batch.set(row, Image::After, column, &next);
            }
        }
    }

    fn events(&self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let Config { redact, with, amount, over, version, .. } = &self.config;
        batch.for_each(|event| {
            for image in Image::BOTH {
                if event.get(image, redact).as_str().is_some() {
                    event.set(image, redact, &Value::from(with.as_str()));
                }
            }
            if event.after(amount).as_i64().is_some_and(|value| value > *over) {
                event.tag("large");
            }
            if let Some(next) = next(&event.after(version)) {
                event.set(Image::After, version, &next);
            }
            Ok(())
        })
    }
}

/// The number after this one, of the same kind: a cell takes the kind that it is given.
fn next(held: &Value<'_>) -> Option<Value<'static>> {
    match held {
        Value::Int(number) => Some(Value::Int(number + 1)),
        Value::UInt(number) => Some(Value::UInt(number + 1)),
        _ => None,
    }
}

deltaforge_sdk::processor!(Scrub);

#[cfg(test)]
mod tests {
    use deltaforge_sdk::testing::assert_golden_files;

    use crate::Scrub;

    #[test]
    fn what_comes_out_is_what_the_golden_files_say() {
        assert_golden_files::<Scrub>(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../golden/scrub"));
    }
}
