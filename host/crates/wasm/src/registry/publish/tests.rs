use std::os::unix::process::parent_id;

use super::*;

#[test]
fn a_folder_that_goes_with_its_last_version_is_made_again_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (aside, above) = (dir.path().join("aside"), dir.path().join("mask"));
    let folder = above.join("1.0.0");
    fs::create_dir(&aside).unwrap();
    let mut tries = 0;
    let moved = move_to(&aside, &folder, &above, || {
        tries += 1;
        // Somebody takes the version away that was there until now, and the name's folder with it.
        if tries < 3 {
            fs::remove_dir(&above).unwrap();
        }
    });
    moved.unwrap();
    assert!(folder.is_dir() && !aside.exists());
    assert_eq!(tries, 3);

    let mut tries = 0;
    let gone = move_to(&aside, &above.join("2.0.0"), &above, || tries += 1).unwrap_err();
    assert_eq!(
        (gone.kind(), tries),
        (ErrorKind::NotFound, MOVES),
        "what was made aside is gone: no try mends that"
    );
    fs::create_dir(&aside).unwrap();
    fs::write(folder.join("plugin.yaml"), "there").unwrap();
    let mut tries = 0;
    let taken = move_to(&aside, &folder, &above, || tries += 1).unwrap_err();
    assert!(is_taken(&taken) && tries == 1, "{taken}: a version that is there is no folder to be made again");
}

#[test]
fn a_name_that_was_made_by_a_process_at_work_tells_so() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(dir.path().join("plugins"), dir.path().join("components"));
    let incoming = dir.path().join("plugins").join(ASIDE);
    fs::create_dir_all(incoming.join(format!("{}-0123456789abcdef", parent_id()))).unwrap();
    fs::write(incoming.join(format!("{}-fedcba9876543210", parent_id())), "half").unwrap();
    // No process has such a number.
    fs::create_dir(incoming.join(format!("{}-0123456789abcdef", i32::MAX))).unwrap();
    fs::write(incoming.join("by-nobody"), "half").unwrap();
    let held = || fs::read_dir(&incoming).unwrap().count();
    registry.forget_incoming(false);
    assert_eq!(held(), 4, "other machines may work in it");
    registry.forget_incoming(true);
    assert_eq!(held(), 2, "what a command of this machine is at work on stays");
}

#[test]
fn the_same_again_is_published_also_while_it_is_being_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let (plugins, kept) = (dir.path().join("plugins"), dir.path().join("components"));
    let registry = Registry::new(&plugins, &kept);
    let (version, bytes) = (Version::new(1, 0, 0), b"a component");
    let manifest = PluginManifest {
        sha256: digest_of(bytes),
        kind: crate::plugin::PluginKind::Processor,
        interface: "1.0.0".to_owned(),
        grants: Vec::new(),
        author: String::new(),
        licence: String::new(),
        description: String::new(),
        tables: Vec::new(),
        reads: Vec::new(),
        writes: Vec::new(),
        config_schema: String::new(),
    };
    let publish = || registry.publish(None, "mask", &version, bytes, &manifest);
    publish().unwrap();
    // Hosts share a registry's folder.
    let other = Registry::new(&plugins, &kept);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = other.delete(None, "mask", &version);
            }
        });
        let published: Vec<_> = (0..300).map(|_| publish().map(drop)).collect();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let failed: Vec<_> = published
            .into_iter()
            .filter_map(Result::err)
            .map(|error| crate::factory::chain(&error))
            .collect();
        assert!(failed.is_empty(), "{} of them: {:?}", failed.len(), failed.first());
    });
}
