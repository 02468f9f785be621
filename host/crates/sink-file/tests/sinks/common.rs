use std::path::Path;

use deltaforge_engine::sink::{Delivery, Sink, SinkContext, SinkError, SinkFactory, Trouble};
use deltaforge_testkit::sinks::{self, Draft};
use serde_json::Value;

pub use deltaforge_testkit::sinks::JSON;

/// A delivery of these bodies; `None` is a tombstone.
pub fn delivery<B: AsRef<[u8]>>(seq: u64, bodies: &[Option<B>]) -> Delivery {
    delivery_of(JSON, seq, bodies)
}

pub fn delivery_of<B: AsRef<[u8]>>(content_type: &str, seq: u64, bodies: &[Option<B>]) -> Delivery {
    let draft = |body: &Option<B>| body.as_ref().map_or_else(Draft::default, |body| Draft::of(body.as_ref()));
    sinks::delivery(seq, content_type, &bodies.iter().map(draft).collect::<Vec<_>>())
}

pub async fn open(
    factory: &impl SinkFactory,
    config: &Value,
    base_dir: &Path,
    state: Option<Vec<u8>>,
) -> Result<Box<dyn Sink>, SinkError> {
    open_telling(factory, config, base_dir, state, Trouble::default()).await
}

pub async fn open_telling(
    factory: &impl SinkFactory,
    config: &Value,
    base_dir: &Path,
    state: Option<Vec<u8>>,
    trouble: Trouble,
) -> Result<Box<dyn Sink>, SinkError> {
    let context = SinkContext { state, base_dir: base_dir.to_owned(), trouble, ..sinks::context() };
    factory.open(config, context).await
}
