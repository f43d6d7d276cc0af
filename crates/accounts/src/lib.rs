//! Who may use a server, what they have used, and what it costs.
//!
//! This crate knows nothing of HTTP or of models.
