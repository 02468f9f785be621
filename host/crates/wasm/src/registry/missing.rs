//! What is said of a plugin that is not there: what is, and what was probably meant.

use std::fs;
use std::path::{Component, Path, PathBuf};

use deltaforge_engine::suggest::near;
use semver::Version;

use super::{Registry, RegistryError, folders};
use crate::reference::{Wanted, is_name, tenants_folder};

impl Registry {
    /// What is said of a plugin that is not there: the versions that are, or the name that was meant.
    pub(super) fn missing(
        &self,
        reference: &str,
        tenant: Option<&str>,
        name: &str,
        wanted: Option<&Wanted>,
        published: &[Version],
    ) -> Result<String, RegistryError> {
        // What ran here was there; somebody took it away, perhaps by hand.
        let gone = match self.first_used(reference) {
            Some(sha256) => {
                format!(" any more (it ran here, with SHA-256 {sha256}; publish that again to have it)")
            }
            None => String::new(),
        };
        let builtins = || self.builtins.iter().filter(|_| tenant.is_none());
        let own = builtins().filter(|builtin| builtin.name == name).map(|builtin| &builtin.version);
        let mut versions: Vec<&Version> = published.iter().chain(own).collect();
        if !versions.is_empty() {
            versions.sort();
            versions.dedup();
            let listed: Vec<String> = versions.iter().map(|version| version.to_string()).collect();
            let only_pre = if wanted.is_none() { "; a pre-release is named in full" } else { "" };
            return Ok(format!(
                "there is no plugin {reference}{gone}; the versions of {name} here are {}{only_pre}",
                listed.join(", ")
            ));
        }
        let mut text = format!("there is no plugin {reference}{gone}");
        let folder = tenant.map_or_else(|| self.dir.clone(), |tenant| self.dir.join(tenants_folder(tenant)));
        let mut names: Vec<String> = builtins().map(|builtin| builtin.name.to_owned()).collect();
        for name in folders(&folder)? {
            if is_name(&name) && !self.versions(tenant, &name)?.is_empty() {
                names.push(name);
            }
        }
        names.sort();
        names.dedup();
        if let Some(near) = near(name, names.iter().map(String::as_str)) {
            let scope = tenant.map(|tenant| format!("@{tenant}/")).unwrap_or_default();
            let major = self.newest(tenant, near)?.map(|version| format!("@{}", version.major));
            text.push_str(&format!("; did you mean {scope}{near}{}?", major.unwrap_or_default()));
        } else if self.builtins.is_empty() && tenant.is_none() {
            text.push_str(
                "; this host was built without the built-in plugins: run `./dev plugins`, then build it again",
            );
        } else if !names.is_empty() {
            text.push_str(&format!("; the plugins here are {}", names.join(", ")));
        } else {
            text.push_str("; there are none of that tenant");
        }
        Ok(text)
    }

    /// The newest version of a plugin that is no pre-release.
    fn newest(&self, tenant: Option<&str>, name: &str) -> Result<Option<Version>, RegistryError> {
        let builtins = self.builtins.iter().filter(|builtin| tenant.is_none() && builtin.name == name);
        let own = builtins.map(|builtin| builtin.version.clone());
        let all = self.versions(tenant, name)?.into_iter().chain(own);
        Ok(all.filter(|version| version.pre.is_empty()).max())
    }
}

/// What is said of a file that is not there.
pub(super) fn file(path: &Path) -> String {
    let text = format!("there is no file {}", shown(path).display());
    match near_file(path) {
        Some(near) => format!("{text}; did you mean {near}?"),
        None => text,
    }
}

/// A path without its `.` steps.
fn shown(path: &Path) -> PathBuf {
    path.components().filter(|step| !matches!(step, Component::CurDir)).collect()
}

/// The component in the same folder whose name is nearest to that of a file that is not there.
fn near_file(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names: Vec<String> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".wasm"))
        .collect();
    let stem = |name: &str| name.trim_end_matches(".wasm").to_owned();
    let stems: Vec<String> = names.iter().map(|name| stem(name)).collect();
    let wanted = stem(path.file_name()?.to_str()?);
    near(&wanted, stems.iter().map(String::as_str)).map(|near| format!("{near}.wasm"))
}
