//! The HTTP sink: each event, or each batch as a JSON array, in a request to a URL.
//!
//! What it promises:
//!
//! * Durable means that the server answered 2xx. Nothing else counts, a followed redirect neither.
//! * The events of one key arrive in commit order, at least once; a retry sends again only what has no answer.
//! * 401, 403 and everything else that no event can be blamed for stops the sink until an operator helps;
//!   408, 429, 5xx and a server that cannot be reached are tried again; any other 4xx rejects one event.
//! * Each try that fails is told at once, though the sink makes the request again itself.
//! * In batch mode a refused request is halved until the event is found that the server refuses.
//! * Events go to the configured server: a value in a URL template cannot change the server where the template
//!   names it, and redirects lead nowhere else.
//! * Header values and the parts of a URL that may hold credentials appear in no message.
//! * Messages without a body (tombstones) are not sent.

mod answer;
mod config;
mod error;
mod request;
mod sink;

pub use config::{HeaderText, HttpConfig, Method};
pub use sink::HttpSinkFactory;
