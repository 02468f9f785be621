use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_second_host_is_refused_and_told_who_holds_the_directory() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a/b");
    let held = DataDir::lock(&path).unwrap();
    let error = DataDir::lock(&path).unwrap_err();
    assert!(
        matches!(error, DataDirError::InUse { holder: Some(pid), .. } if pid == std::process::id()),
        "{error:?}"
    );
    let message = error.to_string();
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    assert!(message.contains(&path.display().to_string()), "{message}");
    drop(held);
    DataDir::lock(&path).unwrap();
}

#[test]
fn a_host_that_is_just_ending_is_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    let held = DataDir::lock(temp.path()).unwrap();
    let ending = std::thread::spawn(move || {
        std::thread::sleep(2 * LOCK_PAUSE);
        drop(held);
    });
    DataDir::lock_within(temp.path(), Duration::from_secs(60)).unwrap();
    ending.join().unwrap();
    let _held = DataDir::lock(temp.path()).unwrap();
    assert!(matches!(DataDir::lock_within(temp.path(), 2 * LOCK_PAUSE), Err(DataDirError::InUse { .. })));
}

#[test]
fn its_parts_exist_and_are_private() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    let dir = DataDir::lock(&path).unwrap();
    assert_eq!(dir.path(), path);
    assert_eq!(dir.database(), path.join("deltaforge.db"));
    for part in [&path, &dir.plugins(), &dir.cache(), &dir.spill()] {
        assert_eq!(mode(part), 0o700, "{}", part.display());
    }
    assert_eq!(mode(&path.join("lock")), 0o600);
}

#[test]
fn an_open_cache_directory_is_closed_and_others_keep_their_mode() {
    let temp = tempfile::tempdir().unwrap();
    for part in ["cache", "plugins"] {
        std::fs::create_dir(temp.path().join(part)).unwrap();
        std::fs::set_permissions(temp.path().join(part), Permissions::from_mode(0o755)).unwrap();
    }
    let dir = DataDir::lock(temp.path()).unwrap();
    assert_eq!(mode(&dir.cache()), 0o700);
    assert_eq!(mode(&dir.plugins()), 0o755);
}

#[test]
fn a_file_in_its_place_is_an_error_that_names_it() {
    let temp = tempfile::NamedTempFile::new().unwrap();
    let error = DataDir::lock(temp.path()).unwrap_err();
    assert!(error.to_string().contains(&temp.path().display().to_string()), "{error}");
}
