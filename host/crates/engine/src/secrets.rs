//! The secrets of a pipeline's configuration, kept out of what it says.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use crate::stage::StageSpec;
use crate::status::Failure;

/// What stands where a secret was.
const HIDDEN: &str = "***";

/// Shorter ones are part of too many words to be hidden by search.
const SHORTEST: usize = 4;

/// Stages' configurations whose secrets are remembered; a swap brings a new one.
const MOST_LEARNED: usize = 64;

/// Texts that must not appear in an error, a log line or a dead-letter entry, whoever wrote it: a driver that quotes
/// its connection string, a server that echoes a token, a plugin that prints its configuration. Cheap to clone; every
/// clone learns what one of them learns.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Known>);

#[derive(Default)]
struct Known {
    texts: RwLock<Texts>,
    find: Option<Find>,
}

#[derive(Default)]
struct Texts {
    /// Of the pipeline's document.
    own: Vec<String>,
    /// Of its stages' configurations, the newest last.
    learned: VecDeque<Vec<String>>,
    /// All of them, as they are and as they stand in JSON. One that holds another stands before it, else a part of
    /// it would stay.
    hidden: Vec<String>,
}

impl Texts {
    fn refresh(&mut self) {
        let all = self.own.iter().chain(self.learned.iter().flatten());
        let mut hidden: Vec<String> = all.flat_map(|text| [quoted(text), text.clone()]).collect();
        hidden.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        hidden.dedup();
        self.hidden = hidden;
    }
}

fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    json[1..json.len() - 1].to_owned()
}

/// The ones that are long enough to be told from other text.
fn long(secrets: Vec<String>) -> Vec<String> {
    secrets.into_iter().filter(|text| text.len() >= SHORTEST).collect()
}

/// Finds the secrets in a stage's block.
type Find = Box<dyn Fn(&Value) -> Vec<String> + Send + Sync>;

impl Secrets {
    /// Those of a pipeline's document; `find` tells the secrets in the block of a stage.
    pub fn new(own: Vec<String>, find: impl Fn(&Value) -> Vec<String> + Send + Sync + 'static) -> Self {
        let mut texts = Texts { own: long(own), ..Texts::default() };
        texts.refresh();
        Self(Arc::new(Known { texts: RwLock::new(texts), find: Some(Box::new(find)) }))
    }

    /// Hides what is secret in the configuration of a stage from now on, which may come from a swap.
    pub fn learn(&self, stage: &StageSpec) {
        let Some(find) = &self.0.find else { return };
        let found = long(find(&stage.code.block(&stage.config)));
        let mut texts = self.0.texts.write();
        if found.iter().all(|text| texts.hidden.contains(text)) {
            return;
        }
        texts.learned.push_back(found);
        if texts.learned.len() > MOST_LEARNED {
            texts.learned.pop_front();
        }
        texts.refresh();
    }

    /// `text` with `***` for each secret.
    pub fn hide(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for secret in &self.0.texts.read().hidden {
            if shown.contains(secret.as_str()) {
                shown = shown.replace(secret.as_str(), HIDDEN);
            }
        }
        shown
    }

    pub(crate) fn hide_in(&self, failure: Failure) -> Failure {
        Failure { message: self.hide(&failure.message), ..failure }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.texts.read().own.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::StageCode;

    fn secrets(own: &[&str]) -> Secrets {
        let key = |block: &Value| block["config"]["key"].as_str().map(str::to_owned).into_iter().collect();
        Secrets::new(own.iter().map(|text| (*text).to_owned()).collect(), key)
    }

    fn stage(key: &str) -> StageSpec {
        StageSpec {
            id: "s".into(),
            pipeline: "p".into(),
            tenant: "t".into(),
            code: StageCode::Plugin("mask@1".into()),
            config: serde_json::json!({ "key": key }),
            limits: None,
            grants: Vec::new(),
            base_dir: None,
        }
    }

    #[test]
    fn every_secret_is_hidden_and_the_longer_one_whole() {
        let secrets = secrets(&["pass", "passw0rd", "abc"]);
        assert_eq!(secrets.hide("passw0rd, pass, abc"), "***, ***, abc");
        assert_eq!(format!("{secrets:?}"), "2 secrets");
    }

    #[test]
    fn a_secret_is_hidden_where_it_is_quoted_too() {
        let secrets = secrets(&["to\"ken"]);
        assert_eq!(secrets.hide(r#"to"ken {"key":"to\"ken"}"#), r#"*** {"key":"***"}"#);
    }

    #[test]
    fn what_stages_bring_is_hidden_and_bounded() {
        let secrets = secrets(&["passw0rd"]);
        for n in 0..1_000 {
            secrets.learn(&stage(&format!("hunter-{n}")));
            secrets.learn(&stage("passw0rd"));
        }
        assert_eq!(secrets.hide("hunter-999 hunter-990 passw0rd"), "*** *** ***");
        assert!(secrets.0.texts.read().hidden.len() <= 2 * (MOST_LEARNED + 1));
    }
}
