//! Between the interface's types and the SDK's.

use super::*;
use crate::FailureKind;
use deltaforge_model::schema::Column as SchemaColumn;
use deltaforge_model::{EventId, TableSchema};
use std::borrow::Cow;

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::Retry => "retry",
            FailureKind::Fatal => "fatal",
        };
        Self { kind: kind.to_owned(), message: failure.message }
    }
}

pub(super) fn image(image: Image) -> types::Image {
    match image {
        Image::Before => types::Image::Before,
        Image::After => types::Image::After,
    }
}

/// Operations that this SDK does not know yet count as messages: they have no row.
pub(super) fn op(op: u8) -> Op {
    Op::from_byte(op).unwrap_or(Op::Message)
}

pub(super) fn table(table: types::Table) -> Table {
    let key: Vec<String> =
        table.columns.iter().filter(|column| column.key).map(|column| column.name.clone()).collect();
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    let columns = table.columns.into_iter().map(|column| SchemaColumn {
        name: column.name,
        kind: Kind::from_name(&column.kind).unwrap_or(Kind::Any),
        source_type: column.source_type,
        nullable: column.nullable,
    });
    Table {
        fingerprint: table.fingerprint,
        schema: TableSchema::new(table.database, table.schema, table.name, columns.collect(), &key),
    }
}

pub(super) fn origin<'a>(origin: types::Origin) -> Origin<'a> {
    Origin {
        event_id: origin.event_id.parse().unwrap_or(EventId([0; 16])),
        ts_us: origin.ts_us,
        transaction: origin.transaction.map(Cow::Owned),
        ordinal: origin.ordinal,
        position: origin.position,
    }
}

pub(super) fn flat(flat: types::Flat) -> Flat {
    let types::Flat { present, ends, data } = flat;
    Flat { present, ends, data }
}

pub(super) fn mask(mask: &[bool]) -> Vec<u8> {
    mask.iter().map(|is| u8::from(*is)).collect()
}

/// An empty mask means every row; one of no rows at all is for a batch of none.
pub(super) fn optional_mask(of: Option<&[bool]>) -> Vec<u8> {
    of.map(mask).unwrap_or_default()
}

pub(super) fn route(route: &Route) -> events::Route {
    events::Route { topic: route.topic.clone(), key: route.key.clone(), headers: route.headers.clone() }
}

pub(super) fn named(values: &NamedValues) -> Vec<(String, types::Value)> {
    values.iter().map(|(name, value)| (name.clone(), to_wit(value))).collect()
}

pub(super) fn values(values: Vec<types::Value>) -> Vec<Value<'static>> {
    values.into_iter().map(value).collect()
}

pub(super) fn value<'a>(value: types::Value) -> Value<'a> {
    use types::Value as Wit;
    match value {
        Wit::Absent => Value::Absent,
        Wit::Null => Value::Null,
        Wit::Unavailable => Value::Unavailable,
        Wit::Boolean(v) => Value::Bool(v),
        Wit::Int(v) => Value::Int(v),
        Wit::Uint(v) => Value::UInt(v),
        Wit::Float32(v) => Value::Float32(v),
        Wit::Float64(v) => Value::Float64(v),
        Wit::Decimal(s) => Value::Decimal(Cow::Owned(s)),
        Wit::Text(s) => Value::Text(Cow::Owned(s)),
        Wit::Bytes(b) => Value::Bytes(Cow::Owned(b)),
        Wit::Date(v) => Value::Date(v),
        Wit::Time(v) => Value::Time(v),
        Wit::Datetime(v) => Value::DateTime(v),
        Wit::Timestamp(v) => Value::Timestamp(v),
        Wit::Json(s) => Value::Json(Cow::Owned(s)),
        Wit::Uuid(b) => Value::Uuid(b.try_into().unwrap_or_default()),
        Wit::Enumerated(s) => Value::Enum(Cow::Owned(s)),
        Wit::Labels(s) => Value::Set(Cow::Owned(s)),
        Wit::Array(b) => Value::Array(Cow::Owned(b)),
    }
}

pub(super) fn to_wit(value: &Value<'_>) -> types::Value {
    use types::Value as Wit;
    let text = |s: &Cow<'_, str>| s.clone().into_owned();
    match value {
        Value::Absent => Wit::Absent,
        Value::Null => Wit::Null,
        Value::Unavailable => Wit::Unavailable,
        Value::Bool(v) => Wit::Boolean(*v),
        Value::Int(v) => Wit::Int(*v),
        Value::UInt(v) => Wit::Uint(*v),
        Value::Float32(v) => Wit::Float32(*v),
        Value::Float64(v) => Wit::Float64(*v),
        Value::Decimal(s) => Wit::Decimal(text(s)),
        Value::Text(s) => Wit::Text(text(s)),
        Value::Bytes(b) => Wit::Bytes(b.clone().into_owned()),
        Value::Date(v) => Wit::Date(*v),
        Value::Time(v) => Wit::Time(*v),
        Value::DateTime(v) => Wit::Datetime(*v),
        Value::Timestamp(v) => Wit::Timestamp(*v),
        Value::Json(s) => Wit::Json(text(s)),
        Value::Uuid(v) => Wit::Uuid(v.to_vec()),
        Value::Enum(s) => Wit::Enumerated(text(s)),
        Value::Set(s) => Wit::Labels(text(s)),
        Value::Array(b) => Wit::Array(b.clone().into_owned()),
    }
}
