//! deltaforge
fn main() {}
