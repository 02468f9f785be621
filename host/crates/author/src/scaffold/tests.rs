#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_project_has_its_name_everywhere_and_the_sdk_beside_it() {
    for (language, kind) in [
        (Language::Rust, Kind::Processor),
        (Language::Rust, Kind::Formatter),
        (Language::Go, Kind::Processor),
        (Language::Go, Kind::Formatter),
        (Language::JavaScript, Kind::Processor),
        (Language::JavaScript, Kind::Formatter),
        (Language::TypeScript, Kind::Processor),
        (Language::TypeScript, Kind::Formatter),
        (Language::Python, Kind::Processor),
        (Language::Python, Kind::Formatter),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        let made = create(&dir, "hide-phones", language, kind).unwrap();
        for path in &made {
            let text = fs::read_to_string(dir.join(path)).unwrap();
            for placeholder in ["my-plugin", "MyPlugin", "MY-"] {
                assert!(!text.contains(placeholder), "{}: {placeholder}", path.display());
            }
        }
        let names: Vec<&str> = made.iter().map(|path| path.to_str().unwrap()).collect();
        assert!(names.contains(&".gitignore") && names.contains(&"README.md"), "{names:?}");
        let inputs = names.iter().filter(|name| name.ends_with(".in.json")).count();
        let outputs = names.iter().filter(|name| name.ends_with(".out.json")).count();
        assert!(inputs > 0 && inputs == outputs, "{names:?}");
        assert!(dir.join("sdk").is_dir());
        assert!(matches!(create(&dir, "hide-phones", language, kind), Err(NewError::Taken(_))));
    }
}

#[test]
fn an_sdk_is_renewed_and_nothing_else_is_touched() {
    for (language, file) in [
        (Language::Rust, "sdk/crates/deltaforge-sdk/src/lib.rs"),
        (Language::Go, "sdk/batch.go"),
        (Language::JavaScript, "sdk/batch.js"),
        (Language::TypeScript, "sdk/batch.d.ts"),
        (Language::Python, "sdk/deltaforge/batch.py"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), "renews", language, Kind::Processor).unwrap();
        assert!(!renew_sdk(dir.path(), language).unwrap(), "it is the same");
        let original = fs::read(dir.path().join(file)).unwrap();
        fs::write(dir.path().join(file), "an older one").unwrap();
        fs::write(dir.path().join("README.md"), "my own").unwrap();
        assert!(renew_sdk(dir.path(), language).unwrap());
        assert_eq!(fs::read(dir.path().join(file)).unwrap(), original);
        assert_eq!(fs::read(dir.path().join("README.md")).unwrap(), b"my own");
        fs::remove_dir_all(dir.path().join("sdk")).unwrap();
        fs::create_dir(dir.path().join("sdk")).unwrap();
        assert!(matches!(renew_sdk(dir.path(), language), Err(NewError::NotOurs(_))));
    }
}

#[test]
fn the_sdk_for_rust_stands_alone() {
    let files: Vec<&str> = sdk(Language::Rust).iter().map(|(path, _)| *path).collect();
    for needed in [
        "crates/deltaforge-sdk/src/lib.rs",
        "crates/deltaforge-model/src/lib.rs",
        "wit/deltaforge-plugin-1.0.0/plugin.wit",
    ] {
        assert!(files.contains(&needed), "{needed}: {files:?}");
    }
    for (path, text) in sdk(Language::Rust).iter().filter(|(path, _)| path.ends_with(".toml")) {
        assert!(!text.contains("workspace"), "{path}: {text}");
        assert!(!text.contains("dev-dependencies") && !text.contains("[[bench]]"), "{path}: {text}");
    }
    let (_, manifest) =
        sdk(Language::Rust).iter().find(|(path, _)| *path == "crates/deltaforge-sdk/Cargo.toml").unwrap();
    assert!(manifest.contains("path = \"../deltaforge-model\""), "{manifest}");
}

#[test]
fn a_name_is_one_that_toolchains_and_the_registry_take() {
    for good in ["mask", "hide-phones", "a2_b"] {
        assert!(check_name(good).is_ok(), "{good}");
    }
    for bad in
        ["", "Mask", "2fast", "a/b", "@acme/mask", "mask@1", "./x.wasm", "../x", "fn", "serde", "test", "ä"]
    {
        assert!(check_name(bad).is_err(), "{bad}");
    }
    assert_eq!(type_name("hide-phones"), "HidePhones");
    assert_eq!(type_name("config"), "ConfigPlugin");
    assert_eq!(type_name("a--b_"), "AB");
}
