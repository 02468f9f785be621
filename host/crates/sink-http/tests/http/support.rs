//! A sink that gets deliveries as an engine gives them that is small enough to see through.

use deltaforge_engine::retry::Hurry;
use deltaforge_engine::sink::{Delivery, Sink, SinkContext, SinkError, SinkFactory, Trouble};
use deltaforge_sink_http::HttpSinkFactory;
use deltaforge_testkit::sinks::{self, Draft};
use serde_json::{Value, json};

/// Number `n`, with a body `{"n":n}`.
pub fn numbered(n: u64) -> Draft {
    Draft::of(json!({ "n": n }).to_string())
}

pub async fn open(config: &Value) -> Box<dyn Sink> {
    open_telling(config, Trouble::default()).await
}

pub async fn open_telling(config: &Value, trouble: Trouble) -> Box<dyn Sink> {
    open_with(config, trouble, Hurry::default()).await
}

pub async fn open_with(config: &Value, trouble: Trouble, hurry: Hurry) -> Box<dyn Sink> {
    let context = SinkContext { trouble, hurry, ..sinks::context() };
    HttpSinkFactory.open(config, context).await.unwrap()
}

/// Delivers as the engine does: a failed sink is opened anew and given what is not delivered; a rejected message
/// is set aside. Answers the places of the rejected ones.
pub async fn deliver(config: &Value, mut deliveries: Vec<Delivery>) -> Vec<(u64, usize)> {
    let mut rejected = Vec::new();
    let mut sink = open(config).await;
    for delivery in &mut deliveries {
        while !delivery.is_empty() {
            match sink.write(delivery).await {
                Ok(()) => break,
                Err(SinkError::Rejected { place, .. }) => {
                    rejected.push((delivery.seq, place));
                    delivery.done = place + 1;
                }
                Err(SinkError::Failed { delivered, .. }) => {
                    delivery.done = delivery.done.max(delivered);
                    sink = open(config).await;
                }
            }
        }
        if !delivery.is_empty() {
            assert_eq!(sink.durable().await.unwrap().through, delivery.seq);
        }
    }
    rejected
}
