//! How a pipeline names a plugin.

use std::fmt;
use std::str::FromStr;

use semver::{Comparator, Op, Prerelease, Version};

/// A plugin reference: `mask`, `mask@1`, `mask@1.2`, `mask@1.2.3`, `@acme/mask@1`, `./mask.wasm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// In the registry.
    Named {
        /// Whose it is; none: everybody's.
        tenant: Option<String>,
        /// Its name.
        name: String,
        /// Which versions will do; none: the newest that is no pre-release.
        version: Option<Wanted>,
    },
    /// A file, relative to the pipeline's own.
    Path(String),
}

/// A version, or the start of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    major: u64,
    minor: Option<u64>,
    patch: Option<u64>,
    pre: Prerelease,
}

impl Wanted {
    /// One version and no other.
    pub(crate) fn exactly(version: &Version) -> Self {
        let Version { major, minor, patch, pre, .. } = version.clone();
        Self { major, minor: Some(minor), patch: Some(patch), pre }
    }

    /// Whether a version will do. `1.2.3` is that version and no other; a pre-release must be named.
    pub fn matches(&self, version: &Version) -> bool {
        Comparator {
            op: Op::Exact,
            major: self.major,
            minor: self.minor,
            patch: self.patch,
            pre: self.pre.clone(),
        }
        .matches(version)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.major)?;
        for part in [self.minor, self.patch].into_iter().flatten() {
            write!(f, ".{part}")?;
        }
        if self.pre.is_empty() { Ok(()) } else { write!(f, "-{}", self.pre) }
    }
}

/// A text that names no plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names no plugin: {problem}; write `name`, `name@1`, `name@1.2.3`, `@tenant/name@1` or `./file.wasm`"
)]
pub struct ReferenceError {
    text: String,
    problem: &'static str,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let fail = |problem| ReferenceError { text: text.to_owned(), problem };
        if text.starts_with("./") || text.starts_with("../") || text.starts_with('/') {
            return if text.ends_with(".wasm") {
                Ok(Self::Path(text.to_owned()))
            } else {
                Err(fail("a file ends in .wasm"))
            };
        }
        let (tenant, rest) = match text.strip_prefix('@') {
            None => (None, text),
            Some(rest) => {
                let (tenant, rest) = rest.split_once('/').ok_or_else(|| fail("a tenant is followed by /"))?;
                (Some(tenant), rest)
            }
        };
        let (name, version) = match rest.split_once('@') {
            None => (rest, None),
            Some((name, version)) => {
                let version = wanted(version).ok_or_else(|| {
                    fail("what follows @ is no version; write name@1, name@1.2 or name@1.2.3")
                })?;
                (name, Some(version))
            }
        };
        if tenant.is_some_and(|tenant| !is_tenant(tenant)) {
            return Err(fail(
                "a tenant's name is of letters, digits, `.`, `_` and `-`, and begins with a letter or digit",
            ));
        }
        if !is_name(name) {
            return Err(fail("a name is of a-z, 0-9, - and _, and begins with a letter"));
        }
        Ok(Self::Named { tenant: tenant.map(str::to_owned), name: name.to_owned(), version })
    }
}

fn wanted(text: &str) -> Option<Wanted> {
    if let Ok(version) = Version::parse(text) {
        return Some(Wanted::exactly(&version));
    }
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    match *text.split('.').collect::<Vec<_>>() {
        [major] => Some(Wanted { major: number(major)?, minor: None, patch: None, pre: Prerelease::EMPTY }),
        [major, minor] => Some(Wanted {
            major: number(major)?,
            minor: Some(number(minor)?),
            patch: None,
            pre: Prerelease::EMPTY,
        }),
        _ => None,
    }
}

/// Longest name of a tenant, in characters: what pipelines' documents allow.
const MAX_TENANT_LEN: usize = 128;
/// Longest name of a folder, bytes.
const MAX_FOLDER_LEN: usize = 255;

/// Whether a text can be the name of a tenant: what pipelines' documents allow, as long as its folder can be made.
pub(crate) fn is_tenant(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    text.len() <= MAX_TENANT_LEN
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(inner)
        && tenants_folder(text).len() <= MAX_FOLDER_LEN
}

/// The folder of a tenant's plugins: `@acme`. A capital letter is a small one behind `!`, so that two tenants never share
/// a folder on a disk that takes `Acme` and `acme` for the same.
pub(crate) fn tenants_folder(tenant: &str) -> String {
    let mut folder = "@".to_owned();
    for c in tenant.chars() {
        if c.is_ascii_uppercase() {
            folder.push('!');
        }
        folder.push(c.to_ascii_lowercase());
    }
    folder
}

/// The tenant whose plugins are in a folder of this name; `None`: it is no tenant's.
pub(crate) fn tenant_of_folder(folder: &str) -> Option<String> {
    let mut tenant = String::new();
    let mut is_capital = false;
    for c in folder.strip_prefix('@')?.chars() {
        match c {
            '!' if !is_capital => is_capital = true,
            _ => {
                tenant.push(if is_capital { c.to_ascii_uppercase() } else { c });
                is_capital = false;
            }
        }
    }
    (is_tenant(&tenant) && tenants_folder(&tenant) == folder).then_some(tenant)
}

/// Whether a text can be the name of a plugin: it becomes part of a path.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Named { tenant, name, version } => {
                if let Some(tenant) = tenant {
                    write!(f, "@{tenant}/")?;
                }
                f.write_str(name)?;
                version.as_ref().map_or(Ok(()), |version| write!(f, "@{version}"))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn references_read_and_print_the_same() {
        for text in [
            "mask",
            "mask@1",
            "mask@1.2",
            "mask@1.2.3",
            "@acme/mask@1",
            "./x.wasm",
            "/opt/x.wasm",
            "m@1.0.0-rc.1",
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "Mask",
            "mask@",
            "mask@x",
            "mask@1.2.3.4",
            "../../etc/passwd",
            "@acme",
            "@/x",
            "a/b",
            "mask@+1",
            "-a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_shorter_version_takes_the_newer_ones() {
        let matches =
            |text: &str, version: &str| wanted(text).unwrap().matches(&Version::parse(version).unwrap());
        assert!(matches("1", "1.9.3") && !matches("1", "2.0.0") && !matches("1", "1.0.0-rc.1"));
        assert!(matches("0.1", "0.1.7") && !matches("0.1", "0.2.0"));
        assert!(matches("1.2.3", "1.2.3") && !matches("1.2.3", "1.2.4"));
        assert!(matches("1.0.0-rc.1", "1.0.0-rc.1") && !matches("1.0.0-rc.1", "1.0.0"));
    }
}
