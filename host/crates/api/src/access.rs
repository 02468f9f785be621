//! Who may do what: tokens, what their holders see, and what they may do.
//!
//! A request is asked three things, in this order: who it is from (401), whether what it names is there for them
//! (404), whether their role suffices (403). So nobody learns from an answer that another tenant has something.
//!
//! While no token is known, everybody who reaches the API may do everything; a host then listens on a loopback
//! address unless its operator says otherwise aloud. The first token ends that for good.

mod admit;
mod caller;
mod throttle;
mod token;
mod tokens;

pub use token::{NewToken, Origin, TOKEN_PREFIX, Token, TokenError, TokenName};
pub use tokens::Tokens;

pub(crate) use admit::{Gate, HungUp, admit, forbidden};
pub(crate) use caller::{Caller, Visitor};
pub(crate) use throttle::{Failure, Throttle};
pub(crate) use tokens::now_ms;

/// Who commands a host that knows no token, in histories and in the audit log.
pub const LOCAL: &str = "local";
