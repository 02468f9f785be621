//! Makes Kafka sinks of their blocks.

use async_trait::async_trait;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::sink::{Addressing, Sink, SinkContext, SinkError, SinkFactory};
use serde_json::Value;

use crate::checkpoints;
use crate::config::KafkaConfig;
use crate::error::KafkaSinkError;
use crate::lessons::School;
use crate::sink::KafkaSink;
use crate::transactions::Identity;
use crate::turns::Turns;

/// Makes Kafka sinks.
#[derive(Debug, Clone, Default)]
pub struct KafkaSinkFactory {
    school: School,
    turns: Turns,
}

#[async_trait]
impl SinkFactory for KafkaSinkFactory {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(KafkaConfig)
    }

    fn validate(&self, config: &Value) -> Result<(), Vec<ConfigError>> {
        KafkaConfig::read(config).map(drop)
    }

    fn addressing(&self, config: &Value) -> Addressing {
        let text = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
        Addressing {
            destination: text("topic"),
            key: text("key"),
            ignores_routed: false,
            tombstones: config.get("tombstones").and_then(Value::as_bool).unwrap_or_default(),
        }
    }

    fn keeps_position(&self, config: &Value) -> bool {
        config.get("exactly_once").and_then(Value::as_bool).unwrap_or_default()
    }

    async fn open(&self, config: &Value, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        let lessons = self.school.of(&Identity::of(&context).key, config);
        Ok(Box::new(KafkaSink::open(read(config)?, context, lessons, &self.turns).await?))
    }

    async fn forget_position(&self, config: &Value, context: SinkContext) -> Result<(), SinkError> {
        Ok(checkpoints::forget(&read(config)?, &context, &self.turns).await?)
    }
}

/// A block that was checked before.
fn read(config: &Value) -> Result<KafkaConfig, KafkaSinkError> {
    KafkaConfig::read(config).map_err(|problems| {
        let texts: Vec<_> =
            problems.iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect();
        KafkaSinkError::Config(texts.join("; "))
    })
}
