//! A slice as scripts see it: groups of records, and their columns as JSON text.
//!
//! A group is a set of records of one shape: 0 the events, 1 their `source`, then one for each table and image.
//! Columns are fetched by group and number, whole, the first time a script touches one.

use std::collections::HashMap;

use deltaforge_model::json::{write_cell, write_compact, write_string};
use deltaforge_model::value::CellKind;
use deltaforge_model::{Cell, Event, Image, SnapshotMark, TableSchema, View};

/// The members of an event, by the numbers that the prelude asks with.
pub(crate) const EVENT_MEMBERS: [&str; 16] = [
    "before",
    "after",
    "source",
    "op",
    "ts_ms",
    "transaction",
    "event_id",
    "tenant_id",
    "schema_version",
    "ddl",
    "message",
    "tags",
    "synthetic",
    "table",
    "routing",
    "route",
];

/// The members of `source` before those that the connector adds.
const SOURCE_MEMBERS: [&str; 8] =
    ["version", "connector", "name", "ts_ms", "db", "schema", "table", "snapshot"];

/// Integers beyond this are no longer exact as a JavaScript number, and reach scripts as text.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// The number of the events' group.
pub(crate) const EVENTS: u32 = 0;
/// The number of the sources' group.
pub(crate) const SOURCES: u32 = 1;
const FIRST_TABLE: u32 = 2;

/// Column lists that the script engine knows, for as long as it lives. Numbers are never used again for another.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    tables: HashMap<u64, u32>,
    sources: HashMap<Vec<String>, u32>,
    columns: Vec<Vec<String>>,
}

impl Shapes {
    /// Number 0 is the event itself.
    const EVENT: u32 = 0;

    fn of_table(&mut self, table: &TableSchema) -> u32 {
        let next = self.columns.len() as u32 + 1;
        *self.tables.entry(table.fingerprint()).or_insert_with(|| {
            self.columns.push(table.columns().iter().map(|column| column.name.clone()).collect());
            next
        })
    }

    fn of_source(&mut self, members: Vec<String>) -> u32 {
        let next = self.columns.len() as u32 + 1;
        match self.sources.get(&members) {
            Some(known) => *known,
            None => {
                self.columns.push(members.clone());
                self.sources.insert(members, next);
                next
            }
        }
    }

    /// The columns of a shape as a JSON array.
    pub(crate) fn columns_json(&self, shape: u32) -> String {
        let columns = (shape as usize).checked_sub(1).and_then(|at| self.columns.get(at));
        serde_json::to_string(columns.map_or(&[][..], Vec::as_slice)).expect("names are text")
    }

    /// How many there are, to notice an engine that has seen too many.
    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }
}

/// The records of one table and image.
#[derive(Debug)]
pub(crate) struct Group {
    /// The table's index in the batch.
    pub table: u16,
    /// Which image.
    pub image: Image,
    /// The view's row of each record.
    pub rows: Vec<u32>,
}

/// How a slice falls into groups.
#[derive(Debug)]
pub(crate) struct Plan {
    groups: Vec<Group>,
    /// The members of `source` in this slice.
    source: Vec<String>,
    /// What the prelude reads: events, groups, whether an earlier script added members, the shape of each group,
    /// its number of rows, then for each event the group and row of its images (-1: none) and the number of its tag list.
    words: Vec<i32>,
    /// A side that has each distinct tag list, as a row of the view.
    tag_rows: Vec<u32>,
}

impl Plan {
    /// Looks at a slice.
    pub(crate) fn new(view: &View, shapes: &mut Shapes) -> Self {
        let tables = view.batch().tables();
        let mut group_of = vec![[u32::MAX; 2]; tables.len()];
        let mut groups: Vec<Group> = Vec::new();
        let mut words = Vec::with_capacity(view.len() * 5);
        let mut tags: HashMap<u32, i32> = HashMap::new();
        let (mut tag_rows, mut any_fields) = (Vec::new(), false);
        for (row, event) in view.events().enumerate() {
            for (slot, image) in [Image::After, Image::Before].into_iter().enumerate() {
                if event.image(image).is_none() {
                    words.extend([-1, 0]);
                    continue;
                }
                let known = &mut group_of[event.table_index()][slot];
                if *known == u32::MAX {
                    *known = groups.len() as u32;
                    groups.push(Group { table: event.table_index() as u16, image, rows: Vec::new() });
                }
                let rows = &mut groups[*known as usize].rows;
                words.extend([(*known + FIRST_TABLE) as i32, rows.len() as i32]);
                rows.push(row as u32);
            }
            let side = event.side_index();
            let tag_set = if side == 0 {
                0
            } else {
                *tags.entry(side).or_insert_with(|| {
                    any_fields |= !event.side().fields.is_empty();
                    if event.side().tags.is_none() {
                        return 0;
                    }
                    tag_rows.push(row as u32);
                    tag_rows.len() as i32
                })
            };
            words.push(tag_set);
        }
        let source = source_members(view);
        let mut head = vec![view.len() as i32, (groups.len() as u32 + FIRST_TABLE) as i32];
        head.push(i32::from(any_fields));
        head.extend([Shapes::EVENT as i32, shapes.of_source(source.clone()) as i32]);
        head.extend(groups.iter().map(|group| shapes.of_table(&tables[group.table as usize]) as i32));
        head.extend([view.len() as i32; 2]);
        head.extend(groups.iter().map(|group| group.rows.len() as i32));
        head.extend(words);
        Self { groups, source, words: head, tag_rows }
    }

    /// The plan as the prelude reads it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A group of row images; `None` for events, sources and numbers that do not exist.
    pub(crate) fn group(&self, group: u32) -> Option<&Group> {
        self.groups.get(group.checked_sub(FIRST_TABLE)? as usize)
    }

    /// The group and row of an event's image.
    pub(crate) fn record(&self, row: u32, image: Image) -> Option<(u32, u32)> {
        let at = 3 + 2 * self.words[1] as usize + row as usize * 5 + usize::from(image == Image::Before) * 2;
        let [group, record] = *self.words.get(at..at + 2)? else { return None };
        Some((u32::try_from(group).ok()?, record as u32))
    }

    /// The distinct tag lists as JSON: `[[], ["a"], …]`; the first stands for no tags at all.
    pub(crate) fn tag_sets(&self, view: &View) -> String {
        let lists: Vec<&[String]> = std::iter::once(&[][..])
            .chain(
                self.tag_rows
                    .iter()
                    .map(|row| view.event(*row as usize).side().tags.as_deref().unwrap_or_default()),
            )
            .collect();
        serde_json::to_string(&lists).expect("tags are text")
    }

    /// A column as a JSON array, with one more element at the end: 0, or the rows that have no such cell and
    /// whether objects are among the values, or how many rows have the one value there is. Empty: no row has such
    /// a cell.
    pub(crate) fn column(&self, view: &View, group: u32, column: u32) -> String {
        let mut out = ColumnText::default();
        match group {
            EVENTS => {
                let name = EVENT_MEMBERS.get(column as usize).copied().unwrap_or_default();
                for event in view.events() {
                    out.push(|text| event_member(&event, name, text));
                }
            }
            SOURCES => {
                let name = self.source.get(column as usize).map_or("", String::as_str);
                for event in view.events() {
                    out.push(|text| source_member(&event, name, text));
                }
            }
            _ => {
                let Some(group) = self.group(group) else { return String::new() };
                for row in &group.rows {
                    let cell = view.event(*row as usize).image(group.image);
                    let cell = cell.map_or(Cell::Absent, |image| image.cell(column as usize));
                    out.push(|text| script_cell(&cell, text));
                }
            }
        }
        out.finish()
    }

    /// Members that an earlier script added: `[[group, name, [rows], [values]], …]`.
    pub(crate) fn extras(&self, view: &View) -> String {
        let mut found: Vec<(u32, &str, Vec<u32>, Vec<&str>)> = Vec::new();
        let mut places: HashMap<(u32, &str), usize> = HashMap::new();
        for (row, event) in view.events().enumerate() {
            for (path, json) in &event.side().fields {
                let (group, name) = field_place(path);
                let known = match group {
                    EVENTS => EVENT_MEMBERS.contains(&name),
                    _ => self.source.iter().any(|member| member == name),
                };
                if known || json.is_empty() {
                    continue;
                }
                let at = *places.entry((group, name)).or_insert_with(|| {
                    found.push((group, name, Vec::new(), Vec::new()));
                    found.len() - 1
                });
                found[at].2.push(row as u32);
                found[at].3.push(json);
            }
        }
        let mut out = b"[".to_vec();
        for (at, (group, name, rows, values)) in found.iter().enumerate() {
            out.extend_from_slice(if at > 0 { b",[" } else { b"[" });
            out.extend_from_slice(itoa::Buffer::new().format(*group).as_bytes());
            out.push(b',');
            write_string(name, &mut out);
            out.push(b',');
            out.extend_from_slice(serde_json::to_string(rows).expect("numbers").as_bytes());
            out.extend_from_slice(b",[");
            for (at, json) in values.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                raw_json(json, &mut out);
            }
            out.extend_from_slice(b"]]");
        }
        out.push(b']');
        utf8(out)
    }
}

/// What the slice's events had when the script saw them.
pub(crate) struct Shown<'a> {
    /// By the number of a side, where an earlier script added many members: their JSON.
    many: HashMap<u32, HashMap<(u32, &'a str), &'a str>>,
}

impl<'a> Shown<'a> {
    /// Up to so many members are searched one by one.
    const FEW: usize = 16;

    pub(crate) fn of(view: &'a View) -> Self {
        let mut many = HashMap::new();
        for event in view.events().filter(|event| event.side().fields.len() > Self::FEW) {
            many.entry(event.side_index()).or_insert_with(|| {
                let fields = event.side().fields.iter();
                fields.map(|(path, json)| (field_place(path), json.as_str())).collect()
            });
        }
        Self { many }
    }

    /// An event's or a source's member as the script saw it; `None`: it had none.
    pub(crate) fn member(&self, event: &Event<'_>, group: u32, name: &str) -> Option<String> {
        let known = match self.many.get(&event.side_index()) {
            Some(fields) => fields.get(&(group, name)).copied(),
            None => field(event, group, name),
        };
        let mut text = Vec::new();
        let seen = match (known, group) {
            (Some(""), _) => Seen::Absent,
            (Some(json), _) => raw_json(json, &mut text),
            (None, EVENTS) => own_event_member(event, name, &mut text),
            (None, _) => own_source_member(event, name, &mut text),
        };
        (seen != Seen::Absent).then(|| utf8(text))
    }
}

/// The group and the member that a script's field stands for.
fn field_place(path: &str) -> (u32, &str) {
    path.strip_prefix("source.").map_or((EVENTS, path), |name| (SOURCES, name))
}

/// What was written for a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Absent,
    Plain,
    /// An object or an array: the script may change it inside.
    Nested,
}

#[derive(Default)]
struct ColumnText {
    text: Vec<u8>,
    rows: u32,
    absent: Vec<u32>,
    nested: bool,
    /// Where the first value starts and ends, as long as all others are the same.
    same: Option<(usize, usize)>,
}

impl ColumnText {
    #[inline]
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Seen) {
        self.text.push(if self.rows == 0 { b'[' } else { b',' });
        let start = self.text.len();
        let seen = write(&mut self.text);
        if self.rows == 0 {
            self.same = Some((start, self.text.len()));
        } else if let Some((from, to)) = self.same
            && self.text[from..to] != self.text[start..]
        {
            self.same = None;
        }
        match seen {
            Seen::Absent => {
                self.text.push(b'0');
                self.absent.push(self.rows);
            }
            Seen::Plain => {}
            Seen::Nested => self.nested = true,
        }
        self.rows += 1;
    }

    fn finish(mut self) -> String {
        if self.absent.len() as u32 == self.rows {
            return String::new();
        }
        if self.absent.is_empty() && !self.nested {
            if let Some((_, to)) = self.same
                && self.rows > 1
            {
                self.text.truncate(to);
                self.text.extend_from_slice(format!(",{{\"same\":{}}}]", self.rows).as_bytes());
                return utf8(self.text);
            }
            self.text.extend_from_slice(b",0]");
        } else {
            let absent = serde_json::to_string(&self.absent).expect("numbers");
            self.text.extend_from_slice(
                format!(",{{\"absent\":{absent},\"nested\":{}}}]", self.nested).as_bytes(),
            );
        }
        utf8(self.text)
    }
}

fn utf8(text: Vec<u8>) -> String {
    String::from_utf8(text).expect("JSON is written from text")
}

/// A cell as scripts read it: as on the wire, but integers that JavaScript cannot hold are text.
fn script_cell(cell: &Cell<'_>, out: &mut Vec<u8>) -> Seen {
    match cell {
        Cell::Absent => return Seen::Absent,
        Cell::Int(v) if v.unsigned_abs() > MAX_SAFE => {
            out.push(b'"');
            out.extend_from_slice(itoa::Buffer::new().format(*v).as_bytes());
            out.push(b'"');
        }
        Cell::UInt(v) if *v > MAX_SAFE => {
            out.push(b'"');
            out.extend_from_slice(itoa::Buffer::new().format(*v).as_bytes());
            out.push(b'"');
        }
        Cell::Array(array) => {
            out.push(b'[');
            for (at, element) in array.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                script_cell(&element, out);
            }
            out.push(b']');
        }
        cell => write_cell(cell, out),
    }
    match cell.kind() {
        CellKind::Array | CellKind::Bytes | CellKind::Json | CellKind::Unavailable => Seen::Nested,
        _ => Seen::Plain,
    }
}

/// The connector's own members of `source` in this slice, after the common ones.
fn source_members(view: &View) -> Vec<String> {
    let mut members: Vec<String> = SOURCE_MEMBERS.map(str::to_owned).to_vec();
    let mut last = None;
    for event in view.events() {
        if event.transaction_index().is_some() && event.transaction_index() != last {
            last = event.transaction_index();
            for (name, _) in event.transaction().into_iter().flat_map(|transaction| &transaction.source) {
                if !members.contains(name) {
                    members.push(name.clone());
                }
            }
        }
    }
    let pos = &view.batch().info().pos_name;
    if !pos.is_empty() && !members.contains(pos) {
        members.push(pos.clone());
    }
    members
}

/// What a script made of a member earlier; an empty text: it was taken away.
fn field<'a>(event: &Event<'a>, group: u32, name: &str) -> Option<&'a str> {
    let fields = &event.side().fields;
    let (_, json) = fields.iter().find(|(path, _)| field_place(path) == (group, name))?;
    Some(json)
}

fn raw_json(json: &str, out: &mut Vec<u8>) -> Seen {
    if !write_compact(json, out) {
        write_string(json, out);
    }
    if json.trim_start().starts_with(['{', '[']) { Seen::Nested } else { Seen::Plain }
}

fn plain(text: &str, out: &mut Vec<u8>) -> Seen {
    write_string(text, out);
    Seen::Plain
}

fn event_member(event: &Event<'_>, name: &str, out: &mut Vec<u8>) -> Seen {
    match field(event, EVENTS, name) {
        Some("") => Seen::Absent,
        Some(json) => raw_json(json, out),
        None => own_event_member(event, name, out),
    }
}

/// The member as it is without what scripts made of it.
fn own_event_member(event: &Event<'_>, name: &str, out: &mut Vec<u8>) -> Seen {
    let side = event.side();
    match name {
        "op" => plain(event.op().code(), out),
        "ts_ms" => script_cell(&Cell::Int(event.ts_us().div_euclid(1000)), out),
        "transaction" => match event.transaction() {
            Some(transaction) if !transaction.id.is_empty() => {
                out.extend_from_slice(br#"{"id":"#);
                write_string(&transaction.id, out);
                out.push(b'}');
                Seen::Nested
            }
            _ => Seen::Absent,
        },
        "event_id" => {
            out.push(b'"');
            out.extend_from_slice(&event.id().to_ascii());
            out.push(b'"');
            Seen::Plain
        }
        "tenant_id" if !event.info().tenant.is_empty() => plain(&event.info().tenant, out),
        "schema_version" => plain(&format!("{:016x}", event.table().fingerprint()), out),
        "ddl" => match &side.ddl {
            Some((sql, database)) => {
                out.extend_from_slice(br#"{"sql":"#);
                write_string(sql, out);
                out.extend_from_slice(br#","database":"#);
                write_string(database, out);
                out.push(b'}');
                Seen::Nested
            }
            None => Seen::Absent,
        },
        "message" => side.message.as_ref().map_or(Seen::Absent, |message| raw_json(message, out)),
        "synthetic" => side.synthetic.as_ref().map_or(Seen::Absent, |producer| plain(producer, out)),
        "table" => plain(event.table().qualified(), out),
        "routing" => {
            if side.topic.is_none() && side.key.is_none() && side.headers.is_empty() {
                return Seen::Absent;
            }
            let mut open = b'{';
            for (name, value) in [("topic", &side.topic), ("key", &side.key)] {
                if let Some(value) = value {
                    out.push(std::mem::replace(&mut open, b','));
                    write_string(name, out);
                    out.push(b':');
                    write_string(value, out);
                }
            }
            if !side.headers.is_empty() {
                out.push(open);
                out.extend_from_slice(br#""headers""#);
                let mut open = &b":{"[..];
                for (name, value) in &side.headers {
                    out.extend_from_slice(std::mem::replace(&mut open, b","));
                    write_string(name, out);
                    out.push(b':');
                    write_string(value, out);
                }
                out.push(b'}');
            }
            out.push(b'}');
            Seen::Nested
        }
        _ => Seen::Absent,
    }
}

fn source_member(event: &Event<'_>, name: &str, out: &mut Vec<u8>) -> Seen {
    match field(event, SOURCES, name) {
        Some("") => Seen::Absent,
        Some(json) => raw_json(json, out),
        None => own_source_member(event, name, out),
    }
}

/// As above.
fn own_source_member(event: &Event<'_>, name: &str, out: &mut Vec<u8>) -> Seen {
    let info = event.info();
    match name {
        "version" => plain(&info.version, out),
        "connector" => plain(&info.connector, out),
        "name" => plain(&info.pipeline, out),
        "ts_ms" => script_cell(&Cell::Int(event.ts_us().div_euclid(1000)), out),
        "db" => plain(event.table().database(), out),
        "schema" => event.table().schema().map_or(Seen::Absent, |schema| plain(schema, out)),
        "table" => plain(event.table().name(), out),
        "snapshot" => match event.snapshot() {
            SnapshotMark::No => Seen::Absent,
            SnapshotMark::First => plain("first", out),
            SnapshotMark::True => plain("true", out),
            SnapshotMark::Last => plain("last", out),
        },
        name => {
            let added = event.transaction().and_then(|transaction| {
                transaction.source.iter().find(|(member, _)| member == name).map(|(_, json)| json)
            });
            match added {
                Some(json) => raw_json(json, out),
                None if name == info.pos_name && event.snapshot() == SnapshotMark::No => {
                    if info.pos_is_lsn {
                        let pos = event.pos();
                        return plain(&format!("{:X}/{:X}", pos >> 32, pos as u32), out);
                    }
                    script_cell(&Cell::UInt(event.pos()), out)
                }
                None => Seen::Absent,
            }
        }
    }
}
