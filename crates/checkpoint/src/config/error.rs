//! Why a configuration was refused.

/// Why a `config.json` was refused. The text says what was expected, what was found and what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not JSON, or not a JSON object.
    #[error("config.json is not valid JSON: {reason}. Restore the file that came with the checkpoint")]
    Json {
        /// What the parser said.
        reason: String,
    },
    /// Another architecture.
    #[error("this is a {found} model; Fathom runs DeepSeek-V4 (model_type \"deepseek_v4\"). {advice}")]
    Architecture {
        /// The model type found, or a description where there is none.
        found: String,
        /// What to do.
        advice: String,
    },
    /// A key that must be there is not.
    #[error("config.json has no {key}{also}. Restore the file that came with the checkpoint")]
    Missing {
        /// The official name.
        key: String,
        /// Other accepted spellings, as ` (or …)`; may be empty.
        also: String,
    },
    /// A value of the wrong type or outside its range.
    #[error(
        "config.json: {key} must be {expected}, found {found}. Restore the file that came with the checkpoint"
    )]
    Value {
        /// The key as it is spelt in the file.
        key: String,
        /// What is accepted.
        expected: String,
        /// The value, shortened.
        found: String,
    },
    /// A setting the V4 architecture does not have.
    #[error(
        "config.json: {key} is {found}, but every DeepSeek-V4 model has {expected}; Fathom does not implement this variant"
    )]
    Unsupported {
        /// The key.
        key: String,
        /// The only supported value.
        expected: String,
        /// The value, shortened.
        found: String,
    },
    /// Weights in a format that this program does not know.
    #[error(
        "config.json: fathom_quantization.version is {found}, but this program reads version {expected}. Update Fathom, \
         or quantise the original checkpoint again with this one"
    )]
    QuantizationVersion {
        /// The version found, or a description.
        found: String,
        /// The version known.
        expected: u64,
    },
    /// Two spellings of the same setting contradict each other.
    #[error(
        "config.json contradicts itself: {first} against {second}. Restore the file that came with the checkpoint"
    )]
    Contradiction {
        /// One statement.
        first: String,
        /// The other.
        second: String,
    },
}
