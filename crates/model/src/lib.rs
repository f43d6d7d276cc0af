//! The DeepSeek-V4 forward pass over a mapped checkpoint.
