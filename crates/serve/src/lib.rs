//! HTTP: the chat completions wire over the engine.
