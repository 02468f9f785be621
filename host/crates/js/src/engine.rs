//! What the engine itself has to be kept from.

use std::ffi::c_void;

use deno_core::v8;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the engine's values have another layout on machines that are not 64-bit");

/// A value of the engine, by its layout on 64-bit machines.
#[repr(C)]
#[derive(Clone, Copy)]
struct EngineValue {
    payload: *mut c_void,
    tag: i64,
}

/// The tag of `undefined`.
const UNDEFINED: i64 = 3;
/// The tag that stands for a context where a handle points to a value.
const CONTEXT: i64 = 0x7632;

#[allow(unsafe_code)]
// The declaration is that of the engine's quickjs.h.
unsafe extern "C" {
    /// Sets the function that makes the stacks of a context's errors; `undefined`: none.
    fn JS_SetPrepareStackTraceCallback(context: *mut c_void, callback: EngineValue);
}

/// Lets the engine make the stacks of errors as text by itself.
///
/// Where a function makes them, as the runtime arranges it, the engine frees a frame twice if the heap is full at the wrong
/// moment (`build_backtrace` after a failed `JS_DefinePropertyValueUint32`), and the host is gone: any script with a memory
/// limit can bring that about. Scripts cannot bring such a function back: the prelude fixes `Error.prepareStackTrace`.
#[allow(unsafe_code)]
pub(crate) fn make_stacks_of_text(context: v8::Local<'_, v8::Context>) {
    let handle: *const v8::Context = &raw const *context;
    // SAFETY: a handle points to a value of the engine, which for a context has a tag of its own and the context as
    // payload, or it is the context itself; both are larger than what is read. The version of the engine is pinned, and
    // the tests of a script's errors fail when this does not take effect.
    unsafe {
        let value = *handle.cast::<EngineValue>();
        let context = if value.tag == CONTEXT { value.payload } else { handle.cast_mut().cast() };
        JS_SetPrepareStackTraceCallback(
            context,
            EngineValue { payload: std::ptr::null_mut(), tag: UNDEFINED },
        );
    }
}
