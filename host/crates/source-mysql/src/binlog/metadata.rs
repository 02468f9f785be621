//! What a table map says of columns besides their types (`binlog_row_metadata`; MINIMAL: signedness and charsets).

use crate::bytes::{Bytes, text};
use crate::error::DecodeError;

/// The optional parts of a table map, as they stand. Empty: not said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Metadata<'a> {
    /// One bit a numeric column, highest first: whether it is unsigned.
    pub signedness: Option<&'a [u8]>,
    default_charset: Option<&'a [u8]>,
    column_charset: Option<&'a [u8]>,
    names: Option<&'a [u8]>,
    set_labels: Option<&'a [u8]>,
    enum_labels: Option<&'a [u8]>,
    geometry_types: Option<&'a [u8]>,
    simple_key: Option<&'a [u8]>,
    prefix_key: Option<&'a [u8]>,
    label_default_charset: Option<&'a [u8]>,
    label_column_charset: Option<&'a [u8]>,
    /// One bit a column, highest first: whether `SELECT *` shows it.
    pub visibility: Option<&'a [u8]>,
    vector_dimensions: Option<&'a [u8]>,
}

const WHAT: &str = "a table map's metadata";

impl<'a> Metadata<'a> {
    pub fn read(mut bytes: Bytes<'a>) -> Result<Self, DecodeError> {
        let mut metadata = Self::default();
        while !bytes.is_empty() {
            let kind = bytes.u8(WHAT)?;
            let value = Some(bytes.lenenc_bytes(WHAT)?);
            match kind {
                1 => metadata.signedness = value,
                2 => metadata.default_charset = value,
                3 => metadata.column_charset = value,
                4 => metadata.names = value,
                5 => metadata.set_labels = value,
                6 => metadata.enum_labels = value,
                7 => metadata.geometry_types = value,
                8 => metadata.simple_key = value,
                9 => metadata.prefix_key = value,
                10 => metadata.label_default_charset = value,
                11 => metadata.label_column_charset = value,
                12 => metadata.visibility = value,
                13 => metadata.vector_dimensions = value,
                // Parts tell their length, so that new ones can be passed over.
                _ => {}
            }
        }
        Ok(metadata)
    }

    /// The columns' names; `None`: not said.
    pub fn names(&self) -> Result<Option<Vec<&'a str>>, DecodeError> {
        let Some(names) = self.names else { return Ok(None) };
        let mut bytes = Bytes::new(names);
        let mut all = Vec::new();
        while !bytes.is_empty() {
            all.push(text(bytes.lenenc_bytes(WHAT)?, WHAT)?);
        }
        Ok(Some(all))
    }

    /// The collations of `count` character columns, in order; `None`: not said.
    pub fn collations(&self, count: usize) -> Result<Option<Vec<u16>>, DecodeError> {
        collations(self.default_charset, self.column_charset, count)
    }

    /// The collations of `count` ENUM and SET columns; `None`: not said.
    pub fn label_collations(&self, count: usize) -> Result<Option<Vec<u16>>, DecodeError> {
        collations(self.label_default_charset, self.label_column_charset, count)
    }

    /// The labels of each ENUM column, in order, in the column's charset.
    pub fn enum_labels(&self) -> Result<Vec<Vec<&'a [u8]>>, DecodeError> {
        labels(self.enum_labels)
    }

    /// The labels of each SET column.
    pub fn set_labels(&self) -> Result<Vec<Vec<&'a [u8]>>, DecodeError> {
        labels(self.set_labels)
    }

    /// The primary key's columns in key order, with or without prefixes.
    pub fn primary_key(&self) -> Result<Vec<usize>, DecodeError> {
        if let Some(key) = self.simple_key {
            return numbers(key).map(|key| key.into_iter().map(|at| at as usize).collect());
        }
        let Some(key) = self.prefix_key else { return Ok(Vec::new()) };
        Ok(numbers(key)?.chunks(2).filter_map(|pair| pair.first().map(|at| *at as usize)).collect())
    }

    /// The geometry types of the GEOMETRY columns: 0 any, 1 point, 2 linestring, and so on.
    pub fn geometry_types(&self) -> Result<Vec<u64>, DecodeError> {
        self.geometry_types.map_or(Ok(Vec::new()), numbers)
    }

    /// The dimensions of the VECTOR columns.
    pub fn vector_dimensions(&self) -> Result<Vec<u64>, DecodeError> {
        self.vector_dimensions.map_or(Ok(Vec::new()), numbers)
    }
}

fn numbers(bytes: &[u8]) -> Result<Vec<u64>, DecodeError> {
    let mut bytes = Bytes::new(bytes);
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(bytes.lenenc(WHAT)?);
    }
    Ok(all)
}

/// Either one collation and the columns that differ, or all of them.
fn collations(
    default: Option<&[u8]>,
    columns: Option<&[u8]>,
    count: usize,
) -> Result<Option<Vec<u16>>, DecodeError> {
    let collation = |number: u64| {
        u16::try_from(number)
            .map_err(|_| DecodeError::corrupt(WHAT, format!("{number} numbers no collation")))
    };
    let Some(default) = default else {
        let Some(columns) = columns else { return Ok(None) };
        return Ok(Some(numbers(columns)?.into_iter().map(collation).collect::<Result<_, _>>()?));
    };
    let numbers = numbers(default)?;
    let Some((first, differing)) = numbers.split_first() else { return Ok(None) };
    let mut all = vec![collation(*first)?; count];
    for pair in differing.chunks(2) {
        let at = pair.first().and_then(|at| usize::try_from(*at).ok()).unwrap_or(usize::MAX);
        let (Some(to), Some(number)) = (all.get_mut(at), pair.get(1)) else {
            return Err(DecodeError::corrupt(WHAT, "a collation is for no column"));
        };
        *to = collation(*number)?;
    }
    Ok(Some(all))
}

fn labels(columns: Option<&[u8]>) -> Result<Vec<Vec<&[u8]>>, DecodeError> {
    let mut bytes = Bytes::new(columns.unwrap_or_default());
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let count = bytes.lenenc(WHAT)?;
        let mut labels = Vec::new();
        for _ in 0..count {
            labels.push(bytes.lenenc_bytes(WHAT)?);
        }
        all.push(labels);
    }
    Ok(all)
}
