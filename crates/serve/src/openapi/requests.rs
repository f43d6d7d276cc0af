//! Forms of requests, where the types that read them do not say what they look like.

use utoipa::ToSchema;

/// A text, or a list of its parts.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum TextOrParts {
    Text(String),
    Parts(Vec<TextPart>),
}

/// A part of a message.
#[derive(ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum TextPart {
    Text { text: String },
}

/// One string, or up to sixteen.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum Stop {
    One(String),
    Several(Vec<String>),
}

/// A function that the model may call.
#[derive(ToSchema)]
pub(crate) struct FunctionTool {
    r#type: FunctionType,
    function: FunctionDefinition,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FunctionType {
    Function,
}

#[derive(ToSchema)]
pub(crate) struct FunctionDefinition {
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    name: String,
    description: Option<String>,
    /// A JSON schema of the arguments.
    #[schema(value_type = Option<Object>)]
    parameters: Option<()>,
    /// Hold arguments to the schema to the letter, and refuse schemas for which that cannot be done.
    strict: Option<bool>,
}

/// Whether tools are called, or which.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum ToolChoice {
    Mode(ToolMode),
    Named(NamedTool),
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToolMode {
    None,
    Auto,
    Required,
}

#[derive(ToSchema)]
pub(crate) struct NamedTool {
    r#type: FunctionType,
    function: NamedFunction,
}

#[derive(ToSchema)]
pub(crate) struct NamedFunction {
    name: String,
}

/// What the answer must look like.
#[derive(ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: JsonSchemaFormat },
    Regex { regex: String },
}

#[derive(ToSchema)]
pub(crate) struct JsonSchemaFormat {
    name: String,
    #[schema(value_type = Object)]
    schema: (),
    strict: Option<bool>,
}

/// A text, several, a list of token ids, or several lists.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum PromptForms {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    ManyIds(Vec<Vec<u32>>),
}

/// Body of `POST …/messages`. Unknown fields are ignored.
#[derive(ToSchema)]
pub(crate) struct MessagesRequest {
    /// Name or alias of a model; `claude-opus…` and other `claude-…` names stand for one.
    model: String,
    messages: Vec<MessagesMessage>,
    /// Most tokens to generate, reasoning included.
    #[schema(minimum = 1)]
    max_tokens: u32,
    system: Option<TextOrParts>,
    stream: Option<bool>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f32>,
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f32>,
    stop_sequences: Option<Vec<String>>,
    thinking: Option<MessagesThinking>,
    tools: Option<Vec<MessagesTool>>,
    tool_choice: Option<MessagesToolChoice>,
    output_config: Option<MessagesOutput>,
    metadata: Option<MessagesMetadata>,
}

#[derive(ToSchema)]
pub(crate) struct MessagesMessage {
    role: MessagesRole,
    content: MessagesContent,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MessagesRole {
    User,
    Assistant,
    System,
}

/// A text, or blocks: `text`, `thinking`, `tool_use`, `tool_result` and others.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum MessagesContent {
    Text(String),
    #[schema(value_type = Vec<Object>)]
    Blocks(Vec<()>),
}

#[derive(ToSchema)]
pub(crate) struct MessagesThinking {
    r#type: MessagesThinkingType,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MessagesThinkingType {
    Enabled,
    Adaptive,
    Disabled,
}

#[derive(ToSchema)]
pub(crate) struct MessagesTool {
    name: String,
    description: Option<String>,
    #[schema(value_type = Object)]
    input_schema: (),
}

#[derive(ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum MessagesToolChoice {
    Auto,
    Any,
    None,
    Tool { name: String },
}

#[derive(ToSchema)]
pub(crate) struct MessagesOutput {
    effort: Option<MessagesEffort>,
}

/// How hard to think.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MessagesEffort {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
    Ultra,
}

/// How hard to think.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
    Ultra,
}

#[derive(ToSchema)]
pub(crate) struct MessagesMetadata {
    /// Whose cache to use.
    user_id: Option<String>,
}

/// Body of `POST /responses`. Unknown fields are ignored; nothing is stored.
#[derive(ToSchema)]
pub(crate) struct ResponsesRequest {
    /// Name or alias of a model.
    model: String,
    input: Option<ResponsesInput>,
    instructions: Option<String>,
    stream: Option<bool>,
    #[schema(minimum = 1)]
    max_output_tokens: Option<u32>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f32>,
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f32>,
    reasoning: Option<ResponsesReasoning>,
    /// `{"format": {"type": "text" | "json_object" | "json_schema", …}}`.
    #[schema(value_type = Option<Object>)]
    text: Option<()>,
    /// `function`, `custom` and others; those that are not known are left out.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<()>,
    tool_choice: Option<ResponsesToolChoice>,
    user: Option<String>,
}

/// A text, or items: `message`, `reasoning`, `function_call`, `function_call_output` and others.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum ResponsesInput {
    Text(String),
    #[schema(value_type = Vec<Object>)]
    Items(Vec<()>),
}

#[derive(ToSchema)]
pub(crate) struct ResponsesReasoning {
    effort: Option<Effort>,
}

/// Whether tools are called, or which.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum ResponsesToolChoice {
    Mode(ToolMode),
    Named(ResponsesNamedTool),
}

#[derive(ToSchema)]
pub(crate) struct ResponsesNamedTool {
    r#type: FunctionType,
    name: String,
}
