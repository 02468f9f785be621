//! Sending what lingers.

use std::time::Duration;

use rdkafka::bindings::rd_kafka_flush;
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};

/// Has the producer send at once what it keeps for more to come, until all of that is acknowledged or so much time is over.
///
/// The safe call for this lets go again before any of the client's threads has looked.
pub(crate) fn send_now<C: ProducerContext>(producer: &ThreadedProducer<C>, within: Duration) {
    let within = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is not destroyed before the last handle of its producer is gone, and this borrows one. The call
    // may come from any thread.
    #[allow(unsafe_code, reason = "no safe call does it")]
    unsafe {
        rd_kafka_flush(producer.client().native_ptr(), within);
    }
}
