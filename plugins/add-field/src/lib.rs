//! Gives rows more columns: constants, copies of other columns, and what the event says of itself.
//!
//! A column that a value is taken from and that the row lacks gives no column; a NULL gives NULL. A text with `${…}`
//! in it needs all its values, and is NULL without one of them.

use std::collections::HashSet;

use deltaforge_plugin_kit::{Changes, Fact, Facts, Template, value_of};
use deltaforge_sdk::{Batch, Failure, Image, Kind, Manifest, Op, Processor, Table, Value};

mod config;
#[cfg(test)]
mod tests;

pub use config::{Collision, Config, Field, Images};

/// Adds columns.
pub struct AddField {
    fields: Vec<(String, Source)>,
    images: &'static [Image],
    on_collision: Collision,
}

/// Where a column has its values from.
enum Source {
    Constant(Value<'static>),
    Fact(Fact),
    Copy(String),
    Template(Template, Vec<(String, Fact)>),
}

impl Processor for AddField {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("add-field", env!("CARGO_PKG_VERSION"), "gives rows more columns")
    }

    fn open(config: Config) -> Result<Self, Failure> {
        if config.fields.is_empty() {
            return Err(Failure::fatal("fields: name at least one column to add"));
        }
        let mut names = HashSet::new();
        let fields = config.fields.into_iter().enumerate().map(|(at, field)| {
            let problem = |problem: String| Failure::fatal(format!("fields[{at}].{problem}"));
            if field.name.is_empty() || !names.insert(field.name.clone()) {
                return Err(problem(format!("name: {:?} is empty or stands there twice", field.name)));
            }
            let name = field.name.clone();
            Ok((name, Source::new(field).map_err(problem)?))
        });
        Ok(Self {
            fields: fields.collect::<Result<_, _>>()?,
            images: match config.images {
                Images::After => &[Image::After],
                Images::Before => &[Image::Before],
                Images::Both => &Image::BOTH,
            },
            on_collision: config.on_collision,
        })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let tables = batch.tables();
        self.refuse_keys(&tables)?;
        let rest: Vec<&(String, Source)> =
            self.fields.iter().filter(|(name, source)| !self.fill(batch, &tables, name, source)).collect();
        if rest.is_empty() {
            return Ok(());
        }
        let facts = Facts::read(batch, rest.iter().flat_map(|(_, source)| source.facts()));
        // Per field its own column and the one it copies.
        let names: Vec<&str> =
            rest.iter().flat_map(|(name, source)| [name.as_str(), source.copied().unwrap_or(name)]).collect();
        let rows = batch.rows(&names);
        let mut changes = Changes::default();
        let mut collided: Vec<(usize, &str)> = Vec::new();
        for view in rows.iter() {
            for image in self.images.iter().filter(|image| view.has(**image)) {
                for (at, (name, source)) in rest.iter().enumerate() {
                    if view.get(*image, 2 * at) != Value::Absent {
                        match self.on_collision {
                            Collision::Reject => collided.push((view.index(), name)),
                            Collision::Keep => continue,
                            Collision::Replace => {}
                        }
                    }
                    let value = match source {
                        Source::Copy(_) => view.get(*image, 2 * at + 1),
                        source => source.value(&facts, view.index()),
                    };
                    if value != Value::Absent {
                        let column = changes.column(name);
                        changes.set(view.index(), *image, column, value.into_owned());
                    }
                }
            }
        }
        let without: HashSet<usize> = collided.iter().map(|(row, _)| *row).collect();
        changes.apply(batch, &without);
        collided.dedup_by_key(|(row, _)| *row);
        for (row, name) in collided {
            batch.reject(row, &format!("add-field: the row has a column {name:?} already"));
        }
        Ok(())
    }
}

impl AddField {
    /// Whose key changes is another row: that is not for a constant to say.
    fn refuse_keys(&self, tables: &[Table]) -> Result<(), Failure> {
        for table in tables {
            let is_key = |name: &str| table.column(name).is_some_and(|at| table.is_key(at));
            if self.on_collision == Collision::Replace
                && let Some((name, _)) = self.fields.iter().find(|(name, _)| is_key(name))
            {
                return Err(Failure::fatal(format!(
                    "{}.{name} belongs to the key: another value would make it another row",
                    table.qualified()
                )));
            }
        }
        Ok(())
    }

    /// The fast way: a constant that every row gets, in a column that no table has.
    fn fill(&self, batch: &mut Batch<'_>, tables: &[Table], name: &str, source: &Source) -> bool {
        let Source::Constant(value) = source else { return false };
        let new = tables.iter().all(|table| table.column(name).is_none());
        // A row without such an image must not make its table have the column.
        let everywhere = self.images.contains(&Image::After)
            && batch.ops().iter().all(|op| matches!(op, Op::Create | Op::Read | Op::Update));
        if !new || !everywhere {
            return false;
        }
        batch.add_column(name, Kind::Any);
        for image in self.images {
            batch.fill(*image, name, value);
        }
        true
    }
}

impl Source {
    fn new(field: Field) -> Result<Self, String> {
        match (field.value, field.from, field.copy, field.template) {
            (Some(value), None, None, None) => Ok(Self::Constant(value_of(&value.to_string()))),
            (None, Some(path), None, None) => {
                Ok(Self::Fact(Fact::parse(&path).map_err(|problem| format!("from: {problem}"))?))
            }
            (None, None, Some(column), None) if !column.is_empty() => Ok(Self::Copy(column)),
            (None, None, None, Some(text)) => {
                let problem = |problem: String| format!("template: {problem}");
                let template = Template::parse(&text).map_err(problem)?;
                let facts = template.paths().map(|path| Ok((path.to_owned(), Fact::parse(path)?)));
                let facts = facts.collect::<Result<_, String>>().map_err(problem)?;
                Ok(Self::Template(template, facts))
            }
            _ => Err("value: say one of value, from, copy and template".to_owned()),
        }
    }

    fn facts(&self) -> Vec<&Fact> {
        match self {
            Self::Fact(fact) => vec![fact],
            Self::Template(_, facts) => facts.iter().map(|(_, fact)| fact).collect(),
            Self::Constant(_) | Self::Copy(_) => Vec::new(),
        }
    }

    fn copied(&self) -> Option<&str> {
        match self {
            Self::Copy(column) => Some(column),
            _ => None,
        }
    }

    fn value<'v>(&'v self, facts: &'v Facts<'_>, row: usize) -> Value<'v> {
        match self {
            Self::Constant(value) => value.by_ref(),
            Self::Fact(fact) => facts.value(row, fact),
            Self::Template(template, paths) => {
                let text = template.render(|path| {
                    let (_, fact) = paths.iter().find(|(known, _)| known == path)?;
                    facts.text(row, fact)
                });
                text.map_or(Value::Null, Value::from)
            }
            Self::Copy(_) => Value::Absent,
        }
    }
}

deltaforge_sdk::processor!(AddField);
