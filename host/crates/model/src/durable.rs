//! The batch as bytes, for spill files, journals and other hosts. Specified in docs/BATCH_FORMAT.md.
//!
//! Writing packs: only images that events refer to are written, in event order, so equal batches have equal
//! bytes. Reading trusts nothing: a checksum guards against rot, and every length, index, kind and text is
//! checked, in time linear in the input, before a batch comes out.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::batch::{
    Batch, Entry, FLAG_LAST, NONE32, NONE64, Op, Reject, SNAPSHOT_SHIFT, Side, SourceInfo, Transaction,
};
use crate::event_id::EventId;
use crate::row::check_image;
use crate::schema::{Column, Kind, TableSchema};

const MAGIC: &[u8; 8] = b"DFBATCH\n";
/// The version this build writes. It reads this one only.
pub const VERSION: u32 = 1;
/// Magic, version, payload length, checksum.
pub const HEADER_BYTES: usize = 8 + 4 + 8 + 8;

/// Bytes are no batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// They do not begin like one.
    #[error("not a batch: the first bytes are wrong")]
    Magic,
    /// A newer (or much older) build wrote them.
    #[error("batch format version {found}; this build reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// They end too early; after a crash this is a torn write.
    #[error("the batch is cut short: {have} of {want} bytes")]
    Short {
        /// Bytes there are.
        have: u64,
        /// Bytes there should be.
        want: u64,
    },
    /// They are not what was written.
    #[error("the batch's checksum does not match")]
    Checksum,
    /// The checksum holds, and yet they make no sense.
    #[error("the batch is malformed: {0}")]
    Malformed(&'static str),
}

use DurableError::Malformed;

impl Batch {
    /// Appends the durable form.
    pub fn write_durable(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 16]);
        let payload = out.len();
        put_info(out, &self.info);
        put_list(out, &self.tables, |out, table| put_table(out, table));
        put_list(out, &self.transactions, |out, tx| {
            put_text(out, &tx.id);
            put_pairs(out, &tx.source);
        });
        let (packed, sides, rows, large) = self.packed();
        put_list(out, &sides, put_side);
        put_list(out, &packed[..self.entries.len()], put_entry);
        put_list(out, &self.rejects, |out, reject| {
            put_text(out, &reject.stage);
            put_text(out, &reject.code);
            put_text(out, &reject.reason);
        });
        packed[self.entries.len()..].iter().for_each(|entry| put_entry(out, entry));
        put_bytes(out, &rows);
        put_bytes(out, &large);
        let len = (out.len() - payload) as u64;
        let sum = xxh3_64(&out[payload..]);
        out[start + 12..start + 20].copy_from_slice(&len.to_le_bytes());
        out[start + 20..payload].copy_from_slice(&sum.to_le_bytes());
    }

    /// Entries (rejects after events) over images in order without gaps, and only the sides in use.
    fn packed(&self) -> (Vec<Entry>, Vec<Side>, Vec<u8>, Vec<u8>) {
        let (mut rows, mut large) = (Vec::with_capacity(self.rows.len()), Vec::new());
        let mut sides = vec![Side::default()];
        let mut renumbered = vec![NONE32; self.sides.len()];
        renumbered[0] = 0;
        let all = self.entries.iter().chain(self.rejects.iter().map(|reject| &reject.entry));
        let entries = all
            .map(|entry| {
                let mut entry = *entry;
                for at in [&mut entry.before, &mut entry.after] {
                    if let Some(row) = self.row_at(*at) {
                        *at = row.copy_to(&mut rows, &mut large);
                    }
                }
                let number = &mut renumbered[entry.side as usize];
                if *number == NONE32 {
                    *number = sides.len() as u32;
                    sides.push(self.sides[entry.side as usize].clone());
                }
                entry.side = *number;
                entry
            })
            .collect();
        (entries, sides, rows, large)
    }

    /// The length of the durable form that begins with this header; `None` while there are fewer than
    /// [`HEADER_BYTES`] bytes.
    ///
    /// # Errors
    ///
    /// When the bytes do not begin like a batch.
    pub fn durable_len(header: &[u8]) -> Result<Option<u64>, DurableError> {
        let Some(header) = header.get(..HEADER_BYTES) else { return Ok(None) };
        if &header[..8] != MAGIC {
            return Err(DurableError::Magic);
        }
        let version = u32::from_le_bytes(array(&header[8..12]));
        if version != VERSION {
            return Err(DurableError::Version { found: version });
        }
        let payload = u64::from_le_bytes(array(&header[12..20]));
        payload.checked_add(HEADER_BYTES as u64).map(Some).ok_or(Malformed("length"))
    }

    /// Reads a durable form. The bytes may come from anywhere.
    ///
    /// # Errors
    ///
    /// When they are not exactly one well-formed batch of this version.
    pub fn read_durable(bytes: &[u8]) -> Result<Self, DurableError> {
        let have = bytes.len() as u64;
        let want =
            Self::durable_len(bytes)?.ok_or(DurableError::Short { have, want: HEADER_BYTES as u64 })?;
        if have < want {
            return Err(DurableError::Short { have, want });
        }
        if have > want {
            return Err(Malformed("bytes after the end"));
        }
        let payload = &bytes[HEADER_BYTES..];
        if xxh3_64(payload) != u64::from_le_bytes(array(&bytes[20..28])) {
            return Err(DurableError::Checksum);
        }
        Self::read_payload(payload)
    }

    /// Reads what follows the header, without its checksum. Public for fuzzing: a fuzzer cannot guess checksums.
    ///
    /// # Errors
    ///
    /// When the bytes are not well-formed.
    pub fn read_payload(payload: &[u8]) -> Result<Self, DurableError> {
        let mut input = Input(payload);
        let info = Arc::new(take_info(&mut input)?);
        let tables = input.list(12, take_table)?;
        let transactions =
            input.list(8, |input| Ok(Transaction { id: input.text()?, source: input.pairs()? }))?;
        let sides = input.list(8, take_side)?;
        let entries = input.list(ENTRY_BYTES, take_entry)?;
        let mut rejects = input.list(12, |input| Ok((input.text()?, input.text()?, input.text()?)))?;
        let reject_entries = rejects.iter().map(|_| take_entry(&mut input)).collect::<Result<Vec<_>, _>>()?;
        let rows = input.bytes()?;
        let large = input.bytes()?;
        if !input.0.is_empty() || sides.first() != Some(&Side::default()) {
            return Err(Malformed("sections"));
        }
        let (mut row_at, mut large_at) = (0, 0);
        for entry in entries.iter().chain(&reject_entries) {
            let table = tables.get(entry.table as usize).ok_or(Malformed("table index"))?;
            if entry.side as usize >= sides.len()
                || (entry.tx != NONE32 && entry.tx as usize >= transactions.len())
            {
                return Err(Malformed("side or transaction index"));
            }
            for at in [entry.before, entry.after].into_iter().filter(|at| *at != NONE64) {
                if at != row_at as u64 {
                    return Err(Malformed("image offset"));
                }
                row_at += check_image(&rows[row_at..], large, &mut large_at, table.columns().len())
                    .ok_or(Malformed("row image"))?;
            }
        }
        if row_at != rows.len() || large_at != large.len() {
            return Err(Malformed("unused row bytes"));
        }
        let rejects = rejects
            .drain(..)
            .zip(reject_entries)
            .map(|((stage, code, reason), entry)| Reject { entry, stage, code, reason })
            .collect();
        Ok(Self {
            info,
            tables,
            transactions,
            sides,
            entries,
            rows: rows.to_vec(),
            large: large.to_vec(),
            rejects,
        })
    }
}

fn put_u32(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&(value as u32).to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u32(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_option(out: &mut Vec<u8>, text: Option<&String>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_text(out, text);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_list<T>(out: &mut Vec<u8>, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    put_u32(out, items.len());
    items.iter().for_each(|item| put(out, item));
}

fn put_pairs(out: &mut Vec<u8>, pairs: &[(String, String)]) {
    put_list(out, pairs, |out, (name, value)| {
        put_text(out, name);
        put_text(out, value);
    });
}

fn put_info(out: &mut Vec<u8>, info: &SourceInfo) {
    for text in
        [&info.connector, &info.version, &info.pipeline, &info.tenant, &info.source_id, &info.pos_name]
    {
        put_text(out, text);
    }
    out.push(u8::from(info.pos_is_lsn));
}

fn take_info(input: &mut Input<'_>) -> Result<SourceInfo, DurableError> {
    Ok(SourceInfo {
        connector: input.text()?,
        version: input.text()?,
        pipeline: input.text()?,
        tenant: input.text()?,
        source_id: input.text()?,
        pos_name: input.text()?,
        pos_is_lsn: input.flag()?,
    })
}

fn put_table(out: &mut Vec<u8>, table: &TableSchema) {
    put_text(out, table.database());
    put_option(out, table.schema().map(str::to_owned).as_ref());
    put_text(out, table.name());
    put_list(out, table.columns(), |out, column| {
        put_text(out, &column.name);
        put_text(out, column.kind.name());
        put_text(out, &column.source_type);
        out.push(u8::from(column.nullable));
    });
    put_list(out, table.key(), |out, at| out.extend_from_slice(&at.to_le_bytes()));
}

fn take_table(input: &mut Input<'_>) -> Result<Arc<TableSchema>, DurableError> {
    let (database, schema, name) = (input.text()?, input.option()?, input.text()?);
    let columns = input.list(13, |input| {
        Ok(Column {
            name: input.text()?,
            kind: Kind::from_name(&input.text()?).ok_or(Malformed("column kind"))?,
            source_type: input.text()?,
            nullable: input.flag()?,
        })
    })?;
    let key = input.list(2, |input| Ok(u16::from_le_bytes(input.array()?)))?;
    if columns.len() > TableSchema::MAX_COLUMNS {
        return Err(Malformed("too many columns"));
    }
    let key: Option<Vec<&str>> =
        key.iter().map(|at| columns.get(*at as usize).map(|c| c.name.as_str())).collect();
    let key: Vec<String> = key.ok_or(Malformed("key column"))?.into_iter().map(str::to_owned).collect();
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    Ok(TableSchema::new(database, schema, name, columns, &key))
}

fn put_side(out: &mut Vec<u8>, side: &Side) {
    out.push(u8::from(side.tags.is_some()));
    put_list(out, side.tags.as_deref().unwrap_or_default(), |out, tag| put_text(out, tag));
    put_pairs(out, &side.headers);
    put_option(out, side.topic.as_ref());
    put_option(out, side.key.as_ref());
    put_pairs(out, side.ddl.as_slice());
    put_option(out, side.message.as_ref());
    put_option(out, side.synthetic.as_ref());
    put_pairs(out, &side.fields);
}

fn take_side(input: &mut Input<'_>) -> Result<Side, DurableError> {
    let tagged = input.flag()?;
    let tags = input.list(4, Input::text)?;
    let (headers, topic, key) = (input.pairs()?, input.option()?, input.option()?);
    let mut ddl = input.pairs()?;
    if ddl.len() > 1 || !(tagged || tags.is_empty()) {
        return Err(Malformed("side"));
    }
    Ok(Side {
        tags: tagged.then_some(tags),
        headers,
        topic,
        key,
        ddl: ddl.pop(),
        message: input.option()?,
        synthetic: input.option()?,
        fields: input.pairs()?,
    })
}

const ENTRY_BYTES: usize = 16 + 4 * 8 + 4 * 4 + 4;

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    out.extend_from_slice(&entry.id.0);
    for value in [entry.before, entry.after, entry.ts_us as u64, entry.pos] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    for value in [entry.ordinal, entry.row, entry.tx, entry.side] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.extend_from_slice(&entry.table.to_le_bytes());
    out.extend_from_slice(&[entry.op as u8, entry.flags]);
}

fn take_entry(input: &mut Input<'_>) -> Result<Entry, DurableError> {
    let id = EventId(input.array()?);
    let [before, after, ts, pos] = input.u64s()?;
    let mut small = [0; 4];
    for value in &mut small {
        *value = u32::from_le_bytes(input.array()?);
    }
    let [ordinal, row, tx, side] = small;
    let table = u16::from_le_bytes(input.array()?);
    let [op, flags] = input.array()?;
    let op = Op::from_byte(op).ok_or(Malformed("operation"))?;
    if flags & !(FLAG_LAST | 3 << SNAPSHOT_SHIFT) != 0 {
        return Err(Malformed("flags"));
    }
    Ok(Entry { id, before, after, ts_us: ts as i64, pos, ordinal, row, tx, side, table, op, flags })
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DurableError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Malformed("a section ends too early"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DurableError> {
        self.take(N).map(array)
    }

    fn u32(&mut self) -> Result<usize, DurableError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn u64s<const N: usize>(&mut self) -> Result<[u64; N], DurableError> {
        let mut values = [0; N];
        for value in &mut values {
            *value = u64::from_le_bytes(self.array()?);
        }
        Ok(values)
    }

    fn flag(&mut self) -> Result<bool, DurableError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed("flag")),
        }
    }

    fn text(&mut self) -> Result<String, DurableError> {
        let len = self.u32()?;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| Malformed("text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn option(&mut self) -> Result<Option<String>, DurableError> {
        if self.flag()? { self.text().map(Some) } else { Ok(None) }
    }

    fn bytes(&mut self) -> Result<&'a [u8], DurableError> {
        let len = u64::from_le_bytes(self.array()?);
        self.take(usize::try_from(len).map_err(|_| Malformed("length"))?)
    }

    /// A list of items of at least `least` bytes each, so that a made-up count cannot ask for memory.
    fn list<T>(
        &mut self,
        least: usize,
        mut take: impl FnMut(&mut Self) -> Result<T, DurableError>,
    ) -> Result<Vec<T>, DurableError> {
        let count = self.u32()?;
        if count > self.0.len() / least {
            return Err(Malformed("a list is longer than its section"));
        }
        (0..count).map(|_| take(self)).collect()
    }

    fn pairs(&mut self) -> Result<Vec<(String, String)>, DurableError> {
        self.list(8, |input| Ok((input.text()?, input.text()?)))
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk::<N>().copied().unwrap_or([0; N])
}
