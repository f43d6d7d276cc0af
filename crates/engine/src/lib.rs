//! The engine: an immutable model and sessions, one timeline each.
