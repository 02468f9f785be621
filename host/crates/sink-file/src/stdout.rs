//! Lines on standard output.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::sink::{Addressing, Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory};
use deltaforge_engine::span::blocking;
use parking_lot::Mutex;
use serde_json::Value;

use crate::config::NoConfig;
use crate::error::FileError;
use crate::lines::{check_content_type, push_line};
use crate::writer::BUFFER_BYTES;

type Output = Arc<Mutex<dyn Write + Send>>;

/// Makes sinks that write to standard output, a delivery at a time. Durable means written and flushed: what the
/// reader does with it is the reader's affair.
#[derive(Clone)]
pub struct StdoutSinkFactory {
    output: Output,
}

impl Default for StdoutSinkFactory {
    fn default() -> Self {
        Self { output: Arc::new(Mutex::new(io::stdout())) }
    }
}

impl StdoutSinkFactory {
    /// Writes somewhere else.
    pub fn with_output(output: impl Write + Send + 'static) -> Self {
        Self { output: Arc::new(Mutex::new(output)) }
    }
}

#[async_trait]
impl SinkFactory for StdoutSinkFactory {
    fn kind(&self) -> &'static str {
        "stdout"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(NoConfig)
    }

    fn validate(&self, config: &Value) -> Result<(), Vec<ConfigError>> {
        NoConfig::read(config).map(drop)
    }

    fn addressing(&self, _config: &Value) -> Addressing {
        Addressing::default()
    }

    fn takes(&self, _config: &Value, content_type: &str) -> Result<(), SinkError> {
        Ok(check_content_type(content_type)?)
    }

    async fn open(&self, _config: &Value, _context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(StdoutSink { output: self.output.clone(), buffer: Vec::new(), through: 0 }))
    }
}

struct StdoutSink {
    output: Output,
    buffer: Vec<u8>,
    through: u64,
}

#[async_trait]
impl Sink for StdoutSink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        check_content_type(&delivery.messages.content_type)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        for (_, message) in delivery.messages() {
            if let Some(body) = message.body {
                push_line(&mut buffer, body)?;
            }
        }
        let output = self.output.clone();
        let (buffer, result) = blocking(move || {
            let mut output = output.lock();
            let result = output.write_all(&buffer).and_then(|()| output.flush());
            (buffer, result)
        })
        .await
        .map_err(FileError::Thread)?;
        self.buffer = buffer;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES);
        match result {
            Ok(()) => {
                self.through = delivery.seq;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(FileError::StdoutClosed.into()),
            Err(error) => Err(FileError::Stdout(error).into()),
        }
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: self.through, state: None })
    }
}
