//! Number formats and all arithmetic of the V4 forward pass; the only crate with unsafe code.

pub mod mapping;
