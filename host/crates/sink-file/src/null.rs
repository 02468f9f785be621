//! The sink that forgets: for benchmarks.

use async_trait::async_trait;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::sink::{Addressing, Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory};
use serde_json::Value;
use tracing::info;

use crate::config::NoConfig;

/// Makes sinks that count and forget.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullSinkFactory;

#[async_trait]
impl SinkFactory for NullSinkFactory {
    fn kind(&self) -> &'static str {
        "null"
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

    async fn open(&self, _config: &Value, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(NullSink { sink: context.sink_id, through: 0, messages: 0, bytes: 0 }))
    }
}

struct NullSink {
    sink: String,
    through: u64,
    messages: u64,
    bytes: u64,
}

#[async_trait]
impl Sink for NullSink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        for (_, message) in delivery.messages() {
            self.messages += 1;
            self.bytes += message.body.map_or(0, <[u8]>::len) as u64;
        }
        self.through = delivery.seq;
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: self.through, state: None })
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        info!(sink = self.sink, messages = self.messages, bytes = self.bytes, "null sink closed");
        Ok(())
    }
}
