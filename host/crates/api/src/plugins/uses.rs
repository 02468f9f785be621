//! Where plugins are used.

use deltaforge_engine::catalog::{PluginCatalog, PluginId, PluginVersion};
use deltaforge_engine::control::{PluginUse, RunningPlugin};

use super::PluginVersionView;
use crate::App;
use crate::access::Caller;
use crate::error::ApiError;

/// Where plugins are used: by what runs or may have to again, and by what documents name.
pub(super) struct Uses {
    running: Vec<RunningPlugin>,
    /// What documents name.
    named: Vec<Named>,
    /// What a rollback would put back.
    before: Vec<RunningPlugin>,
}

/// A version that a document's reference means now.
struct Named {
    /// The pipeline's tenant.
    tenant: String,
    id: PluginId,
    place: PluginUse,
    /// Whether nothing else would do in its place.
    only: bool,
}

/// Whether a document that names `reference` means `id` only: it is written out, or nothing else is there that it could
/// mean.
fn means_only(plugins: &dyn PluginCatalog, reference: &str, id: &PluginId, all: &[PluginId]) -> bool {
    !all.iter().any(|other| other != id && plugins.could_mean(reference, other))
}

impl Uses {
    /// Of every pipeline: looked up once for a request, whatever it asks.
    pub async fn of_all(app: &App) -> Result<Self, ApiError> {
        let running = app.control.running_plugins().await?;
        let all = app.plugins.ids().await?;
        let mut named = Vec::new();
        for (tenant, reference, place) in app.control.named_plugins() {
            if let Ok(Some(id)) = app.plugins.newest(&reference, &tenant).await {
                let only = means_only(&*app.plugins, &reference, &id, &all);
                named.push(Named { tenant, id, place, only });
            }
        }
        Ok(Self { running, named, before: Vec::new() })
    }

    /// The same with what a rollback would put back.
    pub async fn of_all_and_before(app: &App) -> Result<Self, ApiError> {
        Ok(Self { before: app.control.plugins_before().await?, ..Self::of_all(app).await? })
    }

    /// Why a version stays when nobody wants it gone in particular; `None`: nothing needs it.
    pub fn why_kept(&self, version: &PluginVersion) -> Option<String> {
        if let Some(first) = self.by_tenant(version).map(|(_, place)| place).next() {
            let does = if first.current { "runs it" } else { "names it, or may need it for a replay" };
            return Some(format!("{} {does}", shown_place(first)));
        }
        let named = self.named.iter().find(|one| one.id == version.id);
        if let Some(named) = named {
            return Some(format!("{} means it", shown_place(&named.place)));
        }
        let is_reached = |tenant: &str| version.id.tenant.as_deref().is_none_or(|own| own == tenant);
        let mut before = self.before.iter();
        let before = before.find(|one| version.is(&one.version) && is_reached(&one.tenant))?;
        Some(format!("{} goes back to it on a rollback", shown_place(&before.place)))
    }

    /// The uses of a version. A tenant's own is used by its pipelines only.
    pub fn of(&self, version: &PluginVersion) -> Vec<PluginUse> {
        self.by_tenant(version).map(|(_, place)| place.clone()).collect()
    }

    fn by_tenant<'a>(&'a self, version: &'a PluginVersion) -> impl Iterator<Item = (&'a str, &'a PluginUse)> {
        let is_reached = |tenant: &str| version.id.tenant.as_deref().is_none_or(|own| own == tenant);
        let running = self.running.iter().filter(|one| version.is(&one.version));
        let running = running.map(|one| (one.tenant.as_str(), &one.place));
        let is_there = |place: &PluginUse| {
            let same = |one: &RunningPlugin| {
                version.is(&one.version)
                    && (&one.place.pipeline, &one.place.stage, &one.place.sink)
                        == (&place.pipeline, &place.stage, &place.sink)
            };
            self.running.iter().any(same)
        };
        let named = self.named.iter();
        let named = named.filter(move |one| one.only && one.id == version.id && !is_there(&one.place));
        let named = named.map(|one| (one.tenant.as_str(), &one.place));
        running.chain(named).filter(move |(tenant, _)| is_reached(tenant))
    }

    /// A version with the uses that the caller sees.
    pub fn shown(&self, version: PluginVersion, caller: &Caller) -> PluginVersionView {
        let seen = self.by_tenant(&version).filter(|(tenant, _)| caller.sees(tenant));
        let seen = seen.map(|(_, place)| place.clone()).collect();
        PluginVersionView::of(version, seen)
    }
}

/// A place in words.
pub(super) fn shown_place(place: &PluginUse) -> String {
    match (&place.stage, &place.sink) {
        (Some(stage), _) => format!("processor {stage} of pipeline {}", place.pipeline),
        (None, Some(sink)) => format!("the envelope of sink {sink} of pipeline {}", place.pipeline),
        (None, None) => format!("pipeline {}", place.pipeline),
    }
}
