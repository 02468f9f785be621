//! deltaforge
#![allow(dead_code)]
mod builtin;
fn main() {}
