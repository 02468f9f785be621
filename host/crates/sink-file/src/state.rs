//! What the checkpoint remembers of the file.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// How much of the end of a file tells it from others.
pub(crate) const TAIL_BYTES: usize = 4096;

/// The file and how much of it is durable.
///
/// A file is known by its content: the hash of the bytes before `length`. Unlike an inode number that survives
/// copying and restoring, and is not used again for the next file. Event ids make the lines of different files
/// differ; where a formatter leaves them out, files that end alike up to the same length are as good as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileState {
    version: Version,
    /// Bytes that are durable.
    pub(crate) length: u64,
    /// Hash of the last [`TAIL_BYTES`] of them.
    pub(crate) tail: u64,
    /// The number in the name that the file has or gets once it is rotated.
    pub(crate) number: u64,
    /// When the file was begun, milliseconds since the Unix epoch.
    pub(crate) begun_ms: u64,
}

/// The one version there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    #[default]
    #[serde(rename = "1")]
    One,
}

impl FileState {
    /// The state of a file whose durable part ends with `tail`.
    pub(crate) fn new(length: u64, tail: &[u8], number: u64, begun_ms: u64) -> Self {
        Self { version: Version::One, length, tail: hash(tail), number, begun_ms }
    }

    /// Reads what a checkpoint holds; `None` when it is not ours or says nothing about a file.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|state: &Self| state.length > 0)
    }

    /// For the checkpoint: JSON, so that an operator can read it.
    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and fixed names are always JSON")
    }
}

/// What tells an end of a file from others.
pub(crate) fn hash(tail: &[u8]) -> u64 {
    xxh3_64(tail)
}

/// The last [`TAIL_BYTES`] of a file that is being appended to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    /// Of a file that ends with these bytes.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// More was appended.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let keep = TAIL_BYTES - new.len();
        self.0.drain(..self.0.len().saturating_sub(keep));
        self.0.extend_from_slice(new);
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
