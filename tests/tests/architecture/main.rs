//! The repository's own rules: what may depend on what, that documentation points at things that
//! exist, and that no file grows past what a reader can hold. Needs nothing but the checkout.

mod dependencies;
mod documents;
mod files;
mod interface;
mod links;
mod repository;
