//! v
pub mod bindings;
/// shown
pub struct Shown;
