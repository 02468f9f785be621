//! The file of `--auth`: API tokens that the operator keeps, beside those that the host keeps itself.
//!
//! It is read as strictly as pipelines are: every problem at once, with its line.

use std::collections::HashMap;
use std::fmt;
use std::path::Path as FilePath;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::Catalog;
use crate::expand::{self, Lookup};
use crate::path::Path;
use crate::problem::{Code, Problem, Report, quoted};
use crate::problems::Problems;
use crate::read::read_file;
use crate::rules::check_name;
use crate::secret::Secret;
use crate::shape;
use crate::text::Place;
use crate::yaml::{self, Node};

/// Fewest characters of a token: one that a program made, not one that a person thought up.
pub const MIN_TOKEN_LEN: usize = 32;
/// Most characters of a token.
pub const MAX_TOKEN_LEN: usize = 256;

/// Names that no token for all tenants has: whoever needs none, and the host itself.
pub const RESERVED_NAMES: [&str; 2] = ["local", "deltaforge"];

/// What a token's holder may do. Each one may also do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Runs pipelines: pauses, resumes, stops them, swaps to what is published, clears dead letters.
    Operator,
    /// Brings code: plugins and scripts.
    Author,
    /// Does everything, hands out tokens, reads the audit log.
    Admin,
}

impl Role {
    /// Every role, from the least to the most.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Author, Self::Admin];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Author => "author",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found
            .ok_or_else(|| format!("there is no role {text:?}; there are viewer, operator, author and admin"))
    }
}

/// A token of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileToken {
    /// What it is called in the audit log.
    pub name: String,
    /// Whose it is; `None`: it is for all tenants.
    pub tenant: Option<String>,
    /// What it is good for.
    pub role: Role,
    /// What its holder shows.
    pub proof: Proof,
}

/// What a token is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The token itself.
    Token(Secret),
    /// Its SHA-256.
    Sha256([u8; 32]),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The tokens; at least one.
    #[schemars(length(min = 1, max = 10_000))]
    tokens: Vec<WrittenToken>,
}

// What may be left out must not be written as nothing: `tenant:` with an empty value would be a token for all tenants.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenToken {
    /// What it is called in the audit log. Letters, digits, `.`, `_` and `-`.
    #[schemars(length(min = 1, max = 64))]
    name: String,
    /// The tenant whose it is; left out, it is for all tenants.
    #[serde(default)]
    #[schemars(with = "String", length(min = 1, max = 128))]
    tenant: Option<String>,
    /// `viewer`, `operator`, `author` or `admin`.
    role: Role,
    /// The token itself, best as `${NAME}` from the environment.
    #[serde(default)]
    #[schemars(with = "Secret")]
    #[allow(dead_code, reason = "read at its line")]
    token: Option<Secret>,
    /// The token's SHA-256, 64 hex digits.
    #[serde(default)]
    #[schemars(with = "String")]
    #[allow(dead_code, reason = "read at its line")]
    sha256: Option<String>,
}

/// Reads the file of `--auth`. `environment` gives the values for `${NAME}`.
///
/// # Errors
///
/// A report of everything that is wrong in it.
pub fn read_auth(file: &FilePath, environment: Lookup<'_>) -> Result<Vec<FileToken>, Report> {
    let shown = file.display().to_string();
    match read_file(file) {
        Ok(text) => read_auth_text(&shown, &text, environment),
        Err((code, message)) => {
            let mut problems = Problems::new(Some(&shown), "");
            problems.add(&Path::default(), Place::default(), code, message);
            Err(report(problems.finish()))
        }
    }
}

/// As [`read_auth`], from a text; `name` stands for the file in the report.
///
/// # Errors
///
/// As [`read_auth`].
pub fn read_auth_text(name: &str, text: &str, environment: Lookup<'_>) -> Result<Vec<FileToken>, Report> {
    let mut problems = Problems::new(Some(name), text);
    let mut nodes = yaml::read(text, &mut problems);
    let mut node = match nodes.len() {
        0 => {
            if problems.is_empty() {
                let message = "the file holds no tokens";
                problems.add(&Path::default(), Place::default(), Code::Empty, message).suggest(FORM);
            }
            return Err(report(problems.finish()));
        }
        1 => nodes.remove(0),
        _ => {
            let message = "the file holds more than one document";
            problems.add(&Path::default(), nodes[1].place, Code::Conflict, message).suggest(FORM);
            return Err(report(problems.finish()));
        }
    };
    expand::expand(&mut node, environment, &mut problems);
    let schema = schemars::schema_for!(Written).to_value();
    shape::check_against(&Catalog::default(), &schema, &mut node, &mut problems);
    let tokens = node.get("tokens").map(Node::items).unwrap_or_default();
    let mut tokens = Tokens { problems: &mut problems, names: HashMap::new(), proofs: HashMap::new() }
        .read(tokens)
        .into_iter();
    if !problems.is_empty() {
        return Err(report(problems.finish()));
    }
    let written: Written = match serde_json::from_value(node.to_json()) {
        Ok(written) => written,
        Err(error) => {
            problems.add(&Path::default(), node.place, Code::Invalid, error.to_string());
            return Err(report(problems.finish()));
        }
    };
    let token = |written: WrittenToken| {
        let proof = tokens.next().flatten()?;
        Some(FileToken { name: written.name, tenant: written.tenant, role: written.role, proof })
    };
    Ok(written.tokens.into_iter().map_while(token).collect())
}

/// What such a file looks like.
const FORM: &str = "write `tokens:` and below it `- { name: ops, role: admin, token: ${OPS_TOKEN} }`";

fn report(problems: Vec<Problem>) -> Report {
    Report::of(problems).expect("it is called where there is a problem")
}

/// Looks at what no schema says.
struct Tokens<'a> {
    problems: &'a mut Problems,
    /// Tenant and name, and the line of the first one that has them.
    names: HashMap<(String, String), u32>,
    proofs: HashMap<String, u32>,
}

impl Tokens<'_> {
    /// The proof of each token that has a right one.
    fn read(mut self, tokens: &[Node]) -> Vec<Option<Proof>> {
        let one = |(at, token): (usize, &Node)| {
            let mut path = Path::default().below(&["tokens"]);
            path.index(at);
            self.token(token, &path)
        };
        tokens.iter().enumerate().map(one).collect()
    }

    fn token(&mut self, token: &Node, path: &Path) -> Option<Proof> {
        for key in ["name", "tenant"] {
            if let Some(name) = token.get(key) {
                check_name(name, &path.below(&[key]), self.problems);
            }
        }
        let text = |key: &str| token.get(key).and_then(Node::text).unwrap_or_default().to_owned();
        if let Some(name) = token.get("name") {
            if let Some(text) = name.text().filter(|text| RESERVED_NAMES.contains(text))
                && token.get("tenant").is_none()
            {
                let message = format!("the audit log calls somebody else {}", quoted(text));
                self.problems
                    .add(&path.below(&["name"]), name.place, Code::BadName, message)
                    .suggest("choose another name");
            }
            let line = *self.names.entry((text("tenant"), text("name"))).or_insert(name.place.line);
            if line != name.place.line {
                let message = format!("another token has the name {}", quoted(&text("name")));
                let help = format!("it is on line {line}; give each token of a tenant a name of its own");
                self.problems.add(&path.below(&["name"]), name.place, Code::Conflict, message).suggest(help);
            }
        }
        match (token.get("token"), token.get("sha256")) {
            (Some(_), Some(digest)) => {
                let message = "a token is known by `token` or by `sha256`, not by both";
                let path = path.below(&["sha256"]);
                self.problems
                    .add(&path, digest.place, Code::Conflict, message)
                    .suggest("remove one of the two");
                None
            }
            (None, None) => {
                // A block that is none is reported already.
                if !token.entries().is_empty() {
                    let message = "the key `token` is missing";
                    let help = "write `token: ${NAME}` or `sha256:` with 64 hex digits";
                    self.problems
                        .add(&path.below(&["token"]), token.place, Code::MissingKey, message)
                        .suggest(help);
                }
                None
            }
            (Some(own), None) => {
                let shown = own.text()?;
                let wrong = token_problem(shown)?;
                let path = path.below(&["token"]);
                if !wrong.is_empty() {
                    let help = "`openssl rand -hex 32` makes one";
                    self.problems.add(&path, own.place, Code::OutOfRange, wrong).suggest(help);
                    return None;
                }
                self.unique(shown, &path, own.place);
                Some(Proof::Token(Secret::new(shown)))
            }
            (None, Some(digest)) => {
                let shown = digest.text()?;
                let path = path.below(&["sha256"]);
                let Some(bytes) = sha256_of_hex(shown) else {
                    let message = "a SHA-256 has 64 hex digits";
                    let help = "`printf %s \"$TOKEN\" | sha256sum` makes one";
                    self.problems.add(&path, digest.place, Code::Invalid, message).suggest(help);
                    return None;
                };
                self.unique(&shown.to_ascii_lowercase(), &path, digest.place);
                Some(Proof::Sha256(bytes))
            }
        }
    }

    fn unique(&mut self, proof: &str, path: &Path, place: Place) {
        let line = *self.proofs.entry(proof.to_owned()).or_insert(place.line);
        if line != place.line {
            let message = "two entries have the same token";
            let help = format!("the other one is on line {line}; the audit log must tell them apart");
            self.problems.add(path, place, Code::Conflict, message).suggest(help);
        }
    }
}

/// What is wrong with a token, empty if nothing; `None` for what the schema speaks of.
fn token_problem(token: &str) -> Option<String> {
    Some(match token.chars().count() {
        0 => return None,
        length if length < MIN_TOKEN_LEN => {
            format!("the token has {length} characters; the least is {MIN_TOKEN_LEN}")
        }
        length if length > MAX_TOKEN_LEN => {
            format!("the token has {length} characters; the most is {MAX_TOKEN_LEN}")
        }
        _ if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            "a token has visible ASCII characters only, and no space".to_owned()
        }
        _ => String::new(),
    })
}

/// The bytes of a SHA-256 in hex.
pub fn sha256_of_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

/// The JSON Schema of the file, for editors.
pub fn auth_schema() -> Value {
    schemars::schema_for!(Written).to_value()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
