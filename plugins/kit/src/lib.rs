//! What several of the built-in processors need: conditions, templates, exact values out of JSON, tables and columns
//! by pattern, and cells of columns that a table may lack. A library only; no plugin by itself.

mod changes;
mod columns;
mod condition;
mod decimal;
mod document;
mod facts;
mod field;
mod predicate;
mod scope;
mod template;
mod text;

pub use changes::{Changes, ColumnNumber};
pub use columns::ColumnName;
pub use condition::{Match, Operation, Operator, Predicate};
pub use document::{elements, members, value_of};
pub use facts::{Fact, Facts};
pub use predicate::Check;
pub use scope::{Scope, Tables};
pub use template::Template;
pub use text::{text_at, text_of, text_of_json};
