//! The secrets of a pipeline's configuration, kept out of what it says.

use std::sync::Arc;

use crate::status::Failure;

/// What stands where a secret was.
const HIDDEN: &str = "***";

/// Shorter ones are part of too many words to be hidden by search.
const SHORTEST: usize = 4;

/// Texts that must not appear in an error, a log line or a dead-letter entry, whoever wrote it: a driver that quotes
/// its connection string, a server that echoes a token, a plugin that prints its configuration.
#[derive(Clone, Default)]
pub struct Secrets(Arc<[String]>);

impl Secrets {
    /// The secrets that are long enough to be told from other text.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let mut texts: Vec<String> = texts.into_iter().filter(|text| text.len() >= SHORTEST).collect();
        // One that holds another goes first, else a part of it would stay.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.dedup();
        Self(texts.into())
    }

    /// `text` with `***` for each secret.
    pub fn hide(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for secret in self.0.iter().filter(|secret| text.contains(secret.as_str())) {
            shown = shown.replace(secret.as_str(), HIDDEN);
        }
        shown
    }

    pub(crate) fn hide_in(&self, failure: Failure) -> Failure {
        Failure { message: self.hide(&failure.message), ..failure }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_is_hidden_and_the_longer_one_whole() {
        let secrets = Secrets::new(["pass".into(), "passw0rd".into(), "abc".into()]);
        assert_eq!(secrets.hide("passw0rd, pass, abc"), "***, ***, abc");
        assert_eq!(format!("{secrets:?}"), "2 secrets");
    }
}
