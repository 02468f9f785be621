//! Both backends keep the state store's contract.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_engine::state::StateStore;
use deltaforge_store::contract::{self, Backend};
use deltaforge_store::{MemoryStore, SqliteStore};

struct Memory(Arc<MemoryStore>);

#[async_trait]
impl Backend for Memory {
    async fn open(&mut self) -> Arc<dyn StateStore> {
        Arc::clone(&self.0) as _
    }
}

struct Sqlite(tempfile::TempDir);

#[async_trait]
impl Backend for Sqlite {
    async fn open(&mut self) -> Arc<dyn StateStore> {
        Arc::new(SqliteStore::open(self.0.path().join("deltaforge.db")).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory() {
    contract::check(|| Memory(Arc::new(MemoryStore::new()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite() {
    contract::check(|| Sqlite(tempfile::tempdir().unwrap())).await;
}
