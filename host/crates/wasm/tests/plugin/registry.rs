//! Finding, checking and keeping plugins.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::support::{guest, limits, puppet, registry, runtime, spec};
use deltaforge_engine::catalog::{CatalogError, PluginCatalog as _};
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::message::FormatterFactory;
use deltaforge_engine::stage::{StageFactory, StageSpec, StageVersion};
use deltaforge_wasm::{
    PluginKind, PluginManifest, Registry, RegistryError, Runtime, WasmCatalog, WasmFormatterFactory,
    WasmStageFactory, digest_of,
};
use semver::Version;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};

pub const PLUGIN_WIT: &str = include_str!("../../../../../wit/deltaforge-plugin-1.0.0/plugin.wit");

/// A component of a world, with functions that all trap.
pub fn dummy(wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("test.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = dummy_module(&resolve, world, wit_parser::ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

pub fn manifest(bytes: &[u8]) -> PluginManifest {
    PluginManifest {
        sha256: digest_of(bytes),
        kind: PluginKind::Processor,
        interface: "1.0.0".to_owned(),
        grants: Vec::new(),
        author: "somebody".to_owned(),
        licence: "MIT".to_owned(),
        description: String::new(),
        tables: Vec::new(),
        reads: Vec::new(),
        writes: Vec::new(),
        config_schema: String::new(),
    }
}

pub fn publish(registry: &Registry, tenant: Option<&str>, name: &str, version: &str, bytes: &[u8]) {
    let version = Version::parse(version).unwrap();
    registry.publish(tenant, name, &version, bytes, &manifest(bytes)).unwrap();
}

/// A component with other bytes and the same behaviour.
pub fn variant(bytes: &[u8], mark: u8) -> Vec<u8> {
    let mut variant = bytes.to_vec();
    variant.extend_from_slice(&[0, 3, 1, b'v', mark]); // a custom section
    variant
}

/// What a history has of a component.
fn ran(plugin: &str, bytes: &[u8]) -> StageVersion {
    StageVersion { plugin: plugin.to_owned(), digest: digest_of(bytes) }
}

async fn problems(dir: &Path, spec: &StageSpec) -> Vec<ConfigError> {
    WasmStageFactory::new(runtime(), registry(dir)).validate(spec).await.unwrap_err()
}

#[test]
fn what_is_not_there_is_answered_with_what_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: &'static [u8] = b"not looked at";
    let registry = Registry::new(dir.path().join("plugins"), dir.path().join("kept"))
        .with_builtin("mask", "1.0.0", PluginKind::Processor, "masks", bytes)
        .with_builtin("filter", "1.0.0", PluginKind::Processor, "", bytes);
    publish(&registry, None, "tagger", "2.1.0", bytes);
    publish(&registry, Some("acme"), "greeter", "0.3.0-rc.1", bytes);
    fs::write(dir.path().join("my-plugin.wasm"), bytes).unwrap();
    for (reference, says) in [
        ("masc@1", "; did you mean mask@1?"),
        ("tager", "; did you mean tagger@2?"),
        ("mask@9", "there is no plugin mask@9; the versions of mask here are 1.0.0"),
        ("tagger@1.0.0", "; the versions of tagger here are 2.1.0"),
        ("@acme/greter@1", "; did you mean @acme/greeter?"),
        ("@acme/greeter", "here are 0.3.0-rc.1; a pre-release is named in full"),
        ("unheard-of", "; the plugins here are filter, mask, tagger"),
        ("./my_plugn.wasm", "/my_plugn.wasm; did you mean my-plugin.wasm?"),
        ("./else.wasm", "/else.wasm"),
    ] {
        let error = registry.resolve(reference, "acme", Some(dir.path())).unwrap_err().to_string();
        assert!(error.starts_with("there is no ") && error.ends_with(says), "{reference}: {error}");
    }
}

#[tokio::test]
async fn references_find_the_newest_version_that_fits() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let plain = fs::read(guest("")).unwrap();
    for (at, version) in ["1.0.0", "1.2.3", "1.2.4", "1.10.0", "2.0.0-rc.1"].iter().enumerate() {
        publish(&registry, None, "mask", version, &variant(&plain, at as u8));
    }
    publish(&registry, Some("acme"), "mask", "3.0.0", &plain);
    for (reference, found) in [
        ("mask", "mask@1.10.0"),
        ("mask@1", "mask@1.10.0"),
        ("mask@1.2", "mask@1.2.4"),
        ("mask@1.2.3", "mask@1.2.3"),
        ("mask@2.0.0-rc.1", "mask@2.0.0-rc.1"),
        ("@acme/mask@3", "@acme/mask@3.0.0"),
    ] {
        assert_eq!(registry.resolve(reference, "acme", None).unwrap().plugin, found);
    }
    let error = registry.resolve("mask@2", "acme", None).unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no plugin mask@2; the versions of mask here are 1.0.0, 1.2.3, 1.2.4, 1.10.0, 2.0.0-rc.1"
    );
    let error = registry.resolve("filter@1", "acme", None).unwrap_err().to_string();
    assert!(error.contains("./dev plugins"), "{error}");
    assert!(matches!(registry.resolve("@acme/mask", "other", None), Err(RegistryError::Forbidden(_))));
    assert!(matches!(registry.resolve("./x.wasm", "acme", None), Err(RegistryError::Forbidden(_))));
    assert!(matches!(registry.resolve("Mask", "acme", None), Err(RegistryError::Reference(_))));
    let listed: Vec<String> = registry.list().unwrap().iter().map(|info| info.reference()).collect();
    assert_eq!(
        listed,
        ["mask@1.0.0", "mask@1.2.3", "mask@1.2.4", "mask@1.10.0", "mask@2.0.0-rc.1", "@acme/mask@3.0.0"]
    );
}

#[tokio::test]
async fn built_in_plugins_stand_beside_published_ones() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: &'static [u8] = Box::leak(fs::read(guest("")).unwrap().into_boxed_slice());
    let registry = Registry::new(dir.path().join("plugins"), dir.path().join("components")).with_builtin(
        "mask",
        "1.1.0",
        PluginKind::Processor,
        "masks columns",
        bytes,
    );
    let shown = registry.version(None, "mask", &Version::new(1, 1, 0)).unwrap();
    assert_eq!(shown.manifest.description, "masks columns");
    assert_eq!(registry.resolve("mask@1", "t", None).unwrap().plugin, "mask@1.1.0");
    let newer = variant(bytes, 1);
    publish(&registry, None, "mask", "1.2.0", &newer);
    assert_eq!(registry.resolve("mask@1", "t", None).unwrap().plugin, "mask@1.2.0");
    assert_eq!(registry.resolve("mask@1.1.0", "t", None).unwrap().digest, digest_of(bytes));
    let taken = registry.publish(None, "mask", &Version::new(1, 1, 0), &newer, &manifest(&newer));
    assert!(matches!(taken, Err(RegistryError::Exists(_))));
    assert_eq!(registry.recorded(&ran("mask@1.1.0", bytes)).unwrap().bytes, bytes);
    let registry = Arc::new(registry);
    let (_, version) = WasmStageFactory::new(runtime(), registry)
        .build(&spec("mask@1.1.0", dir.path(), serde_json::Value::Null), None)
        .await
        .unwrap();
    assert_eq!((version.plugin.as_str(), version.digest), ("mask@1.1.0", digest_of(bytes)));
}

#[tokio::test]
async fn a_version_never_changes() {
    let dir = tempfile::tempdir().unwrap();
    let plain = fs::read(guest("")).unwrap();
    let first = registry(dir.path());
    publish(&first, None, "mask", "1.0.0", &plain);
    publish(&first, None, "mask", "1.0.0", &plain); // the same again is fine
    let other = variant(&plain, 1);
    let again = first.publish(None, "mask", &Version::new(1, 0, 0), &other, &manifest(&other));
    assert!(matches!(again, Err(RegistryError::Exists(_))));
    first.keep(&first.resolve("mask", "t", None).unwrap()).unwrap();
    // Somebody edits the files; a later start of the host sees it all the same.
    let folder = dir.path().join("plugins/mask/1.0.0");
    fs::write(folder.join("plugin.wasm"), &other).unwrap();
    let second = registry(dir.path());
    let is_what_was_used = || second.resolve("mask", "t", None).is_ok_and(|found| found.bytes == plain);
    assert!(is_what_was_used(), "plugin.yaml says otherwise");
    fs::write(folder.join("plugin.yaml"), manifest(&other).to_yaml()).unwrap();
    assert!(is_what_was_used(), "versions never change");
    // A host that has not used it tells.
    let third = Registry::new(dir.path().join("plugins"), dir.path().join("nothing kept"));
    fs::write(folder.join("plugin.yaml"), manifest(&plain).to_yaml()).unwrap();
    let error = third.resolve("mask", "t", None).unwrap_err().to_string();
    assert!(error.contains("plugin.yaml says"), "{error}");
    assert_eq!(second.recorded(&ran("mask@1.0.0", &plain)).unwrap().bytes, plain);
}

/// A version as somebody without the API puts it there.
fn put_by_hand(dir: &Path, version: &str, bytes: &[u8]) {
    let folder = dir.join("plugins/mask").join(version);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("plugin.wasm"), bytes).unwrap();
    fs::write(folder.join("plugin.yaml"), manifest(bytes).to_yaml()).unwrap();
}

#[tokio::test]
async fn what_happens_to_the_folder_outside_is_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let plain = fs::read(guest("")).unwrap();
    let registry = registry(dir.path());
    let catalog = WasmCatalog::new(runtime(), registry.clone(), 64 << 20);
    let listed = async || -> Vec<(String, Option<String>)> {
        let all = catalog.list().await.unwrap().into_iter();
        all.map(|one| (one.id.to_string(), one.damaged)).collect()
    };
    assert!(listed().await.is_empty());
    put_by_hand(dir.path(), "1.0.0", &plain);
    put_by_hand(dir.path(), "1.1.0", &variant(&plain, 1));
    assert_eq!(listed().await, [("mask@1.0.0".to_owned(), None), ("mask@1.1.0".to_owned(), None)]);
    assert_eq!(catalog.newest("mask@1", "t").await.unwrap().unwrap().to_string(), "mask@1.1.0");
    registry.keep(&registry.resolve("mask@1.0.0", "t", None).unwrap()).unwrap();

    // Its bytes change, and change back; sizes and names tell nothing.
    let path = dir.path().join("plugins/mask/1.1.0/plugin.wasm");
    fs::write(&path, variant(&plain, 2)).unwrap();
    let why = listed().await[1].1.clone().unwrap();
    assert!(why.contains("plugin.yaml says") && why.contains("publish a new one"), "{why}");
    let refused = catalog.content(&"mask@1.1.0".parse().unwrap()).await.unwrap_err();
    assert!(matches!(refused, CatalogError::Damaged(_)), "{refused:?}");
    assert!(registry.resolve("mask@1", "t", None).is_err(), "nothing older takes its place unasked");
    fs::write(&path, variant(&plain, 1)).unwrap();
    assert_eq!(listed().await[1].1, None);
    fs::remove_file(&path).unwrap();
    assert!(listed().await[1].1.clone().unwrap().contains("there is no file"));
    // Nor with a manifest that fits, once it has run.
    put_by_hand(dir.path(), "1.0.0", &variant(&plain, 3));
    assert!(listed().await[0].1.clone().unwrap().contains("versions never change"));
    // A manifest that says nothing.
    fs::write(dir.path().join("plugins/mask/1.1.0/plugin.yaml"), "a: [").unwrap();
    let torn = catalog.get(&"mask@1.1.0".parse().unwrap()).await.unwrap();
    assert_eq!((torn.kind.as_str(), torn.digest.as_str()), ("unknown", ""));
    assert!(torn.damaged.unwrap().contains("plugin.yaml"));
    assert_eq!(listed().await.len(), 2);
    catalog.delete(&"mask@1.1.0".parse().unwrap()).await.unwrap();
    assert_eq!(listed().await.len(), 1, "what is damaged can be taken away");

    fs::remove_dir_all(dir.path().join("plugins/mask")).unwrap();
    assert!(listed().await.is_empty());
    let gone = registry.resolve("mask@1.0.0", "t", None).unwrap_err().to_string();
    assert!(
        gone.contains("any more (it ran here, with SHA-256") && gone.contains(&digest_of(&plain)),
        "{gone}"
    );
    assert!(!registry.resolve("mask@2.0.0", "t", None).unwrap_err().to_string().contains("any more"));
}

#[tokio::test]
async fn a_version_that_never_ran_can_be_deleted_and_published_anew() {
    let dir = tempfile::tempdir().unwrap();
    let plain = fs::read(guest("")).unwrap();
    let registry = registry(dir.path());
    publish(&registry, None, "mask", "1.0.0", &plain);
    registry.resolve("mask", "t", None).unwrap();
    registry.delete(None, "mask", &Version::new(1, 0, 0)).unwrap();
    let mended = variant(&plain, 1);
    publish(&registry, None, "mask", "1.0.0", &mended);
    assert_eq!(registry.resolve("mask", "t", None).unwrap().digest, digest_of(&mended));
}

#[tokio::test]
async fn which_versions_a_reference_could_mean_is_said_by_what_reads_references() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = WasmCatalog::new(runtime(), registry(dir.path()), 64 << 20);
    let could = |reference: &str, id: &str| catalog.could_mean(reference, &id.parse().unwrap());
    for (reference, id) in [
        ("mask", "mask@3.0.0"),
        ("mask@1", "mask@1.10.0"),
        ("mask@1.2", "mask@1.2.9"),
        ("mask@1.2.3", "mask@1.2.3"),
        ("mask@1.0.0-rc.1", "mask@1.0.0-rc.1"),
        ("@acme/mask@1", "@acme/mask@1.0.0"),
    ] {
        assert!(could(reference, id), "{reference} {id}");
    }
    for (reference, id) in [
        ("mask@1", "mask@10.0.0"),
        ("mask@1.2", "mask@1.20.0"),
        ("mask@1.2.3", "mask@1.2.3-rc.1"),
        ("mask@1", "mask@1.1.0-rc.1"),
        ("mask", "mask@1.1.0-rc.1"),
        ("mask@1", "@acme/mask@1.0.0"),
        ("@acme/mask@1", "@zeta/mask@1.0.0"),
        ("./mask.wasm", "mask@1.0.0"),
        ("mask@", "mask@1.0.0"),
    ] {
        assert!(!could(reference, id), "{reference} {id}");
    }
    assert_eq!(catalog.newest("mask@1", "acme").await.unwrap(), None);
    assert!(catalog.newest("./x.wasm", "acme").await.is_err());
    assert!(catalog.newest("@acme/mask@1", "zeta").await.is_err());
}

#[test]
fn what_a_crash_left_in_the_cache_is_taken_away_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    drop(Runtime::new(Some(&cache)).unwrap());
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let (dead, own) = (format!(".{}-0.partial", child.id()), format!(".{}-900.partial", std::process::id()));
    let (new, alive) = (format!(".{}-901.partial", std::process::id()), ".1-0.partial".to_owned());
    for name in [&dead, &own, &new, &alive, &"notes.partial".to_owned()] {
        fs::write(cache.join(name), "half").unwrap();
    }
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600 * 24);
    fs::File::options().write(true).open(cache.join(&own)).unwrap().set_modified(long_ago).unwrap();
    drop(Runtime::new(Some(&cache)).unwrap());
    let is_there = |name: &String| cache.join(name).exists();
    assert!(!is_there(&dead), "nobody writes it any more");
    assert!(!is_there(&own), "a process of the same number did, before this one");
    assert!(is_there(&new) && is_there(&alive), "somebody may still write these");
    assert!(is_there(&"notes.partial".to_owned()), "that is not ours");
}

#[tokio::test]
async fn what_was_used_is_found_again_by_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let factory = WasmStageFactory::new(runtime(), registry.clone());
    let path = dir.path().join("x.wasm");
    fs::copy(guest(""), &path).unwrap();
    let old = spec("./x.wasm", dir.path(), serde_json::Value::Null);
    let (_, first) = factory.build(&old, None).await.unwrap();
    assert_eq!(first.plugin, "./x.wasm");
    fs::write(&path, variant(&fs::read(guest("")).unwrap(), 9)).unwrap();
    let (_, second) = factory.build(&old, None).await.unwrap();
    assert_ne!(first.digest, second.digest);
    let (_, replayed) = factory.build(&old, Some(&first)).await.unwrap();
    assert_eq!(replayed, first);
    let nowhere = StageVersion { digest: "0".repeat(64), ..first.clone() };
    let unknown = factory.build(&old, Some(&nowhere)).await.err().unwrap();
    assert!(unknown.message.contains("put its file back"), "{unknown}");
    assert!(registry.recorded(&StageVersion { digest: "../../x".to_owned(), ..first }).is_err());
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let newer = PLUGIN_WIT.replace("deltaforge:plugin@1.0.0", "deltaforge:plugin@0.2.0");
    let stranger = "package a:b@1.0.0; interface i { f: func(); } world w { export i; }";
    let thirsty = format!(
        "{PLUGIN_WIT}\nworld thirsty {{ include processor; import sockets; }}\ninterface sockets {{ open: func(); }}"
    );
    let short = PLUGIN_WIT.replace("  describe: func() -> manifest;\n", "");
    let core = [0, b'a', b's', b'm', 1, 0, 0, 0];
    for (name, bytes, text) in [
        ("empty", Vec::new(), "not WebAssembly"),
        ("text", b"(module)".to_vec(), "not WebAssembly"),
        ("core", core.to_vec(), "core WebAssembly module"),
        ("torn", fs::read(guest("")).unwrap()[..5000].to_vec(), "does not compile"),
        ("version", dummy(&newer, "processor"), "built against version 0.2.0"),
        ("stranger", dummy(stranger, "w"), "it exports a:b/i@1.0.0"),
        ("thirsty", dummy(&thirsty, "thirsty"), "deltaforge:plugin/sockets"),
        ("short", dummy(&short, "processor"), "does not fit this host"),
        ("formatter", fs::read(guest("formatter")).unwrap(), "it is a formatter, and a processor is needed"),
        ("traps", dummy(PLUGIN_WIT, "processor"), "describing the plugin: it trapped"),
    ] {
        fs::write(dir.path().join("x.wasm"), bytes).unwrap();
        let mut spec = spec("./x.wasm", dir.path(), serde_json::Value::Null);
        spec.grants = vec!["clock".to_owned(), "metrics".to_owned()];
        let problems = problems(dir.path(), &spec).await;
        assert!(problems[0].message.contains(text), "{name}: {problems:?}");
    }
    let processor =
        WasmFormatterFactory::new(runtime(), registry(dir.path())).validate(&puppet("pass")).await;
    assert!(processor.unwrap_err()[0].message.contains("a formatter is needed"));
}

#[tokio::test]
async fn imports_must_be_granted() {
    let dir = tempfile::tempdir().unwrap();
    let base = guest("clock,metrics").parent().unwrap();
    let mut granted = spec("./puppet.wasm", base, serde_json::Value::Null);
    let refused = problems(dir.path(), &granted).await;
    let text: Vec<&str> = refused.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(refused.len(), 2, "{text:?}");
    assert!(text.iter().any(|text| text.contains("deltaforge:plugin/clock@1.0.0")), "{text:?}");
    assert!(text.iter().any(|text| text.contains("add `metrics`")), "{text:?}");
    granted.grants = vec!["clock".to_owned(), "metrics".to_owned(), "log".to_owned()];
    WasmStageFactory::new(runtime(), registry(dir.path())).validate(&granted).await.unwrap();
    granted.grants.push("network".to_owned());
    let refused = problems(dir.path(), &granted).await;
    assert_eq!(refused[0].path, "grants[3]");
}

#[tokio::test]
async fn a_component_is_looked_at_before_it_is_published() {
    let bytes = fs::read(guest("clock,metrics")).unwrap();
    let inspection = runtime().inspect(bytes.clone()).await.unwrap();
    assert_eq!(inspection.sha256, digest_of(&bytes));
    assert_eq!((inspection.kind, inspection.interface.as_str()), (PluginKind::Processor, "1.0.0"));
    assert_eq!(inspection.grants, ["metrics", "clock"]);
    assert_eq!(inspection.description.tables, ["shop.orders"]);
    assert!(runtime().inspect(b"nothing".to_vec()).await.is_err());
}

#[tokio::test]
async fn a_configuration_is_held_to_the_plugins_schema() {
    let dir = tempfile::tempdir().unwrap();
    let base = guest("clock,metrics").parent().unwrap();
    let mut spec = spec("./puppet.wasm", base, serde_json::json!({ "act": 5 }));
    spec.grants = vec!["clock".to_owned(), "metrics".to_owned()];
    let refused = problems(dir.path(), &spec).await;
    assert_eq!((refused.len(), refused[0].path.as_str()), (1, "config.act"), "{refused:?}");
    spec.config = serde_json::json!({ "act": "pass" });
    WasmStageFactory::new(runtime(), registry(dir.path())).validate(&spec).await.unwrap();
}

#[tokio::test]
async fn limits_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = puppet("pass");
    spec.limits = limits(0, 0, 5000);
    let paths: Vec<String> =
        problems(dir.path(), &spec).await.into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["limits.cpu_ms", "limits.timeout_ms", "limits.mem_mb"]);
    spec.limits = limits(1, 1, 1); // too little for this guest's first memory
    let refused = problems(dir.path(), &spec).await;
    assert!(refused[0].message.contains("mem"), "{refused:?}");
}

#[tokio::test]
async fn compiled_plugins_that_nobody_asks_for_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let code = |digest: &str| {
        let mut files = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
        files.any(|file| file.extension().unwrap() == "cwasm" && file.to_str().unwrap().contains(digest))
    };
    // Components that differ in a part that nobody looks at.
    let component = |n: u8| {
        let mut bytes = fs::read(guest("")).unwrap();
        bytes.extend([0, 3, 1, b'x', n]);
        bytes
    };
    let first = Runtime::new(Some(&cache)).unwrap();
    let digests: Vec<String> = (0..3).map(|n| digest_of(&component(n))).collect();
    first.inspect(component(0)).await.unwrap();
    let size =
        fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).max().unwrap();
    // Room for two of them.
    let runtime = Runtime::with_cache(Some(&cache), size * 5 / 2).unwrap();
    runtime.inspect(component(1)).await.unwrap();
    runtime.inspect(component(0)).await.unwrap();
    runtime.inspect(component(2)).await.unwrap();
    let kept: Vec<bool> = digests.iter().map(|digest| code(digest)).collect();
    assert_eq!(kept, [true, false, true], "the one that was not asked for the longest is gone");
    // What is at work does not depend on its file.
    Runtime::with_cache(Some(&cache), 1).unwrap().inspect(component(1)).await.unwrap();
    assert!(!code(&digests[0]) && code(&digests[1]), "the newest stays even where it is too large");
    runtime.inspect(component(0)).await.unwrap();
}

#[tokio::test]
async fn a_compiled_plugin_is_kept_and_a_damaged_one_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let mut digests = Vec::new();
    for round in 0..3 {
        let runtime = Runtime::new(Some(&cache)).unwrap();
        let (_, version) =
            WasmStageFactory::new(runtime, registry(dir.path())).build(&puppet("pass"), None).await.unwrap();
        digests.push(version.digest.clone());
        let files: Vec<_> = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 2, "{files:?}");
        let code = files.iter().find(|file| file.extension().unwrap() == "cwasm").unwrap();
        assert!(code.file_name().unwrap().to_str().unwrap().starts_with(&version.digest));
        assert_eq!(files.iter().filter(|file| file.extension().unwrap() == "sum").count(), 1);
        if round == 1 {
            let mut bytes = fs::read(code).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            fs::write(code, bytes).unwrap();
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Runtime::new(Some(&cache)).is_err());
}
