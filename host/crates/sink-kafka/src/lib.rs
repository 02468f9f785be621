//! The Kafka sink: each event is a record of a topic, sent by librdkafka.
//!
//! What it promises:
//!
//! * Durable means that every in-sync replica has the record (`acks: all`). Nothing else counts.
//! * The records of a key go to one partition, as the partitioner of the Java client has it, in commit order. A gap in
//!   that order is an error of the producer: it is given up with all that it holds, and a new one sends again from the
//!   first delivery that is not durable on. So at least once; a retry inside the producer makes no duplicate.
//! * Records are handed over without waiting for any of them. What the producer's queue holds counts against the
//!   pipeline's budget, and its bound is a share of that.
//! * While no broker can be reached that is told at once, and the producer goes on by itself when one is back. When nothing
//!   is acknowledged for `send_timeout_secs` the producer is given up.
//! * Wrong credentials, missing rights and failing TLS stop the sink until an operator helps. A record that is too large,
//!   or that the broker refuses, is rejected alone: after a batch was refused, all that was under way goes one by one.
//! * With `exactly_once` records go in transactions, each with the record that says where the sink stands after it. That one
//!   is read back when the sink is opened, and then no other producer of its name can commit anything any more. So a crash
//!   at any place neither loses nor doubles what a `read_committed` consumer sees.
//! * Settings of `client_conf` win over defaults; those that would break a promise are refused, and those that would load
//!   code or run a command.

mod checkpoints;
mod client_conf;
mod config;
mod context;
mod error;
mod factory;
mod in_flight;
mod lessons;
mod linger;
mod prompt;
mod properties;
mod quiet;
mod sink;
mod topics;
mod transactions;
mod turns;

pub use config::{ConfValue, CreateTopics, KafkaConfig};
pub use factory::KafkaSinkFactory;
