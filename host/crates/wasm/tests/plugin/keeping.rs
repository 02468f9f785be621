//! What the registry keeps, mends, tells apart and lets go of.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deltaforge_engine::catalog::{CatalogError, Copies, PluginCatalog as _, PluginId, Published};
use deltaforge_engine::stage::{StageFactory, StageSpec, StageVersion};
use deltaforge_wasm::{Registry, RegistryError, WasmCatalog, WasmStageFactory, digest_of};
use semver::Version;
use serde_json::Value;

use crate::registry::{manifest, publish, variant};
use crate::support::{guest, registry, runtime, spec};

fn plain() -> Vec<u8> {
    fs::read(guest("")).unwrap()
}

fn of_tenant(tenant: &str, plugin: &str, dir: &Path) -> StageSpec {
    StageSpec { tenant: tenant.to_owned(), ..spec(plugin, dir, Value::Null) }
}

#[tokio::test]
async fn the_same_bytes_of_two_tenants_keep_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    for tenant in ["a", "b"] {
        publish(&registry, Some(tenant), "mask", "1.0.0", &plain());
    }
    let factory = WasmStageFactory::new(runtime(), registry.clone());
    for tenant in ["a", "b"] {
        let name = format!("@{tenant}/mask@1.0.0");
        let stage = of_tenant(tenant, &format!("@{tenant}/mask@1"), dir.path());
        let (_, first) = factory.build(&stage, None).await.unwrap();
        assert_eq!(first, StageVersion { plugin: name.clone(), digest: digest_of(&plain()) });
        let (_, again) = factory.build(&stage, Some(&first)).await.unwrap();
        assert_eq!(again, first, "a restart finds it by its digest, and calls it as before");
    }
    // Nothing is kept and one of the two is gone: the other one's bytes are the same, and its name is nobody else's.
    fs::remove_dir_all(dir.path().join("components")).unwrap();
    registry.delete(Some("b"), "mask", &Version::new(1, 0, 0)).unwrap();
    let recorded = StageVersion { plugin: "@b/mask@1.0.0".to_owned(), digest: digest_of(&plain()) };
    let stage = of_tenant("b", "@b/mask@1", dir.path());
    assert_eq!(factory.build(&stage, Some(&recorded)).await.unwrap().1, recorded);
}

#[tokio::test]
async fn kept_code_goes_once_no_history_names_it_and_nobody_has_it_in_hand() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let bytes: Vec<Vec<u8>> = (0..4).map(|mark| variant(&plain(), mark)).collect();
    let size = bytes[0].len() as u64;
    for (at, bytes) in bytes.iter().enumerate() {
        publish(&registry, None, "mask", &format!("1.{at}.0"), bytes);
    }
    let found = |at: usize| registry.resolve(&format!("mask@1.{at}.0"), "t", None).unwrap();
    let is_kept = || -> Vec<bool> {
        let path =
            |at: usize| dir.path().join("components").join(digest_of(&bytes[at])).with_extension("wasm");
        (0..4).map(|at| path(at).exists()).collect()
    };
    let factory = WasmStageFactory::new(runtime(), registry.clone());
    let at_work = factory.build(&of_tenant("t", "mask@1.0.0", dir.path()), None).await.unwrap();
    for at in 1..4 {
        registry.keep(&found(at)).unwrap();
    }
    assert_eq!(is_kept(), [true; 4]);
    let needed = HashSet::from([digest_of(&bytes[1])]);
    let copies = Copies { removed: 2, removed_bytes: 2 * size, kept: 2, kept_bytes: 2 * size };
    assert_eq!(registry.collect().unwrap().finish(&needed, true).unwrap(), copies);
    assert_eq!(is_kept(), [true; 4], "it was only asked");

    // The third comes into use after the histories were read, and before anything is taken away.
    let collection = registry.collect().unwrap();
    registry.keep(&found(2)).unwrap();
    let copies = Copies { removed: 1, removed_bytes: size, kept: 3, kept_bytes: 3 * size };
    assert_eq!(collection.finish(&needed, false).unwrap(), copies);
    assert_eq!(is_kept(), [true, true, true, false]);
    drop(at_work);
    let copies = registry.collect().unwrap().finish(&HashSet::new(), false).unwrap();
    assert_eq!((copies.removed, copies.kept), (3, 0));
    // That a version never becomes another one does not end with it.
    registry.delete(None, "mask", &Version::new(1, 3, 0)).unwrap();
    let other = variant(&plain(), 9);
    let again = registry.publish(None, "mask", &Version::new(1, 3, 0), &other, &manifest(&other));
    assert!(matches!(again, Err(RegistryError::Ran(_))));
}

#[tokio::test]
async fn the_right_bytes_mend_a_damaged_version_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let (bytes, other) = (plain(), variant(&plain(), 1));
    let version = Version::new(1, 0, 0);
    let again = |bytes: &[u8]| registry.publish(None, "mask", &version, bytes, &manifest(bytes));
    publish(&registry, None, "mask", "1.0.0", &bytes);
    let folder = dir.path().join("plugins/mask/1.0.0");
    let (component, about) = (folder.join("plugin.wasm"), folder.join("plugin.yaml"));
    let is_whole = || registry.resolve("mask@1.0.0", "t", None).is_ok_and(|found| found.bytes == bytes);

    for damage in ["cut", "gone", "no manifest", "a manifest of nothing"] {
        match damage {
            "cut" => fs::write(&component, &bytes[..100]).unwrap(),
            "gone" => fs::remove_file(&component).unwrap(),
            "no manifest" => fs::remove_file(&about).unwrap(),
            _ => fs::write(&about, "a: [").unwrap(),
        }
        assert!(!is_whole(), "{damage}");
        if damage != "no manifest" {
            assert!(again(&other).is_err(), "{damage}: others do not take its place");
            assert!(!is_whole(), "{damage}");
        }
        let mended = again(&bytes).unwrap_or_else(|error| panic!("{damage}: {error}"));
        let digest = mended.map(|info| info.manifest.sha256);
        assert_eq!(digest, Published::Mended(digest_of(&bytes)), "{damage}");
        assert!(is_whole(), "{damage}");
    }
    assert!(matches!(again(&bytes), Ok(Published::Same(_))), "there is nothing to mend");
    // Neither the manifest nor the component tells what was published, until it has run.
    let ruin = || {
        fs::write(&about, "a: [").unwrap();
        fs::write(&component, b"nothing").unwrap();
    };
    ruin();
    assert!(matches!(again(&bytes), Err(RegistryError::Damaged(_))));
    fs::write(&component, &bytes).unwrap();
    again(&bytes).unwrap();
    registry.keep(&registry.resolve("mask@1.0.0", "t", None).unwrap()).unwrap();
    ruin();
    assert!(is_whole(), "what ran here is kept, and goes on after a restart");
    assert!(registry.unreadable().unwrap().len() == 1, "and it is still told");
    assert!(matches!(again(&other), Err(RegistryError::Exists(_))));
    again(&bytes).unwrap();
    assert!(is_whole());
}

#[tokio::test]
async fn every_tenants_name_has_plugins_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let catalog = WasmCatalog::new(runtime(), registry.clone(), 64 << 20);
    let tenants = ["Acme", "acme", "aCME", "1st", "a.b", "a..b", "a_b-", &"x".repeat(128)];
    let about = runtime().inspect(plain()).await.unwrap().description;
    for tenant in tenants {
        let id = PluginId {
            tenant: Some(tenant.to_owned()),
            name: about.name.clone(),
            version: about.version.clone(),
        };
        let mut upload = catalog.upload(&id, None).await.unwrap();
        upload.write(&plain()).await.unwrap();
        assert!(matches!(upload.publish().await, Ok(Published::New(_))), "{tenant}");
        let reference = format!("@{tenant}/{}@0", about.name);
        let newest = catalog.newest(&reference, tenant).await.unwrap().unwrap();
        assert_eq!(newest, id);
        let found = registry.resolve(&reference, tenant, None).unwrap();
        registry.keep(&found).unwrap();
        assert!(matches!(registry.resolve(&reference, "somebody", None), Err(RegistryError::Forbidden(_))));
    }
    let listed: HashSet<Option<String>> =
        registry.list().unwrap().into_iter().map(|info| info.tenant).collect();
    assert_eq!(listed, tenants.iter().map(|tenant| Some((*tenant).to_owned())).collect());
    // On a disk that takes capital letters for small ones they are all different, too.
    for folder in ["plugins", "components/versions"] {
        let names = fs::read_dir(dir.path().join(folder)).unwrap();
        let names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains('@'))
            .collect();
        let small: HashSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
        assert_eq!((names.len(), small.len()), (tenants.len(), tenants.len()), "{folder}: {names:?}");
    }
    for tenant in ["", "..", ".a", "-a", "a/b", "a b", "ä", &"x".repeat(129), &"X".repeat(128), "a@b", "!a"]
    {
        let id = PluginId {
            tenant: Some(tenant.to_owned()),
            name: "mask".to_owned(),
            version: "1.0.0".to_owned(),
        };
        assert!(catalog.upload(&id, None).await.is_err(), "{tenant}");
        assert!(registry.resolve(&format!("@{tenant}/mask@1"), tenant, None).is_err(), "{tenant}");
    }
    // What was put there by hand under another name is no tenant's.
    let folder = dir.path().join("plugins/@ACME/mask/1.0.0");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("plugin.yaml"), manifest(&plain()).to_yaml()).unwrap();
    assert_eq!(registry.list().unwrap().len(), tenants.len());
}

#[tokio::test]
async fn a_version_that_is_there_is_no_other_one_whatever_the_other_bytes_are() {
    let dir = tempfile::tempdir().unwrap();
    let shared = Arc::new(Registry::new(dir.path().join("plugins"), dir.path().join("components")));
    let catalog = WasmCatalog::new(runtime(), shared, 64 << 20);
    let id: PluginId = "puppet@0.1.0".parse().unwrap();
    let put = async |bytes: &[u8]| {
        let mut upload = catalog.upload(&id, None).await.unwrap();
        upload.write(bytes).await.unwrap();
        upload.publish().await
    };
    assert!(matches!(put(b"garbage").await, Err(CatalogError::Invalid(_))));
    assert!(matches!(put(&plain()).await, Ok(Published::New(_))));
    for other in [b"garbage".to_vec(), variant(&plain(), 1)] {
        assert!(matches!(put(&other).await, Err(CatalogError::Exists(_))));
    }
    assert!(matches!(put(&plain()).await, Ok(Published::Same(_))));
}

#[tokio::test]
async fn what_a_killed_host_left_is_in_nobodys_way_and_goes_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let incoming = dir.path().join("plugins/.incoming");
    fs::create_dir_all(&incoming).unwrap();
    // Names that processes of this number would give one after the other, before this one was there.
    for number in 0..1_000 {
        let left = fs::File::create(incoming.join(format!("{}-{number}", std::process::id()))).unwrap();
        left.set_modified(SystemTime::now() - Duration::from_secs(3_600)).unwrap();
    }
    let old = incoming.join("1-0");
    fs::create_dir(&old).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(3_600 * 25);
    let shared = Arc::new(Registry::new(dir.path().join("plugins"), dir.path().join("components")));
    let id: PluginId = "puppet@0.1.0".parse().unwrap();
    let catalog = WasmCatalog::new(runtime(), shared.clone(), 64 << 20);
    let mut upload = catalog.upload(&id, None).await.unwrap();
    upload.write(&plain()).await.unwrap();
    assert!(matches!(upload.publish().await, Ok(Published::New(_))));
    fs::File::open(&old).unwrap().set_modified(long_ago).unwrap();
    let held = || fs::read_dir(&incoming).unwrap().count();
    assert_eq!(held(), 1_001);
    shared.tidy(false);
    assert_eq!(held(), 1_000, "another host of this folder may be at work on the others");
    shared.tidy(true);
    assert_eq!(held(), 0, "in a folder of this machine, it knows who is at work");
    assert_eq!(shared.ids().unwrap(), [id]);
}
