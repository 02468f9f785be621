//! The file sink: the writer behind the engine's trait, off the I/O threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use deltaforge_engine::disk::{Disk, RealDisk};
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::sink::{
    Addressing, Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory, Trouble,
};
use deltaforge_engine::span;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::AbortHandle;
use tracing::Instrument;

use crate::config::FileConfig;
use crate::error::FileError;
use crate::lines::check_content_type;
use crate::state::FileState;
use crate::writer::Writer;

/// Makes file sinks.
#[derive(Debug, Clone)]
pub struct FileSinkFactory {
    disk: Arc<dyn Disk>,
}

impl Default for FileSinkFactory {
    fn default() -> Self {
        Self { disk: Arc::new(RealDisk) }
    }
}

impl FileSinkFactory {
    /// Writes to another disk.
    pub fn with_disk(disk: impl Disk) -> Self {
        Self { disk: Arc::new(disk) }
    }
}

#[async_trait]
impl SinkFactory for FileSinkFactory {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(FileConfig)
    }

    fn validate(&self, config: &Value) -> Result<(), Vec<ConfigError>> {
        FileConfig::read(config).map(drop)
    }

    fn addressing(&self, _config: &Value) -> Addressing {
        Addressing::default()
    }

    fn takes(&self, _config: &Value, content_type: &str) -> Result<(), SinkError> {
        Ok(check_content_type(content_type)?)
    }

    async fn open(&self, config: &Value, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        let config = FileConfig::read(config).map_err(|problems| {
            let texts: Vec<_> =
                problems.iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect();
            SinkError::operator("invalid_config", texts.join("; "))
        })?;
        let path = absolute(&context.base_dir.join(&config.path))?;
        let state = context.state.as_deref().and_then(FileState::read);
        let disk = self.disk.clone();
        let writer = blocking(move || Writer::open(disk, path, config.rotate, state, now_ms())).await?;
        Ok(Box::new(FileSink::new(writer, context.trouble)))
    }
}

fn absolute(path: &std::path::Path) -> Result<PathBuf, FileError> {
    std::path::absolute(path).map_err(FileError::io("find", path))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    span::blocking(act).await.map_err(FileError::Thread)?
}

struct FileSink {
    writer: Arc<Mutex<Writer>>,
    /// Rotates by age also when nothing is delivered.
    timer: Option<AbortHandle>,
}

impl FileSink {
    fn new(writer: Writer, trouble: Trouble) -> Self {
        let first = writer.until_old(now_ms());
        let writer = Arc::new(Mutex::new(writer));
        let rotate = |first| rotate_by_age(Arc::downgrade(&writer), first, trouble).in_current_span();
        let timer = first.map(|first| tokio::spawn(rotate(first)));
        Self { writer, timer: timer.map(|timer| timer.abort_handle()) }
    }

    async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Writer) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let writer = self.writer.clone();
        Ok(blocking(move || act(&mut writer.lock())).await?)
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        let delivery = delivery.clone();
        self.run(move |writer| writer.write(&delivery, now_ms())).await
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        self.run(Writer::durable).await
    }
}

/// Rotates the file whenever it is old enough. A failure poisons the writer: it is told at once, and the next call,
/// which may be long in coming, makes the engine open the file anew.
async fn rotate_by_age(writer: std::sync::Weak<Mutex<Writer>>, first: Duration, trouble: Trouble) {
    let mut wait = first;
    loop {
        tokio::time::sleep(wait.max(Duration::from_millis(10))).await;
        let Some(writer) = writer.upgrade() else { return };
        let rotated = span::blocking(move || {
            let mut writer = writer.lock();
            writer.rotate_aged(now_ms()).map(|()| writer.until_old(now_ms()))
        });
        match rotated.await {
            Ok(Ok(Some(next))) => wait = next,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => return trouble.tell(&error.into()),
        }
    }
}
