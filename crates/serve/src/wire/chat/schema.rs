//! The request body's form, read as leniently as real clients need; what strict servers refuse of it is told later.

use deepseek_recipe::openai::chat_completion::request::{
    ChatCompletionResponseFormat, ChatCompletionStopSequences, ChatCompletionTool,
    ChatCompletionToolChoiceOption,
};
use deepseek_recipe::request::{RequestReasoningEffort, ThinkingType};
use fathom_prompt::ToolDefinition;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::openapi::{
    Effort, FunctionTool, MessagesThinkingType, ResponseFormat, Stop, TextOrParts, ToolChoice,
};

/// Body of `POST /chat/completions`. Unknown fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ChatRequest {
    /// The conversation, oldest first.
    pub(super) messages: Vec<ChatMessage>,
    /// Name or alias of a model.
    pub(super) model: String,
    /// Whether to think first.
    pub(super) thinking: Option<ThinkingSwitch>,
    /// How hard: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max` or `ultra`.
    #[schema(value_type = Option<Effort>)]
    pub(super) reasoning_effort: Option<RequestReasoningEffort>,
    /// Most tokens to generate, reasoning included.
    pub(super) max_tokens: Option<u32>,
    /// The same as `max_tokens`, which comes first.
    pub(super) max_completion_tokens: Option<u32>,
    /// 0 to 2.
    #[schema(minimum = 0, maximum = 2)]
    pub(super) temperature: Option<f32>,
    /// Above 0, to 1.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub(super) top_p: Option<f32>,
    /// Checked, without effect.
    pub(super) frequency_penalty: Option<f32>,
    /// Checked, without effect.
    pub(super) presence_penalty: Option<f32>,
    /// Same seed, same text.
    pub(super) seed: Option<i64>,
    /// A string or up to sixteen that end the answer.
    #[schema(value_type = Option<Stop>)]
    pub(super) stop: Option<ChatCompletionStopSequences>,
    /// Send the answer as it is written.
    pub(super) stream: Option<bool>,
    /// For streams.
    pub(super) stream_options: Option<StreamOptions>,
    /// `{"type": "text" | "json_object" | "json_schema" | "regex", ...}`.
    #[schema(value_type = Option<ResponseFormat>)]
    pub(super) response_format: Option<ChatCompletionResponseFormat>,
    /// Up to 128 functions.
    #[schema(value_type = Option<Vec<FunctionTool>>)]
    pub(super) tools: Option<Vec<Tool>>,
    /// `none`, `auto`, `required` or a function's name in `{"type": "function", "function": {"name"}}`.
    #[schema(value_type = Option<ToolChoice>)]
    pub(super) tool_choice: Option<ChatCompletionToolChoiceOption>,
    /// Whether several calls in one answer are allowed; they are if it does not say.
    pub(super) parallel_tool_calls: Option<bool>,
    /// Report log-probabilities.
    pub(super) logprobs: Option<bool>,
    /// Of this many of the most likely tokens, 0 to 20.
    #[schema(maximum = 20)]
    pub(super) top_logprobs: Option<u8>,
    /// Whose cache to use: up to 512 bytes.
    pub(super) user_id: Option<String>,
    /// Another name for `user_id`.
    pub(super) user: Option<String>,
}

/// One message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(super) enum ChatMessage {
    /// Instructions.
    System {
        #[schema(value_type = Option<TextOrParts>)]
        content: Option<Content>,
    },
    /// The same under its newer name.
    Developer {
        #[schema(value_type = Option<TextOrParts>)]
        content: Option<Content>,
    },
    /// What the user says.
    User {
        #[schema(value_type = Option<TextOrParts>)]
        content: Option<Content>,
    },
    /// What the model said.
    Assistant {
        #[schema(value_type = Option<TextOrParts>)]
        content: Option<Content>,
        reasoning_content: Option<String>,
        tool_calls: Option<Vec<SentCall>>,
        /// Go on with this message instead of answering it; for the last one.
        prefix: Option<bool>,
    },
    /// What a tool gave back.
    Tool {
        #[schema(value_type = Option<TextOrParts>)]
        content: Option<Content>,
        tool_call_id: String,
    },
    /// A reminder that V4 reads with more weight.
    LatestReminder { content: String },
}

/// A message's content: a string, or a list of parts.
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    Text {
        text: String,
    },
    /// What an answer that was no answer said.
    Refusal {
        refusal: String,
    },
    ImageUrl {},
    File {},
}

/// A tool call as a client sends it back; its type and position do not matter.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SentCall {
    pub(super) id: String,
    pub(super) function: SentFunction,
}

/// What was called.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SentFunction {
    pub(super) name: String,
    /// The text of a JSON object; or that object, which some clients send.
    #[serde(default)]
    pub(super) arguments: Value,
}

/// Whether to think.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ThinkingSwitch {
    /// `enabled`, `adaptive` (the same) or `disabled`.
    #[schema(value_type = MessagesThinkingType)]
    pub(super) r#type: ThinkingType,
}

/// What a stream shows.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct StreamOptions {
    /// Show `"usage": null` before the last chunk, which has it anyway.
    pub(super) include_usage: Option<bool>,
}

/// A function that the model may call.
#[derive(Debug)]
pub(super) struct Tool {
    /// Checked by the vendor.
    pub(super) checked: ChatCompletionTool,
    /// As the client wrote it: the model was trained on schemas in their original key order.
    pub(super) written: ToolDefinition,
}

impl<'de> Deserialize<'de> for Tool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(deserializer)?;
        let checked = ChatCompletionTool::deserialize(&written).map_err(D::Error::custom)?;
        // An empty name is refused with the others that are no names.
        let nameless = checked.function.name.is_empty();
        let written = ToolDefinition::try_from(written);
        if nameless && written.is_err() {
            return Err(D::Error::custom(
                "Invalid 'function.name': empty string. Expected a string with minimum length 1, but got an empty string instead.",
            ));
        }
        Ok(Self {
            checked,
            written: written.map_err(D::Error::custom)?,
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Content;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or a list of parts as content")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(parts)).map(Content::Parts)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Content {
    /// The text, parts apart by a blank line. What is no text leaves a note where it was, as the vendor's conversion does for
    /// models that see no images.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => {
                let texts = parts.into_iter().map(|part| match part {
                    Part::Text { text } => text,
                    Part::Refusal { refusal } => refusal,
                    Part::ImageUrl {} | Part::File {} => "[Unsupported Image]".to_owned(),
                });
                texts.collect::<Vec<_>>().join("\n\n")
            }
        }
    }

    /// The first part that is no text, by its type.
    pub(super) fn foreign_part(&self) -> Option<&'static str> {
        let Self::Parts(parts) = self else { return None };
        parts.iter().find_map(|part| match part {
            Part::Text { .. } => None,
            Part::Refusal { .. } => Some("refusal"),
            Part::ImageUrl {} => Some("image_url"),
            Part::File {} => Some("file"),
        })
    }
}

impl SentFunction {
    /// The text of the arguments.
    pub(super) fn arguments(self) -> String {
        match self.arguments {
            Value::String(text) => text,
            Value::Null => "{}".to_owned(),
            other => other.to_string(),
        }
    }
}
