//! Lists of rows come out of the engine whole, whatever else lay where they lie.

use std::ffi::c_void;

use deno_core::{JsRuntime, RuntimeOptions, v8};

use crate::ops::ints;

/// The length that the list had which is gone.
const GONE: usize = 2;

extern "C" fn nothing_to_free(_: *mut c_void, _: usize, _: *mut c_void) {}

/// The engine's registry of backing stores says that a shorter one begins where this list does, as it does of those that
/// the runtime of an engine has taken with it.
#[allow(unsafe_code)]
fn shadow(scope: &mut v8::PinScope<'_, '_>, list: v8::Local<'_, v8::Int32Array>) {
    // SAFETY: the memory is the list's own, which lives until the end of the test, and nothing is freed through this.
    let gone = unsafe {
        v8::ArrayBuffer::new_backing_store_from_ptr(list.data(), GONE, nothing_to_free, std::ptr::null_mut())
    };
    v8::ArrayBuffer::with_backing_store(scope, &gone.make_shared());
    let found = list.buffer(scope).unwrap().get_backing_store();
    assert_eq!(
        found.byte_length(),
        GONE,
        "the registry is not asked any more: this test needs another way in"
    );
}

#[test]
fn a_list_is_not_cut_to_what_lay_in_its_place() {
    let mut runtime = JsRuntime::new(RuntimeOptions::default());
    let list = runtime.execute_script("list", "new Int32Array([1, -2, 3])").unwrap();
    deno_core::scope!(scope, &mut runtime);
    let list = v8::Local::new(scope, list).try_cast::<v8::Int32Array>().unwrap();
    shadow(scope, list);
    assert_eq!(ints(list, 3), Some(vec![1, -2, 3]));
    assert_eq!((ints(list, 2), ints(list, 4)), (None, None), "it is not what was announced");
}
