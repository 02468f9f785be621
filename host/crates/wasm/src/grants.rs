//! What a guest may import.

use deltaforge_engine::error::ConfigError;

/// The grants of a stage. `log` is always there: its lines are bounded and go nowhere but into the host's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grants {
    /// Counters, gauges and histograms.
    pub metrics: bool,
    /// The time, also that of WASI.
    pub clock: bool,
    /// True random numbers for guests that import WASI's; else they get a fixed sequence.
    pub random: bool,
}

impl Grants {
    /// All there are.
    pub const ALL: Self = Self { metrics: true, clock: true, random: true };

    /// The names that `grants:` knows.
    pub const NAMES: [&str; 4] = ["log", "metrics", "clock", "random"];

    /// Reads the names of a stage's `grants:`.
    ///
    /// # Errors
    ///
    /// Names that are none.
    pub fn parse(names: &[String]) -> Result<Self, Vec<ConfigError>> {
        let mut grants = Self::default();
        let mut problems = Vec::new();
        for (at, name) in names.iter().enumerate() {
            match name.as_str() {
                "log" => {}
                "metrics" => grants.metrics = true,
                "clock" => grants.clock = true,
                "random" => grants.random = true,
                other => problems.push(ConfigError::new(
                    format!("grants[{at}]"),
                    format!("there is no grant {other:?}; known: {}", Self::NAMES.join(", ")),
                )),
            }
        }
        if problems.is_empty() { Ok(grants) } else { Err(problems) }
    }

    /// Checks one import of a component by its full name, such as `deltaforge:plugin/clock@1.0.0`.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    pub fn allow(self, import: &str) -> Result<(), String> {
        let bare = import.split_once('@').map_or(import, |(bare, _)| bare);
        let granted = |granted: bool, name: &str| {
            if granted {
                Ok(())
            } else {
                Err(format!("imports {import}, which is not granted: add `{name}` to the stage's grants"))
            }
        };
        match bare.split_once('/') {
            Some(("deltaforge:plugin", "types" | "events" | "log")) => Ok(()),
            Some(("deltaforge:plugin", "metrics")) => granted(self.metrics, "metrics"),
            Some(("deltaforge:plugin", "clock")) => granted(self.clock, "clock"),
            Some((
                "wasi:io" | "wasi:cli" | "wasi:clocks" | "wasi:random" | "wasi:filesystem" | "wasi:sockets",
                _,
            )) => Ok(()),
            _ => Err(format!("imports {import}, which this host does not offer")),
        }
    }
}
