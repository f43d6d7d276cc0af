//! What every path takes and gives.

/// One thing that can be done, under all its paths.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) paths: &'static [&'static str],
    /// Its id; further paths have a number behind it.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Which API it belongs to.
    pub(super) tag: &'static str,
    /// Whether it needs a key where keys are needed.
    pub(super) key: bool,
    /// The schema of its body, if it has one.
    pub(super) body: Option<&'static str>,
    pub(super) reply: Reply,
    /// Parameters of the query: name, type, whether it must be there.
    pub(super) query: &'static [(&'static str, &'static str, bool)],
    /// What may go wrong beyond what may go wrong everywhere.
    pub(super) errors: &'static [u16],
}

/// What comes back.
pub(super) enum Reply {
    /// JSON of a schema.
    Json(&'static str),
    /// The same, or events if the request asks for a stream.
    JsonOrEvents(&'static str),
    /// A text of a type.
    Text(&'static str),
}

/// What can go wrong with bodies.
const BODY: &[u16] = &[400, 408, 413, 415];
/// With bodies that ask for an answer.
const ANSWER: &[u16] = &[400, 402, 404, 408, 413, 415, 429];

const POST: Operation = Operation {
    method: "post",
    paths: &[],
    id: "",
    summary: "",
    tag: "",
    key: true,
    body: None,
    reply: Reply::Text("text/html; charset=utf-8"),
    query: &[],
    errors: &[],
};
const GET: Operation = Operation {
    method: "get",
    ..POST
};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        paths: &[
            "/v1/chat/completions",
            "/chat/completions",
            "/beta/chat/completions",
        ],
        id: "chat",
        summary: "Answer a conversation",
        tag: "OpenAI and DeepSeek",
        body: Some("ChatRequest"),
        reply: Reply::JsonOrEvents("ChatCompletion"),
        errors: ANSWER,
        ..POST
    },
    Operation {
        paths: &["/v1/completions", "/completions", "/beta/completions"],
        id: "completions",
        summary: "Complete texts or tokens, or fill in between two texts",
        tag: "OpenAI and DeepSeek",
        body: Some("CompletionRequest"),
        reply: Reply::JsonOrEvents("TextCompletion"),
        errors: ANSWER,
        ..POST
    },
    Operation {
        paths: &["/v1/responses", "/responses"],
        id: "responses",
        summary: "Answer by the Responses API",
        tag: "OpenAI and DeepSeek",
        body: Some("ResponsesRequest"),
        reply: Reply::JsonOrEvents("Response"),
        errors: ANSWER,
        ..POST
    },
    Operation {
        paths: &["/anthropic/v1/messages", "/anthropic/messages", "/v1/messages"],
        id: "messages",
        summary: "Answer by the Messages API",
        tag: "Anthropic",
        body: Some("MessagesRequest"),
        reply: Reply::JsonOrEvents("Message"),
        errors: ANSWER,
        ..POST
    },
    Operation {
        paths: &[
            "/anthropic/v1/messages/count_tokens",
            "/anthropic/messages/count_tokens",
            "/v1/messages/count_tokens",
        ],
        id: "count_tokens",
        summary: "Count the tokens of a prompt of the Messages API",
        tag: "Anthropic",
        body: Some("MessagesRequest"),
        reply: Reply::Json("InputTokens"),
        errors: BODY,
        ..POST
    },
    Operation {
        paths: &["/anthropic/v1/models"],
        id: "anthropic_models",
        summary: "The models, in Anthropic's shape",
        tag: "Anthropic",
        reply: Reply::Json("ModelList"),
        ..GET
    },
    Operation {
        paths: &["/anthropic/v1/models/{name}"],
        id: "anthropic_model",
        summary: "A model, in Anthropic's shape",
        tag: "Anthropic",
        reply: Reply::Json("Model"),
        errors: &[400, 404],
        ..GET
    },
    Operation {
        paths: &["/v1", "/beta", "/anthropic", "/anthropic/v1"],
        id: "base",
        summary: "Says that something is here",
        tag: "Anthropic",
        key: false,
        reply: Reply::Json("Figures"),
        ..GET
    },
    Operation {
        paths: &["/v1/models", "/models"],
        id: "models",
        summary: "The models",
        tag: "OpenAI and DeepSeek",
        reply: Reply::Json("ModelList"),
        ..GET
    },
    Operation {
        paths: &["/v1/models/{name}", "/models/{name}"],
        id: "model",
        summary: "A model, by any of its names",
        tag: "OpenAI and DeepSeek",
        reply: Reply::Json("Model"),
        errors: &[400, 404],
        ..GET
    },
    Operation {
        paths: &["/user/balance"],
        id: "balance",
        summary: "What the key has left",
        tag: "OpenAI and DeepSeek",
        reply: Reply::Json("Balance"),
        ..GET
    },
    Operation {
        paths: &["/v1/tokenize", "/tokenize"],
        id: "tokenize",
        summary: "The tokens of a text or a conversation",
        tag: "Tokens",
        body: Some("TokenizeRequest"),
        reply: Reply::Json("Tokens"),
        errors: BODY,
        ..POST
    },
    Operation {
        paths: &["/v1/detokenize", "/detokenize"],
        id: "detokenize",
        summary: "The text of tokens",
        tag: "Tokens",
        body: Some("DetokenizeRequest"),
        reply: Reply::Json("Text"),
        errors: BODY,
        ..POST
    },
    Operation {
        paths: &["/health"],
        id: "health",
        summary: "Whether the server takes requests",
        tag: "Operation",
        key: false,
        reply: Reply::Json("Health"),
        ..GET
    },
    Operation {
        paths: &["/metrics"],
        id: "metrics",
        summary: "Figures for Prometheus; needs an administrator's key where keys are needed",
        tag: "Operation",
        reply: Reply::Text("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        errors: &[403],
        ..GET
    },
    Operation {
        paths: &["/admin/api/live"],
        id: "admin_live",
        summary: "Figures of the last ten minutes",
        tag: "Operation",
        reply: Reply::Json("Figures"),
        query: &[("since", "integer", false)],
        errors: &[400, 403],
        ..GET
    },
    Operation {
        paths: &["/admin/api/usage"],
        id: "admin_usage",
        summary: "Sums over the ledger",
        tag: "Operation",
        reply: Reply::Json("Figures"),
        query: &[
            ("by", "string", true),
            ("from", "string", false),
            ("to", "string", false),
            ("offset", "integer", false),
        ],
        errors: &[400, 403],
        ..GET
    },
    Operation {
        paths: &["/admin/api/keys"],
        id: "admin_keys",
        summary: "Keys, their limits and what of them is used",
        tag: "Operation",
        reply: Reply::Json("Figures"),
        errors: &[403],
        ..GET
    },
    Operation {
        paths: &["/openapi.json"],
        id: "openapi",
        summary: "This document",
        tag: "Operation",
        key: false,
        reply: Reply::Json("Figures"),
        ..GET
    },
    Operation {
        paths: &["/"],
        id: "page",
        summary: "The chat page",
        tag: "Pages",
        key: false,
        ..GET
    },
    Operation {
        paths: &["/admin"],
        id: "admin_page",
        summary: "The operator's page",
        tag: "Pages",
        key: false,
        ..GET
    },
    Operation {
        paths: &["/assets/{name}"],
        id: "asset",
        summary: "A file of the pages",
        tag: "Pages",
        key: false,
        reply: Reply::Text("*/*"),
        errors: &[400, 404],
        ..GET
    },
    Operation {
        paths: &["/page/info"],
        id: "page_info",
        summary: "What the pages need to know of the server",
        tag: "Pages",
        reply: Reply::Json("Figures"),
        ..GET
    },
];
