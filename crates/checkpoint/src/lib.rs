//! DeepSeek-V4 checkpoints: configuration, profiles, tensor names and mapped tensor data.
