//! Conversations: what the engine answers, the server receives and a saved chat holds.
//!
//! The shapes follow the OpenAI chat API, in JSON too. They are our own rather than the vendor crate's because those are not
//! serialisable, hold tool schemas in parts (which loses the client's key order), and lack what the preview encoding can express:
//! quick-instruction tasks and keeping earlier reasoning.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Thinking, ToolCall, ToolChoice, ToolDefinition};

/// Messages and how to answer them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// Messages, oldest first.
    pub messages: Vec<Message>,
    /// Tools on offer, in the order the prompt lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolDefinition>,
    /// Use of the tools.
    #[serde(default)]
    pub tool_choice: ToolChoice,
    /// Thinking mode of the next answer.
    #[serde(default)]
    pub thinking: Thinking,
    /// Form of the next answer.
    #[serde(default)]
    pub response_format: ResponseFormat,
    /// Show the model its reasoning of earlier turns too. It always sees it when tools are on offer, and was trained without
    /// otherwise (spec §12.2), so leave this off unless the transcript itself is the subject.
    #[serde(default)]
    pub keep_reasoning: bool,
}

impl Conversation {
    /// A conversation of one user message.
    pub fn from_user(content: impl Into<String>) -> Self {
        Self {
            messages: vec![Message::user(content)],
            ..Self::default()
        }
    }

    /// Whether the prompt lists tools.
    pub fn offers_tools(&self) -> bool {
        !self.tools.is_empty() && self.tool_choice != ToolChoice::None
    }
}

/// One message. All content is text; a client's list of parts is flattened before it gets here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// Instructions. The API's `developer` role means the same.
    #[serde(alias = "developer")]
    System {
        /// The text.
        content: String,
    },
    /// What the user says.
    User {
        /// The text.
        content: String,
        /// A quick instruction the model answers in place of a reply.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<Task>,
    },
    /// What the model said.
    Assistant {
        /// The answer.
        #[serde(default)]
        content: String,
        /// The reasoning before it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<String>,
        /// Tool calls after it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
        /// The message is unfinished and the model continues it. Only for the last message.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        prefix: bool,
        /// A quick instruction on this answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<Task>,
        /// The ids the model sampled for this message, as generated (from after `<think>` or `</think>` of the prompt on; a final
        /// end-of-sentence id does not matter). The prompt then repeats them instead of encoding the text again, so a cached
        /// prefix stays valid. Clear it when changing any other field. Not saved.
        #[serde(skip)]
        sampled: Option<Vec<u32>>,
    },
    /// A tool's result.
    Tool {
        /// The result.
        content: String,
        /// [`ToolCall::id`] of the call it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tool_call_id: Option<String>,
    },
    /// A reminder that V4 was trained to read with more weight, such as the date.
    LatestReminder {
        /// The text.
        content: String,
    },
}

impl Message {
    /// A system message.
    pub fn system(content: impl Into<String>) -> Self {
        Self::System {
            content: content.into(),
        }
    }

    /// A user message.
    pub fn user(content: impl Into<String>) -> Self {
        Self::User {
            content: content.into(),
            task: None,
        }
    }

    /// An answer without reasoning or calls.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::Assistant {
            content: content.into(),
            reasoning_content: None,
            tool_calls: Vec::new(),
            prefix: false,
            task: None,
            sampled: None,
        }
    }

    /// A tool's result.
    pub fn tool(content: impl Into<String>, tool_call_id: impl Into<String>) -> Self {
        Self::Tool {
            content: content.into(),
            tool_call_id: Some(tool_call_id.into()),
        }
    }
}

/// Quick instructions: one token after a message asks for a short machine-readable reply (spec §12.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Search or answer?
    Action,
    /// Write a search query.
    Query,
    /// Judge authority.
    Authority,
    /// Name the domain.
    Domain,
    /// Write a title.
    Title,
    /// Read this URL?
    ReadUrl,
}

impl Task {
    /// The token that asks for the task.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Action => "<｜action｜>",
            Self::Query => "<｜query｜>",
            Self::Authority => "<｜authority｜>",
            Self::Domain => "<｜domain｜>",
            Self::Title => "<｜title｜>",
            Self::ReadUrl => "<｜read_url｜>",
        }
    }
}

/// Form of the answer, described in the prompt. Nothing constrains sampling here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Free text.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON following a schema.
    JsonSchema {
        /// The JSON Schema.
        schema: Value,
    },
}
