//! The bytes on the wire, over the built-in model.
//!
//! Its weights change from release to release, so texts and what depends on them are blanked before comparison; what
//! remains is compared to the last byte.

mod auth;
mod chat;
mod client;
mod completions;
mod drain;
mod errors;
mod ledger;
mod limits;
mod load;
mod malformed;
mod messages;
mod metrics;
mod openapi;
mod page;
mod replay;
mod replies;
mod responses;
mod shape;
mod structured;
mod tls;
mod tokenize;
