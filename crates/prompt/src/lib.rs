//! Conversations to token ids and generated text back to messages, per checkpoint profile.
