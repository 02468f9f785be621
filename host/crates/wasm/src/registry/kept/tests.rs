use super::*;

/// A registry that keeps so many components, and their digests.
fn keeping(dir: &std::path::Path, components: u8) -> (Arc<Registry>, HashSet<String>) {
    let registry = Arc::new(Registry::new(dir.join("plugins"), dir.join("components")));
    let keep = |mark: u8| {
        let bytes = vec![mark; 8];
        let digest = digest_of(&bytes);
        let resolved = Resolved { plugin: format!("mask@1.{mark}.0"), digest, bytes: bytes.into() };
        drop(registry.keep(&resolved).unwrap());
        resolved.digest
    };
    let digests = (0..components).map(keep).collect();
    (registry, digests)
}

#[test]
fn what_comes_into_use_while_others_go_stays_and_waits_for_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, all) = keeping(dir.path(), 5);
    let collection = registry.collect().unwrap();
    let (mut gone, mut taken) = (Vec::new(), Vec::new());
    let copies = collection.one_by_one(&HashSet::new(), false, |digest| {
        assert!(!registry.kept.hands.is_locked(), "threads that compute would wait for the disk");
        gone.push(digest.to_owned());
        let others = all.iter().filter(|other| *other != digest);
        taken.extend(others.map(|digest| registry.kept.take_in_hand(digest)));
    });
    let copies = copies.unwrap();
    assert_eq!((gone.len(), copies.removed, copies.kept), (1, 1, 4));
    let left: HashSet<String> = registry.kept.all().unwrap().into_keys().collect();
    assert_eq!(left, all.iter().filter(|digest| !gone.contains(digest)).cloned().collect());
    // Out of their hands again, but they were in them since it began: histories may name them by now.
    taken.clear();
    assert_eq!(collection.one_by_one(&HashSet::new(), false, |_| {}).unwrap().kept, 4);
    drop(collection);
    assert_eq!(registry.collect().unwrap().finish(&HashSet::new(), false).unwrap().removed, 4);
}

#[test]
fn two_collections_do_not_mind_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, _) = keeping(dir.path(), 3);
    let (one, other) = (registry.collect().unwrap(), registry.collect().unwrap());
    let mut others = Some(other);
    let copies = one.one_by_one(&HashSet::new(), false, |_| {
        if let Some(other) = others.take() {
            assert_eq!(other.finish(&HashSet::new(), false).unwrap().removed, 2);
        }
    });
    copies.unwrap();
    assert!(registry.kept.all().unwrap().is_empty());
}
