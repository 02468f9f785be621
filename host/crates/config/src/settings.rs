//! Files of the host that are no pipelines: strict, with every problem in one report.

use std::path::Path as FilePath;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::catalog::Catalog;
use crate::expand::{self, Lookup};
use crate::path::Path;
use crate::problem::{Code, Report};
use crate::problems::Problems;
use crate::read::read_file;
use crate::text::Place;
use crate::{shape, yaml};

/// Reads a YAML file that holds one document, held against the schema of what it means. `environment` gives the values
/// for `${NAME}`; an empty file means that all is left out.
///
/// # Errors
///
/// A report of everything that is wrong in it.
pub fn read_settings<T: JsonSchema + DeserializeOwned>(
    file: &FilePath,
    environment: Lookup<'_>,
) -> Result<T, Report> {
    let shown = file.display().to_string();
    match read_file(file) {
        Ok(text) => read_settings_text(&shown, &text, environment),
        Err((code, message)) => {
            let mut problems = Problems::new(Some(&shown), "");
            problems.add(&Path::default(), Place::default(), code, message);
            Err(report(problems))
        }
    }
}

/// As [`read_settings`], from a text; `name` stands for the file in the report.
///
/// # Errors
///
/// As [`read_settings`].
pub fn read_settings_text<T: JsonSchema + DeserializeOwned>(
    name: &str,
    text: &str,
    environment: Lookup<'_>,
) -> Result<T, Report> {
    let mut problems = Problems::new(Some(name), text);
    let mut nodes = yaml::read(text, &mut problems);
    if let Some(second) = nodes.get(1) {
        let message = "the file holds more than one document";
        problems.add(&Path::default(), second.place, Code::Conflict, message).suggest("keep one of them");
    }
    let mut document = serde_json::json!({});
    let mut place = Place::default();
    if let Some(node) = nodes.first_mut() {
        expand::expand(node, environment, &mut problems);
        let schema = schemars::schema_for!(T).to_value();
        shape::check_against(&Catalog::default(), &schema, node, &mut problems);
        (document, place) = (node.to_json(), node.place);
    }
    if !problems.is_empty() {
        return Err(report(problems));
    }
    serde_json::from_value(document).map_err(|error| {
        problems.add(&Path::default(), place, Code::Invalid, error.to_string());
        report(problems)
    })
}

fn report(problems: Problems) -> Report {
    Report::of(problems.finish()).expect("a problem was found")
}
