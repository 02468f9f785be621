//! YAML text as a tree whose every value knows its place.

mod node;
mod read;
mod scalar;
#[cfg(test)]
mod tests;

pub(crate) use node::{Entry, Kind, Node, Scalar, Style};
pub(crate) use read::read;
pub(crate) use scalar::plain_value;

/// Most bytes of one file.
pub(crate) const MAX_BYTES: usize = 4 << 20;
/// Most values in the documents of one file, aliases counted as what they stand for.
pub(crate) const MAX_VALUES: usize = 100_000;
/// Most blocks inside one another.
pub(crate) const MAX_DEPTH: usize = 64;
