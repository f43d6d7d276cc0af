//! Number formats and all arithmetic of the V4 forward pass; the only crate with unsafe code.

pub mod allocator;
pub mod attention;
pub mod bf16;
pub mod compress;
mod cores;
pub mod experts;
pub mod formats;
pub mod hyper;
pub mod indexer;
pub mod inputs;
pub mod int8;
pub mod isa;
mod lanes;
pub mod machine;
pub mod mapping;
pub mod matmul;
pub mod matrix;
pub mod norm;
pub mod pages;
#[cfg(target_arch = "x86_64")]
mod quads;
pub mod quant;
pub mod rope;
pub mod rows;
mod scratch;
mod segments;
mod shares;
#[cfg(test)]
mod stored;
pub mod team;
