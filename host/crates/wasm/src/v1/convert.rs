//! Between the interface's types and the model's.

use deltaforge_model::edit::{Emit, NamedCells, OwnedCell, SideEdit};
use deltaforge_model::value::ArrayRef;
use deltaforge_model::{Batch, Cell, Event, Image};

use super::bindings::processor::deltaforge::plugin::{events, types};
use crate::call::{check_json, operation};
use crate::error::Ended;

pub(super) fn image(image: types::Image) -> Image {
    match image {
        types::Image::Before => Image::Before,
        types::Image::After => Image::After,
    }
}

/// A value on its way to the guest.
pub(super) fn value(cell: &Cell<'_>) -> types::Value {
    use types::Value;
    match cell {
        Cell::Absent => Value::Absent,
        Cell::Null => Value::Null,
        Cell::Unavailable => Value::Unavailable,
        Cell::Bool(v) => Value::Boolean(*v),
        Cell::Int(v) => Value::Int(*v),
        Cell::UInt(v) => Value::Uint(*v),
        Cell::Float32(v) => Value::Float32(*v),
        Cell::Float64(v) => Value::Float64(*v),
        Cell::Decimal(s) => Value::Decimal((*s).to_owned()),
        Cell::Text(s) => Value::Text((*s).to_owned()),
        Cell::Bytes(b) => Value::Bytes(b.to_vec()),
        Cell::Date(v) => Value::Date(*v),
        Cell::Time(v) => Value::Time(*v),
        Cell::DateTime(v) => Value::Datetime(*v),
        Cell::Timestamp(v) => Value::Timestamp(*v),
        Cell::Json(s) => Value::Json((*s).to_owned()),
        Cell::Uuid(b) => Value::Uuid(b.to_vec()),
        Cell::Enum(s) => Value::Enumerated((*s).to_owned()),
        Cell::Set(s) => Value::Labels((*s).to_owned()),
        Cell::Array(a) => Value::Array(a.as_bytes().to_vec()),
    }
}

/// A value that came from the guest.
pub(super) fn cell(value: &types::Value) -> Result<Cell<'_>, Ended> {
    use types::Value;
    Ok(match value {
        Value::Absent => Cell::Absent,
        Value::Null => Cell::Null,
        Value::Unavailable => Cell::Unavailable,
        Value::Boolean(v) => Cell::Bool(*v),
        Value::Int(v) => Cell::Int(*v),
        Value::Uint(v) => Cell::UInt(*v),
        Value::Float32(v) => Cell::Float32(*v),
        Value::Float64(v) => Cell::Float64(*v),
        Value::Decimal(s) => Cell::Decimal(s),
        Value::Text(s) => Cell::Text(s),
        Value::Bytes(b) => Cell::Bytes(b),
        Value::Date(v) => Cell::Date(*v),
        Value::Time(v) => Cell::Time(*v),
        Value::Datetime(v) => Cell::DateTime(*v),
        Value::Timestamp(v) => Cell::Timestamp(*v),
        Value::Json(s) => Cell::Json(s),
        Value::Uuid(b) => Cell::Uuid(
            b.as_slice()
                .try_into()
                .map_err(|_| Ended::Edit(format!("a UUID has 16 bytes, not {}", b.len())))?,
        ),
        Value::Enumerated(s) => Cell::Enum(s),
        Value::Labels(s) => Cell::Set(s),
        Value::Array(bytes) => Cell::Array(
            ArrayRef::new(bytes)
                .ok_or_else(|| Ended::Edit("an array's bytes are not well-formed".to_owned()))?,
        ),
    })
}

pub(super) fn named(values: &[(String, types::Value)]) -> Result<NamedCells, Ended> {
    values
        .iter()
        .map(|(name, value)| {
            let cell = cell(value)?;
            check_json(&cell)?;
            Ok((name.clone(), OwnedCell::from(&cell)))
        })
        .collect()
}

pub(super) fn route(route: events::Route) -> impl Iterator<Item = SideEdit> {
    let topic = route.topic.map(|topic| SideEdit::Topic(Some(topic)));
    let key = route.key.map(|key| SideEdit::Key(Some(key)));
    let headers = route.headers.into_iter().map(|(name, value)| SideEdit::Header(name, value));
    topic.into_iter().chain(key).chain(headers)
}

pub(super) fn emit(event: events::NewEvent) -> Result<Emit, Ended> {
    let tags = event.tags.into_iter().map(SideEdit::Tag);
    Ok(Emit {
        op: operation(event.op)?,
        before: event.before.as_deref().map(named).transpose()?,
        after: event.after.as_deref().map(named).transpose()?,
        side: tags.chain(route(event.route)).collect(),
    })
}

pub(super) fn source(batch: &Batch) -> types::Source {
    let info = batch.info();
    types::Source {
        connector: info.connector.clone(),
        pipeline: info.pipeline.clone(),
        tenant: info.tenant.clone(),
        id: info.source_id.clone(),
    }
}

pub(super) fn tables(batch: &Batch) -> Vec<types::Table> {
    batch
        .tables()
        .iter()
        .map(|table| types::Table {
            database: table.database().to_owned(),
            schema: table.schema().map(str::to_owned),
            name: table.name().to_owned(),
            fingerprint: table.fingerprint(),
            columns: table
                .columns()
                .iter()
                .enumerate()
                .map(|(at, column)| types::Column {
                    name: column.name.clone(),
                    kind: column.kind.name().to_owned(),
                    source_type: column.source_type.clone(),
                    key: table.is_key(at as u16),
                    nullable: column.nullable,
                })
                .collect(),
        })
        .collect()
}

pub(super) fn origin(event: &Event<'_>) -> types::Origin {
    types::Origin {
        event_id: event.id().to_string(),
        ts_us: event.ts_us(),
        transaction: event.transaction().map(|transaction| transaction.id.clone()),
        ordinal: event.ordinal(),
        position: event.pos(),
    }
}

pub(super) fn extras(event: &Event<'_>) -> types::Extras {
    let side = event.side();
    types::Extras {
        tags: side.tags.clone().unwrap_or_default(),
        headers: side.headers.clone(),
        topic: side.topic.clone(),
        key: side.key.clone(),
        ddl: side.ddl.clone(),
        message: side.message.clone(),
        synthetic: side.synthetic.clone(),
    }
}
