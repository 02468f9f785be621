//! The secrets of a pipeline's configuration, kept out of what it says.

use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use crate::stage::StageSpec;
use crate::status::Failure;

/// What stands where a secret was.
const HIDDEN: &str = "***";

/// Shorter ones are part of too many words to be hidden by search.
const SHORTEST: usize = 4;

/// Texts that must not appear in an error, a log line or a dead-letter entry, whoever wrote it: a driver that quotes
/// its connection string, a server that echoes a token, a plugin that prints its configuration. Cheap to clone; every
/// clone learns what one of them learns.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Known>);

#[derive(Default)]
struct Known {
    /// A text that holds another stands before it, else a part of it would stay.
    texts: RwLock<Vec<String>>,
    find: Option<Find>,
    /// Learns everything that this one learns.
    host: Option<Secrets>,
}

/// Finds the secrets in a stage's block.
type Find = Box<dyn Fn(&Value) -> Vec<String> + Send + Sync>;

impl Secrets {
    /// Those of one pipeline: `find` tells the secrets in the block of a stage, `host` learns them too.
    pub fn of_pipeline(host: &Self, find: impl Fn(&Value) -> Vec<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Known {
            texts: RwLock::default(),
            find: Some(Box::new(find)),
            host: Some(host.clone()),
        }))
    }

    /// Hides these texts from now on, as they are and as they stand in JSON, unless they are too short to be told from
    /// other text.
    pub fn add(&self, secrets: impl IntoIterator<Item = String>) {
        let long: Vec<String> = secrets.into_iter().filter(|text| text.len() >= SHORTEST).collect();
        if long.is_empty() {
            return;
        }
        if let Some(host) = &self.0.host {
            host.add(long.iter().cloned());
        }
        let mut texts = self.0.texts.write();
        for secret in long {
            let quoted = Value::from(secret.as_str()).to_string();
            texts.extend([quoted[1..quoted.len() - 1].to_owned(), secret]);
        }
        texts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        texts.dedup();
    }

    /// Hides what is secret in the configuration of a stage, which may come from a swap.
    pub fn learn(&self, stage: &StageSpec) {
        if let Some(find) = &self.0.find {
            self.add(find(&stage.code.block(&stage.config)));
        }
    }

    /// `text` with `***` for each secret.
    pub fn hide(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for secret in self.0.texts.read().iter() {
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
        write!(f, "{} secrets", self.0.texts.read().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::StageCode;

    #[test]
    fn every_secret_is_hidden_and_the_longer_one_whole() {
        let secrets = Secrets::default();
        secrets.add(["pass".into(), "passw0rd".into(), "abc".into()]);
        assert_eq!(secrets.hide("passw0rd, pass, abc"), "***, ***, abc");
        assert_eq!(format!("{secrets:?}"), "2 secrets");
    }

    #[test]
    fn a_secret_is_hidden_where_it_is_quoted_too() {
        let secrets = Secrets::default();
        secrets.add(["to\"ken".into()]);
        assert_eq!(secrets.hide(r#"to"ken {"key":"to\"ken"}"#), r#"*** {"key":"***"}"#);
    }

    #[test]
    fn what_a_stage_brings_is_hidden_by_its_pipeline_and_by_the_host_but_by_no_other() {
        let host = Secrets::default();
        let key = |block: &Value| block["config"]["key"].as_str().map(str::to_owned).into_iter().collect();
        let one = Secrets::of_pipeline(&host, key);
        let other = Secrets::of_pipeline(&host, key);
        one.learn(&StageSpec {
            id: "s".into(),
            pipeline: "p".into(),
            tenant: "t".into(),
            code: StageCode::Plugin("mask@1".into()),
            config: serde_json::json!({ "key": "hunter22" }),
            limits: None,
            grants: Vec::new(),
            base_dir: None,
        });
        assert_eq!([one.hide("hunter22"), host.hide("hunter22")], ["***", "***"]);
        assert_eq!(other.hide("hunter22"), "hunter22");
    }
}
