//! Looking at a component before it is published.

use std::sync::Arc;

use deltaforge_engine::usage::Usage;

use crate::error::cut;
use crate::grants::Grants;
use crate::instance::Blueprint;
use crate::limits::{DEFAULT_LIMITS, Limits};
use crate::plugin::{Description, PluginKind};
use crate::runtime::{LoadError, Runtime};
use crate::voice::{Voice, free_lines};

/// What a component is and says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Inspection {
    /// SHA-256, hex.
    pub sha256: String,
    /// What it does.
    pub kind: PluginKind,
    /// The version of the interface it was built against.
    pub interface: String,
    /// What it imports, by full name.
    pub imports: Vec<String>,
    /// The grants it cannot do without.
    pub grants: Vec<&'static str>,
    /// What it says of itself.
    pub description: Description,
    /// Who made it, as the component's section `authors` says; empty: not said.
    pub author: String,
    /// Its licence, an SPDX expression, as the section `licenses` says; empty: not said.
    pub licence: String,
}

impl Runtime {
    /// Compiles a component and asks it what it is, in an instance that is thrown away.
    ///
    /// # Errors
    ///
    /// When it is no plugin, imports what no grant offers, or does not answer.
    pub async fn inspect(
        self: &Arc<Self>,
        bytes: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Inspection, LoadError> {
        let runtime = self.clone();
        let (author, licence) = maker(bytes.as_ref());
        let loaded = crate::factory::off_thread(move || runtime.load(None, bytes.as_ref())).await?;
        let needs = |grant: &str| {
            let without =
                Grants { metrics: grant != "metrics", clock: grant != "clock", random: grant != "random" };
            loaded.imports.iter().any(|import| without.allow(import).is_err())
        };
        let grants = Grants::NAMES.into_iter().filter(|grant| needs(grant)).collect();
        let blueprint = Blueprint {
            runtime: self.clone(),
            loaded: loaded.clone(),
            who: "inspect".to_owned(),
            grants: Grants::default(),
            usage: Usage::nobodys(),
            _seat: None,
            _kept: None,
            limits: Limits::new(DEFAULT_LIMITS),
            voice: Arc::new(Voice::new("", "", "inspect", "inspected", free_lines(DEFAULT_LIMITS))),
            config: String::new(),
        };
        let description = blueprint.describe().await.map_err(|text| LoadError::NotAPlugin(cut(&text)))?;
        crate::schema::look_at(&description.config_schema).await.map_err(|text| {
            LoadError::NotAPlugin(format!("its configuration's schema is none: {}", cut(&text)))
        })?;
        Ok(Inspection {
            sha256: loaded.digest.clone(),
            kind: loaded.kind,
            interface: loaded.interface.clone(),
            imports: loaded.imports.clone(),
            grants,
            description,
            author,
            licence,
        })
    }
}

/// Who made a component and under which licence: standard custom sections, which anybody may have written.
fn maker(component: &[u8]) -> (String, String) {
    let Ok(payload) = wasm_metadata::Payload::from_binary(component) else { return Default::default() };
    let found = payload.metadata();
    let text = |value: Option<String>| value.map(|text| cut(text.trim())).unwrap_or_default();
    (
        text(found.authors.as_ref().map(ToString::to_string)),
        text(found.licenses.as_ref().map(ToString::to_string)),
    )
}
