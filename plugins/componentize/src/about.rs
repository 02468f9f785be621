//! Who made a component: standard custom sections (`authors`, `licenses`, …), which other tools read too.

use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use wasm_metadata::{AddMetadata, AddMetadataField, Payload};

/// What a project says of itself beside what the plugin's `describe` answers; empty: not said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does.
    pub description: String,
    /// Who made it.
    pub authors: String,
    /// Its licence, an SPDX expression.
    pub licence: String,
    /// Where its source is, a URL.
    pub source: String,
}

fn field<T>(name: &str, text: &str) -> Result<AddMetadataField<T>>
where
    T: FromStr + Clone + std::fmt::Debug,
    T::Err: std::fmt::Display,
{
    if text.is_empty() {
        return Ok(AddMetadataField::Keep);
    }
    let value = text.parse().map_err(|error: T::Err| anyhow!("{name} {text:?}: {error}"))?;
    Ok(AddMetadataField::Set(value))
}

/// Writes it into a component; the same in gives the same bytes.
///
/// # Errors
///
/// When the licence is no SPDX expression, the source no URL, or the component is none.
pub fn embed(component: &[u8], about: &About) -> Result<Vec<u8>> {
    let mut add = AddMetadata::default();
    add.name = field("name", &about.name)?;
    add.version = field("version", &about.version)?;
    add.description = field("description", &about.description)?;
    add.authors = field("authors", &about.authors)?;
    add.licenses = field("licence", &about.licence)?;
    add.source = field("source", &about.source)?;
    add.to_wasm(component).context("write the component's metadata")
}

/// Reads what [`embed`] wrote.
///
/// # Errors
///
/// When the component cannot be read.
pub fn read(component: &[u8]) -> Result<About> {
    let payload = Payload::from_binary(component)?;
    let found = payload.metadata();
    let text = |value: Option<String>| value.unwrap_or_default();
    Ok(About {
        name: text(found.name.clone()),
        version: text(found.version.as_ref().map(ToString::to_string)),
        description: text(found.description.as_ref().map(ToString::to_string)),
        authors: text(found.authors.as_ref().map(ToString::to_string)),
        licence: text(found.licenses.as_ref().map(ToString::to_string)),
        source: text(found.source.as_ref().map(ToString::to_string)),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_component_says_who_made_it() {
        let component = crate::encode(b"\0asm\x01\0\0\0").unwrap();
        let about = About {
            name: "mask".to_owned(),
            version: "1.2.3".to_owned(),
            description: "hides".to_owned(),
            authors: "Ä <a@example.com>".to_owned(),
            licence: "MIT OR Apache-2.0".to_owned(),
            source: "https://example.com/mask".to_owned(),
        };
        let told = embed(&component, &about).unwrap();
        assert_eq!(read(&told).unwrap(), about);
        assert_eq!(embed(&component, &about).unwrap(), told, "the same again");
        assert_eq!(read(&embed(&component, &About::default()).unwrap()).unwrap(), About::default());
        let wrong = About { licence: "do what you like".to_owned(), ..About::default() };
        assert!(embed(&component, &wrong).unwrap_err().to_string().contains("licence"));
    }
}
