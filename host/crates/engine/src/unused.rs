//! Which versions of plugins nothing needs.

use crate::catalog::PluginVersion;
use crate::stage::StageVersion;
use crate::state::{StateError, StateStore};
use crate::swap::History;

/// How many of each plugin's newest versions stay, where nothing else is said: what was just published is meant to be used.
pub const KEEP: usize = 1;

/// What becomes of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing needs it.
    Goes,
    /// It stays, for this reason.
    Stays(String),
}

/// Says of each version whether it goes. `all` come by plugin, the newest last; of each plugin the newest `keep` stay, where
/// damaged ones do not count, and what `why` has a reason for, by the version's place in `all`.
pub fn judge(
    all: &[PluginVersion],
    keep: usize,
    why: impl Fn(usize, &PluginVersion) -> Option<String>,
) -> Vec<Verdict> {
    let mut verdicts = Vec::with_capacity(all.len());
    let mut newer = 0;
    for (at, version) in all.iter().enumerate().rev() {
        let next = all.get(at + 1).map(|next| (&next.id.tenant, &next.id.name));
        if next != Some((&version.id.tenant, &version.id.name)) {
            newer = 0;
        }
        let is_new = version.damaged.is_none() && newer < keep;
        newer += usize::from(version.damaged.is_none());
        verdicts.push(match why(at, version) {
            Some(why) => Verdict::Stays(why),
            None if is_new && keep == 1 => Verdict::Stays("it is the newest".to_owned()),
            None if is_new => Verdict::Stays(format!("it is one of the {keep} newest")),
            None => Verdict::Goes,
        });
    }
    verdicts.reverse();
    verdicts
}

/// What stages and envelopes that ran may need again, of all pipelines of a store: where, and the version. For a host that
/// does not run: it cannot say which positions are done with, so whatever a history has for replays counts.
///
/// # Errors
///
/// When the store fails, or holds something else.
pub async fn needed(store: &dyn StateStore) -> Result<Vec<(String, StageVersion)>, StateError> {
    let mut all = Vec::new();
    for kind in History::ALL {
        for (key, bytes) in store.list(kind).await? {
            let history: History = serde_json::from_slice(&bytes)
                .map_err(|error| StateError::backend(format!("read {key}"), error))?;
            for generation in history.generations.iter().chain(history.may_come_back()) {
                all.push((key.clone(), generation.version.clone()));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PluginId;

    fn version(text: &str, damaged: bool) -> PluginVersion {
        let id: PluginId = text.parse().expect("a version");
        PluginVersion { id, damaged: damaged.then(|| "torn".to_owned()), ..PluginVersion::default() }
    }

    #[test]
    fn the_newest_and_what_is_needed_stay() {
        let all: Vec<PluginVersion> = [
            ("mask@1.0.0", false),
            ("mask@1.1.0", false),
            ("mask@1.2.0", false),
            ("mask@1.3.0", true),
            ("tag@1.0.0", false),
            ("@acme/tag@1.0.0", false),
            ("@acme/tag@2.0.0", false),
        ]
        .map(|(text, damaged)| version(text, damaged))
        .into();
        let going = |keep, used: &str| -> Vec<String> {
            let verdicts =
                judge(&all, keep, |_, one| (one.id.to_string() == used).then(|| "used".to_owned()));
            let goes = all.iter().zip(verdicts).filter(|(_, verdict)| *verdict == Verdict::Goes);
            goes.map(|(one, _)| one.id.to_string()).collect()
        };
        assert_eq!(going(1, "mask@1.0.0"), ["mask@1.1.0", "mask@1.3.0", "@acme/tag@1.0.0"]);
        assert_eq!(going(2, ""), ["mask@1.0.0", "mask@1.3.0"]);
        assert_eq!(going(0, "tag@1.0.0").len(), 6);
        let verdicts = judge(&all, 3, |at, _| (at == 3).then(|| "a swap is taking it".to_owned()));
        assert_eq!(verdicts[3], Verdict::Stays("a swap is taking it".to_owned()));
        assert_eq!(verdicts[0], Verdict::Stays("it is one of the 3 newest".to_owned()));
    }
}
