//! Forms of replies. They may have more fields than stand here.

use utoipa::ToSchema;

/// What went wrong.
#[derive(ToSchema)]
pub(crate) struct Error {
    /// `error`, on the Messages API.
    r#type: Option<String>,
    error: ErrorDetail,
}

#[derive(ToSchema)]
pub(crate) struct ErrorDetail {
    /// For people.
    message: String,
    r#type: String,
    param: Option<String>,
    code: String,
}

/// A whole answer.
#[derive(ToSchema)]
pub(crate) struct ChatCompletion {
    /// As the header `x-request-id`.
    id: String,
    /// `chat.completion`.
    object: String,
    created: u64,
    model: String,
    system_fingerprint: Option<String>,
    choices: Vec<ChatChoice>,
    usage: Usage,
}

#[derive(ToSchema)]
pub(crate) struct ChatChoice {
    index: u32,
    message: ChatAnswer,
    #[schema(value_type = Option<Object>)]
    logprobs: Option<()>,
    finish_reason: FinishReason,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    InsufficientSystemResource,
}

#[derive(ToSchema)]
pub(crate) struct ChatAnswer {
    /// `assistant`.
    role: String,
    content: Option<String>,
    /// While thinking.
    reasoning_content: Option<String>,
    #[schema(value_type = Option<Vec<Object>>)]
    tool_calls: Option<()>,
}

/// Tokens used.
#[derive(ToSchema)]
pub(crate) struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    /// Of the prompt, from the cache.
    prompt_cache_hit_tokens: u64,
    /// Of the prompt, computed.
    prompt_cache_miss_tokens: u64,
    /// Why no more of the prompt came from the cache.
    prompt_cache_miss_reason: Option<String>,
}

/// Whole completions, one for each prompt.
#[derive(ToSchema)]
pub(crate) struct TextCompletion {
    id: String,
    /// `text_completion`.
    object: String,
    created: u64,
    model: String,
    choices: Vec<TextChoice>,
    usage: Usage,
}

#[derive(ToSchema)]
pub(crate) struct TextChoice {
    index: u32,
    text: String,
    #[schema(value_type = Option<Object>)]
    logprobs: Option<()>,
    finish_reason: FinishReason,
}

/// A whole answer of the Messages API.
#[derive(ToSchema)]
pub(crate) struct Message {
    id: String,
    /// `message`.
    r#type: String,
    /// `assistant`.
    role: String,
    model: String,
    /// Blocks: `thinking`, `text`, `tool_use`.
    #[schema(value_type = Vec<Object>)]
    content: (),
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    usage: MessageUsage,
}

#[derive(ToSchema)]
#[expect(clippy::struct_field_names, reason = "these are their names")]
pub(crate) struct MessageUsage {
    /// Of the prompt, computed.
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    /// Of the prompt, from the cache.
    cache_read_input_tokens: u64,
    output_tokens: u64,
}

#[derive(ToSchema)]
pub(crate) struct InputTokens {
    input_tokens: u64,
}

/// A whole answer of the Responses API.
#[derive(ToSchema)]
pub(crate) struct Response {
    id: String,
    /// `response`.
    object: String,
    created_at: u64,
    /// `completed`, `incomplete` or `failed`.
    status: String,
    model: String,
    /// Items: `reasoning`, `message`, `function_call` and others.
    #[schema(value_type = Vec<Object>)]
    output: (),
    #[schema(value_type = Object)]
    usage: (),
}

#[derive(ToSchema)]
pub(crate) struct Tokens {
    /// How many.
    tokens: u64,
    ids: Option<Vec<u32>>,
}

#[derive(ToSchema)]
pub(crate) struct Text {
    text: String,
}

/// With a header `anthropic-version`, in Anthropic's shape.
#[derive(ToSchema)]
pub(crate) struct ModelList {
    /// `list`.
    object: Option<String>,
    data: Vec<Model>,
}

#[derive(ToSchema)]
pub(crate) struct Model {
    id: String,
    /// `model`.
    object: Option<String>,
    /// `model`, in Anthropic's shape.
    r#type: Option<String>,
}

#[derive(ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `draining` once the server is about to end.
    status: String,
    #[schema(value_type = Vec<Object>)]
    models: (),
}

/// What a key has left.
#[derive(ToSchema)]
pub(crate) struct Balance {
    is_available: bool,
    balance_infos: Vec<BalanceInfo>,
}

/// Amounts are decimals.
#[derive(ToSchema)]
pub(crate) struct BalanceInfo {
    currency: String,
    total_balance: String,
    granted_balance: String,
    topped_up_balance: String,
}

/// What the operator's page shows.
#[derive(ToSchema)]
pub(crate) struct Figures {}
