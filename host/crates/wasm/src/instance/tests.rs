use std::sync::Arc;

use wasmtime::component::{Component, Linker};

use super::*;
use crate::limits::DEFAULT_LIMITS;
use crate::voice::free_lines;

/// What is said of a component that ends its start.
async fn said_of(component: &str) -> (&'static str, String) {
    let runtime = Runtime::new(None).unwrap();
    let voice = Arc::new(Voice::new("p", "t", "s", "bare", free_lines(DEFAULT_LIMITS)));
    let mut store = Store::new(&runtime.engine, Guest::new(Grants::default(), &voice, 64));
    bound(&mut store, 64);
    store.set_epoch_deadline(u64::MAX / 2);
    let component = Component::new(&runtime.engine, wat::parse_str(component).unwrap()).unwrap();
    let started = Linker::new(&runtime.engine).instantiate_async(&mut store, &component).await;
    finish(Some(started), &mut store, DEFAULT_LIMITS, DEFAULT_LIMITS).err().unwrap().describe()
}

#[tokio::test]
async fn bounds_that_no_key_raises_are_named_too() {
    let table =
        said_of("(component (core module $m (table 200000 funcref)) (core instance (instantiate $m)))").await;
    assert_eq!(
        table,
        ("plugin_memory", "it wanted more than 100000 table elements (no key raises it)".to_owned())
    );
    let (code, text) = said_of(
        r#"(component
            (type $thing (resource (rep i32)))
            (core func $new (canon resource.new $thing))
            (core module $m
                (import "" "new" (func $new (param i32) (result i32)))
                (func $hoards (loop $on (drop (call $new (i32.const 1))) (br $on)))
                (start $hoards))
            (core instance (instantiate $m (with "" (instance (export "new" (func $new)))))))"#,
    )
    .await;
    assert_eq!(code, "plugin_edit", "{text}");
    assert!(
        text.starts_with("it passes the bound of 10000 handles at once (no key raises it), in hoards"),
        "{text}"
    );
    let many = "(core instance (instantiate $m))".repeat(200);
    let (code, text) = said_of(&format!("(component (core module $m) {many})")).await;
    assert_eq!(code, "plugin_edit", "{text}");
    assert!(
        text.contains("128 instances, 128 tables and 16 memories in a component (no key raises it)"),
        "{text}"
    );
}
