//! What the prelude may ask of the host and tell it. Scripts cannot reach any of it.

use deltaforge_engine::stage::{EditBudget, StageLimits, TooMany};
use deltaforge_model::View;
use deno_core::{OpState, extension, op2, v8};

use crate::changes::{Change, Changes};
use crate::console::Console;
use crate::plan::{Plan, Shapes};

/// The slice in work.
pub(crate) struct Call {
    pub view: View,
    pub plan: Plan,
    pub changes: Changes,
    /// What was told so far.
    pub told: EditBudget,
    /// Why nothing of it counts, once that is so; what is told after it is not kept.
    pub spoiled: Option<Spoiled>,
}

/// Why what a script did does not count.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spoiled {
    /// It is more than it may be.
    TooMany(TooMany),
    /// It did not come out of the engine as it was told.
    Torn,
}

impl Call {
    pub(crate) fn new(view: View, plan: Plan, limits: &StageLimits) -> Self {
        Self { view, plan, changes: Changes::default(), told: EditBudget::new(limits), spoiled: None }
    }
}

/// Bytes that an edit takes beside its value.
const EDIT: usize = 40;

/// What the engine holds for its ops.
#[derive(Default)]
pub(crate) struct Desk {
    pub shapes: Shapes,
    pub call: Option<Call>,
    pub console: Console,
}

extension!(
    deltaforge,
    ops = [
        op_df_plan,
        op_df_shape,
        op_df_tagsets,
        op_df_extras,
        op_df_column,
        op_df_set,
        op_df_delete,
        op_df_tags,
        op_df_keep,
        op_df_new,
        op_df_log,
    ],
    state = |state| state.put(Desk::default()),
);

/// A text for the script; nothing where its heap has no room for it, which ends the call.
fn text<'s>(scope: &mut v8::PinScope<'s, '_>, text: &str) -> v8::Local<'s, v8::Value> {
    match v8::String::new(scope, text) {
        Some(text) => text.into(),
        None => v8::undefined(scope).into(),
    }
}

/// A list of rows as the script's engine holds it; `None`: it is not the `length` numbers that it should be.
///
/// Copied out of the engine. The other way, as an op's buffer, asks a registry of backing stores by address, which knows
/// those of engines that are gone: a list that lies where one of theirs lay would be cut to its length.
pub(crate) fn ints(list: v8::Local<'_, v8::Int32Array>, length: u32) -> Option<Vec<i32>> {
    let mut bytes = vec![0; length as usize * 4];
    if list.byte_length() != bytes.len() || list.copy_contents(&mut bytes) != bytes.len() {
        return None;
    }
    Some(bytes.as_chunks::<4>().0.iter().map(|word| i32::from_le_bytes(*word)).collect())
}

fn rows(list: v8::Local<'_, v8::Int32Array>, length: u32) -> Option<Vec<u32>> {
    Some(ints(list, length)?.into_iter().map(i32::cast_unsigned).collect())
}

impl Desk {
    fn of(state: &OpState) -> &Self {
        state.borrow::<Self>()
    }

    /// Takes something that the script did to so many rows and that takes so many bytes. `None`: it did not arrive whole.
    fn tell(state: &mut OpState, rows: u32, bytes: usize, tell: impl FnOnce(&mut Changes) -> Option<()>) {
        let Some(call) = &mut state.borrow_mut::<Self>().call else { return };
        if call.spoiled.is_some() {
            return;
        }
        let spoiled = match call.told.charge(&call.view, EDIT + rows as usize * EDIT + bytes) {
            Ok(()) if tell(&mut call.changes).is_some() => return,
            Ok(()) => Spoiled::Torn,
            Err(over) => Spoiled::TooMany(over),
        };
        call.spoiled = Some(spoiled);
        call.changes = Changes::default();
    }
}

#[op2]
#[buffer]
fn op_df_plan(state: &mut OpState) -> Vec<u8> {
    Desk::of(state).call.as_ref().map_or_else(|| vec![0; 12], |call| call.plan.bytes())
}

#[op2]
fn op_df_shape<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &mut OpState,
    #[smi] shape: u32,
) -> v8::Local<'s, v8::Value> {
    text(scope, &Desk::of(state).shapes.columns_json(shape))
}

#[op2]
fn op_df_tagsets<'s>(scope: &mut v8::PinScope<'s, '_>, state: &mut OpState) -> v8::Local<'s, v8::Value> {
    let call = Desk::of(state).call.as_ref();
    text(scope, &call.map_or_else(|| "[]".to_owned(), |call| call.plan.tag_sets(&call.view)))
}

#[op2]
fn op_df_extras<'s>(scope: &mut v8::PinScope<'s, '_>, state: &mut OpState) -> v8::Local<'s, v8::Value> {
    let call = Desk::of(state).call.as_ref();
    text(scope, &call.map_or_else(|| "[]".to_owned(), |call| call.plan.extras(&call.view)))
}

#[op2]
fn op_df_column<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &mut OpState,
    #[smi] group: u32,
    #[smi] column: u32,
) -> v8::Local<'s, v8::Value> {
    let call = Desk::of(state).call.as_ref();
    text(scope, &call.map_or_else(String::new, |call| call.plan.column(&call.view, group, column)))
}

#[op2(fast)]
fn op_df_set(
    state: &mut OpState,
    #[smi] group: u32,
    #[string] column: String,
    at: v8::Local<'_, v8::Int32Array>,
    #[smi] length: u32,
    #[string] values: String,
) {
    Desk::tell(state, length, column.len() + values.len(), |changes| {
        changes.list.push(Change::Set { group, column, rows: rows(at, length)?, values });
        Some(())
    });
}

#[op2(fast)]
fn op_df_delete(
    state: &mut OpState,
    #[smi] group: u32,
    #[string] column: String,
    at: v8::Local<'_, v8::Int32Array>,
    #[smi] length: u32,
) {
    Desk::tell(state, length, column.len(), |changes| {
        changes.list.push(Change::Delete { group, column, rows: rows(at, length)? });
        Some(())
    });
}

#[op2(fast)]
fn op_df_tags(
    state: &mut OpState,
    at: v8::Local<'_, v8::Int32Array>,
    which: v8::Local<'_, v8::Int32Array>,
    #[smi] length: u32,
    #[string] lists: String,
) {
    // A tag takes far more than its quotes and comma do.
    let tags = lists.bytes().filter(|byte| *byte == b',').count() * EDIT;
    Desk::tell(state, length, lists.len() + tags, |changes| {
        changes.list.push(Change::Tags { rows: rows(at, length)?, which: rows(which, length)?, lists });
        Some(())
    });
}

#[op2(fast)]
fn op_df_keep(state: &mut OpState, order: v8::Local<'_, v8::Int32Array>, #[smi] length: u32) {
    Desk::tell(state, 0, length as usize * 4, |changes| {
        changes.order = Some(ints(order, length)?);
        Some(())
    });
}

#[op2(fast)]
fn op_df_new(state: &mut OpState, #[string] events: String) {
    Desk::tell(state, 0, events.len(), |changes| {
        changes.added = Some(events);
        Some(())
    });
}

#[op2(fast)]
fn op_df_log(state: &mut OpState, #[smi] level: u32, #[string] line: String) {
    state.borrow_mut::<Desk>().console.line(level, &line);
}
