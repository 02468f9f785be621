#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn what_no_host_offers_is_named() {
    // (module (import "env" "open" (func)) (import "__wbindgen_placeholder__" "x" (func)))
    let module = |module: &str, name: &str| {
        let mut import = vec![1, u8::try_from(module.len()).unwrap()];
        import.extend_from_slice(module.as_bytes());
        import.push(u8::try_from(name.len()).unwrap());
        import.extend_from_slice(name.as_bytes());
        import.extend_from_slice(&[0, 0]);
        let mut bytes = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02".to_vec();
        bytes.push(u8::try_from(import.len()).unwrap());
        bytes.extend_from_slice(&import);
        bytes
    };
    let file = module("env", "open");
    let text = not_a_component(&file, &componentize::encode(&file).unwrap_err());
    assert!(text.starts_with("it imports env.open, which no host offers"), "{text}");
    let browser = module("__wbindgen_placeholder__", "x");
    let text = not_a_component(&browser, &componentize::encode(&browser).unwrap_err());
    assert!(text.contains("expects a browser"), "{text}");
    let text = not_a_component(b"\0asm\x01\0\0\0", &"because");
    assert_eq!(text, "it does not become a component: because");
}

#[test]
fn a_folder_without_a_project_is_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(build(dir.path(), Mode::Release), Err(BuildError::NoProject(_))));
    std::fs::write(dir.path().join("go.mod"), "module x\n").unwrap();
    assert_eq!(language(dir.path()).unwrap(), Language::Go);
}

#[test]
fn a_component_replaces_the_one_that_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = default_path(dir.path(), "x");
    write(&path, b"one").unwrap();
    write(&path, b"two").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}
