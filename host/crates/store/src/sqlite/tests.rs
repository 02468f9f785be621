use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use futures::FutureExt;
use futures::future::{join, join_all};
use rusqlite::Connection;

use super::*;

/// A store whose writer stands still until the returned sender is used or dropped.
async fn stalled(store: &Arc<SqliteStore>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
    let (resume, wait) = mpsc::channel::<()>();
    let (stand, stands) = tokio::sync::oneshot::channel();
    let store = Arc::clone(store);
    let job = tokio::spawn(async move {
        store
            .writer
            .run("stand still".into(), move |_| {
                let _ = stand.send(());
                let _ = wait.recv();
                Ok(())
            })
            .await
            .unwrap();
    });
    stands.await.unwrap();
    (resume, job)
}

async fn put(store: &SqliteStore, key: String) -> Result<(), StateError> {
    store.put_many(vec![(key, vec![1])], None).await
}

/// Lets the writer go on after all of `writes` were handed in; answers how they ended.
async fn together<F: Future>(
    resume: mpsc::Sender<()>,
    writes: impl IntoIterator<Item = F>,
) -> Vec<F::Output> {
    join(join_all(writes), async { drop(resume) }).await.0 // polled from the left, the first time
}

/// A store that counts its commits; each comes to nothing if `refuse` says so.
fn open_watched(dir: &tempfile::TempDir, refuse: bool) -> (Arc<SqliteStore>, Arc<AtomicU64>) {
    let path = dir.path().join("deltaforge.db");
    let mut db = schema::open(&path).unwrap();
    let commits = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&commits);
    db.commit_hook(Some(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        refuse
    }))
    .unwrap();
    let reader = Reader::start(schema::open_reader(&path).unwrap()).unwrap();
    (Arc::new(SqliteStore { reader, writer: Writer::start(db).unwrap() }), commits)
}

fn open(dir: &tempfile::TempDir) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(dir.path().join("deltaforge.db")).unwrap())
}

fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[tokio::test]
async fn callers_that_wait_share_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (store, commits) = open_watched(&dir, false);
    let (resume, job) = stalled(&store).await;
    for put in together(resume, (0..100).map(|n| put(&store, n.to_string()))).await {
        put.unwrap();
    }
    job.await.unwrap();
    assert_eq!(commits.load(Ordering::Relaxed), 1, "the one that stood still took the others along");
    assert_eq!(store.list("").await.unwrap().len(), 100);
}

#[tokio::test]
async fn reads_do_not_wait_for_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    put(&store, "a".into()).await.unwrap();
    let (resume, job) = stalled(&store).await;
    let reads = async {
        assert_eq!(store.get("a").await.unwrap(), Some(vec![1]));
        assert_eq!(store.get("b").await.unwrap(), None);
        drop(resume);
    };
    join(put(&store, "b".into()), reads).await.0.unwrap();
    job.await.unwrap();
    assert_eq!(store.get("b").await.unwrap(), Some(vec![1]));
}

#[tokio::test]
async fn a_failed_commit_is_told_to_every_caller() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_watched(&dir, true);
    let (resume, job) = stalled(&store).await;
    let puts = together(resume, (0..3).map(|n| put(&store, n.to_string()))).await;
    job.await.unwrap_err(); // it was in the same commit
    for (n, put) in puts.into_iter().enumerate() {
        let error = put.unwrap_err();
        assert!(
            causes(&error).starts_with(&format!("state store: write key {n}: commit: ")),
            "{}",
            causes(&error)
        );
    }
    assert_eq!(store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn a_failing_write_leaves_the_others_of_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (resume, job) = stalled(&store).await;
    let half_done = |db: &Connection| {
        kv::put_many(db, &[("half".into(), vec![1])], None)?;
        db.execute("insert into nowhere values (1)", []).map(drop)
    };
    let writes = [
        put(&store, "before".into()).boxed(),
        store.writer.run("break".into(), half_done).boxed(),
        put(&store, "after".into()).boxed(),
    ];
    let [before, broken, after] = together(resume, writes).await.try_into().unwrap();
    job.await.unwrap();
    before.unwrap();
    after.unwrap();
    let error = broken.unwrap_err();
    assert!(causes(&error).contains("nowhere"), "{}", causes(&error));
    let keys: Vec<_> = store.list("").await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["after", "before"]);
}

#[tokio::test]
async fn a_full_disk_fails_the_write_and_is_got_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let limit = |pages: u32| {
        store.writer.run("limit".into(), move |db| {
            db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        })
    };
    limit(30).await.unwrap();
    let large = vec![0; 1 << 20];
    let error = store.put_many(vec![("large".into(), large.clone())], None).await.unwrap_err();
    assert!(causes(&error).contains("full"), "{}", causes(&error));
    put(&store, "small".into()).await.unwrap();
    limit(1 << 30).await.unwrap();
    store.put_many(vec![("large".into(), large)], None).await.unwrap();
    let keys: Vec<_> = store.list("").await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["large", "small"]);
}

#[tokio::test]
async fn expired_keys_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.put_many(vec![("gone".into(), vec![1])], Some(Duration::ZERO)).await.unwrap();
    put(&store, "stays".into()).await.unwrap();
    assert_eq!(store.writer.run("sweep".into(), kv::sweep).await.unwrap(), 1);
    assert_eq!(store.writer.run("sweep".into(), kv::sweep).await.unwrap(), 0);
    assert_eq!(store.get("stays").await.unwrap(), Some(vec![1]));
}

#[tokio::test]
async fn commits_are_synced_and_the_reader_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let pragma = |name: &'static str| {
        store.writer.run("ask".into(), move |db| {
            db.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
        })
    };
    assert_eq!(pragma("synchronous").await.unwrap(), rusqlite::types::Value::Integer(2), "2 is full");
    assert_eq!(pragma("journal_mode").await.unwrap(), rusqlite::types::Value::Text("wal".into()));
    let write = store.reader.run("write".into(), |db| db.execute("delete from kv", []).map(drop)).await;
    assert!(causes(&write.unwrap_err()).contains("readonly"));
}

#[test]
fn the_file_and_its_directories_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/deltaforge.db");
    let _store = SqliteStore::open(&path).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&dir.path().join("a/b/deltaforge.db-wal")), 0o600);
    assert_eq!(mode(&dir.path().join("a/b")), 0o700);
}

#[test]
fn a_foreign_file_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    std::fs::write(&text, "not a database").unwrap();
    let long_text = dir.path().join("long text");
    std::fs::write(&long_text, "not a database\n".repeat(1000)).unwrap();
    let database = dir.path().join("database");
    Connection::open(&database).unwrap().execute_batch("create table t (a)").unwrap();
    for path in [text, long_text, database] {
        let before = std::fs::read(&path).unwrap();
        let error = SqliteStore::open(&path).err().expect("it is not ours");
        assert!(matches!(error, OpenError::Foreign { .. }), "{}", causes(&error));
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
    let missing_rights = SqliteStore::open(dir.path()).err().expect("a directory is no file");
    assert!(matches!(missing_rights, OpenError::Sqlite { .. }), "{}", causes(&missing_rights));
}

#[test]
fn a_newer_schema_is_refused_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deltaforge.db");
    drop(SqliteStore::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let error = SqliteStore::open(&path).err().expect("it is newer");
    assert!(matches!(error, OpenError::Newer { found: 7, .. }), "{}", causes(&error));
    assert!(error.to_string().contains("schema 7, which is newer than the 1"), "{error}");
}

#[tokio::test]
async fn two_connections_share_a_file_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&dir), open(&dir));
    let puts = (0..100).map(|n| put(if n % 2 == 0 { &one } else { &other }, format!("{n:03}")));
    for put in join_all(puts).await {
        put.unwrap();
    }
    assert_eq!(one.list("").await.unwrap().len(), 100);
}
