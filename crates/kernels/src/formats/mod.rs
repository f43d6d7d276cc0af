//! Number formats of the checkpoint and of the low-precision path (spec §9.1–§9.4): BF16, E4M3, E2M1 and UE8M0.
//!
//! Conversions here are exact scalar code. The vector kernels decode the same formats in registers and are tested
//! bit for bit against these functions.

pub mod bf16;
pub mod e2m1;
pub mod e4m3;
pub mod grouped;
pub mod ue8m0;
