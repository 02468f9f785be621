//! The one list of what this build knows. A new source or sink is one line here.

use std::sync::Arc;

use deltaforge_config::{Block, Catalog, Finding, Part};
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::sink::SinkFactory;
use deltaforge_engine::source::SourceFactory;
use deltaforge_sink_file::{FileSinkFactory, NullSinkFactory, StdoutSinkFactory};
use deltaforge_sink_http::HttpSinkFactory;
use deltaforge_sink_kafka::KafkaSinkFactory;
use deltaforge_source_mysql::MysqlSource;
use deltaforge_source_sqlite::SqliteSource;

/// Every connector of this build.
pub struct Registry {
    sources: Vec<Arc<dyn SourceFactory>>,
    sinks: Vec<Arc<dyn SinkFactory>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            sources: vec![Arc::new(MysqlSource), Arc::new(SqliteSource::default())],
            sinks: vec![
                Arc::new(FileSinkFactory::default()),
                Arc::new(StdoutSinkFactory::default()),
                Arc::new(NullSinkFactory),
                Arc::new(HttpSinkFactory),
                Arc::new(KafkaSinkFactory::default()),
            ],
        }
    }
}

impl Registry {
    /// The source of this kind.
    pub fn source(&self, kind: &str) -> Option<Arc<dyn SourceFactory>> {
        self.sources.iter().find(|factory| factory.kind() == kind).cloned()
    }

    /// The sink of this kind.
    pub fn sink(&self, kind: &str) -> Option<Arc<dyn SinkFactory>> {
        self.sinks.iter().find(|factory| factory.kind() == kind).cloned()
    }

    /// What documents may contain. `builtins` adds the processors and envelopes.
    pub fn catalog(&self) -> Catalog {
        let mut catalog = Catalog::default();
        for factory in &self.sources {
            let factory = factory.clone();
            let reads = factory.clone();
            let block = Block::from_schema(factory.schema()).reads_files(move |config| reads.files(config));
            let kind = factory.kind();
            catalog = catalog.source(kind, block.check(move |config| findings(factory.validate(config))));
        }
        for factory in &self.sinks {
            let factory = factory.clone();
            let block = Block::from_schema(factory.schema());
            let kind = factory.kind();
            let block = if kind == "file" { block.own_file("path") } else { block };
            catalog = catalog.sink(kind, block.check(move |config| findings(factory.validate(config))));
        }
        catalog
            .source_alias("turso", "sqlite", &[("url", "path")])
            .source_alias("mariadb", "mysql", &[])
            .absent(Part::Source, &["postgres"])
            .absent(Part::Sink, &["redis", "nats", "s3", "clickhouse"])
            .absent(Part::Encoding, &["avro"])
    }
}

/// What a connector found, as the report shows it.
pub fn findings(result: Result<(), Vec<ConfigError>>) -> Vec<Finding> {
    let found = result.err().unwrap_or_default();
    let finding = |error: ConfigError| {
        let finding = Finding::new(error.path, error.message);
        let finding = if error.is_of_key { finding.of_key() } else { finding };
        match error.place {
            Some((line, column)) => finding.at_line(line, column),
            None => finding,
        }
    };
    found.into_iter().map(finding).collect()
}
