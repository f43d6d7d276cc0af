//! The request body's form.

use deepseek_recipe::openai::chat_completion::request::ChatCompletionStopSequences;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;
use utoipa::ToSchema;

use crate::openapi::{PromptForms, Stop};

/// Body of `POST /completions`. Unknown fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CompletionRequest {
    /// Name or alias of a model.
    pub(super) model: String,
    /// A text, a list of texts, a list of token ids, or a list of such lists: each is completed on its own.
    #[schema(value_type = PromptForms)]
    pub(super) prompt: Prompts,
    /// What comes behind the text to be written, for models that were taught to fill in.
    pub(super) suffix: Option<String>,
    /// Repeat the prompt before the completion.
    pub(super) echo: Option<bool>,
    /// Most tokens to generate; 0 with `echo` only.
    pub(super) max_tokens: Option<u32>,
    /// 0 to 2.
    pub(super) temperature: Option<f32>,
    /// Above 0, to 1.
    pub(super) top_p: Option<f32>,
    /// Same seed, same text.
    pub(super) seed: Option<i64>,
    /// A string or up to sixteen that end the completion.
    #[schema(value_type = Option<Stop>)]
    pub(super) stop: Option<ChatCompletionStopSequences>,
    /// Report log-probabilities, with this many of the most likely tokens: 0 to 20.
    pub(super) logprobs: Option<u32>,
    /// Send completions as they are written.
    pub(super) stream: Option<bool>,
    /// Whose cache to use: up to 512 bytes.
    pub(super) user_id: Option<String>,
    /// Another name for `user_id`.
    pub(super) user: Option<String>,
}

/// What to complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PromptText {
    /// A text; begin-of-sentence comes before it.
    Text(String),
    /// Tokens as they are.
    Ids(Vec<u32>),
}

/// One or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompts(pub(super) Vec<PromptText>);

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        prompts(value).map(Self).ok_or_else(|| {
            D::Error::custom(
                "prompt should be a string, a list of strings, a list of token ids or a list of lists of token ids",
            )
        })
    }
}

fn prompts(value: Value) -> Option<Vec<PromptText>> {
    match value {
        Value::String(text) => Some(vec![PromptText::Text(text)]),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            Some(vec![PromptText::Ids(ids(&items)?)])
        }
        Value::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Some(PromptText::Text(text)),
                Value::Array(items) => ids(&items).map(PromptText::Ids),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

fn ids(items: &[Value]) -> Option<Vec<u32>> {
    items
        .iter()
        .map(|item| u32::try_from(item.as_u64()?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn four_forms_of_prompts() {
        let text = |text: &str| PromptText::Text(text.to_owned());
        for (value, expected) in [
            (json!("a"), vec![text("a")]),
            (json!(["a", "b"]), vec![text("a"), text("b")]),
            (json!([1, 2]), vec![PromptText::Ids(vec![1, 2])]),
            (
                json!([[1], [2, 3]]),
                vec![PromptText::Ids(vec![1]), PromptText::Ids(vec![2, 3])],
            ),
            (json!([]), vec![]),
        ] {
            assert_eq!(
                serde_json::from_value::<Prompts>(value).unwrap(),
                Prompts(expected)
            );
        }
    }

    #[test]
    fn what_is_no_prompt() {
        for value in [
            json!(null),
            json!(1),
            json!([1, "a"]),
            json!([[1.5]]),
            json!([-1]),
            json!([[[1]]]),
            json!({}),
        ] {
            assert!(serde_json::from_value::<Prompts>(value).is_err());
        }
    }
}
