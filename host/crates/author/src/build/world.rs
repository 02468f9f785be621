//! The world of a project whose tools import all that a world has, whether the plugin uses it or not: one with just what
//! the project says that it uses.

use std::path::Path;

use super::{BuildError, put};

const INTERFACE: &str = include_str!("../../../../../wit/deltaforge-plugin-1.0.0/plugin.wit");
/// The package with the world, and the world.
pub(super) const NAME: &str = "plugin";

/// What a project is, and what it uses beside the log: `kind` and `grants` of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct World {
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) grants: Vec<Grant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Processor,
    Formatter,
}

impl Kind {
    /// The interface that it exports beside `lifecycle`.
    pub(super) fn export(self) -> &'static str {
        match self {
            Self::Processor => "processing",
            Self::Formatter => "formatting",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Formatter => "formatter",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grant {
    Metrics,
    Clock,
}

impl World {
    /// The interfaces that it imports and that its SDK takes: the log, and what is granted.
    pub(super) fn services(&self) -> Vec<&'static str> {
        let mut found = vec!["log"];
        for (grant, name) in [(Grant::Metrics, "metrics"), (Grant::Clock, "clock")] {
            if self.grants.contains(&grant) {
                found.push(name);
            }
        }
        found
    }

    /// Writes it and the interface into a folder, as tools read them.
    pub(super) fn write(&self, folder: &Path) -> Result<(), BuildError> {
        let mut world = format!("package deltaforge:project;\n\nworld {NAME} {{\n");
        let package = "deltaforge:plugin";
        for import in ["events"].into_iter().chain(self.services()) {
            world += &format!("  import {package}/{import}@1.0.0;\n");
        }
        for export in ["lifecycle", self.kind.export()] {
            world += &format!("  export {package}/{export}@1.0.0;\n");
        }
        put(&folder.join("world.wit"), &(world + "}\n"))?;
        put(&folder.join("deps/plugin/plugin.wit"), INTERFACE)
    }
}
