//! `GET /openapi.json`: all of the above as OpenAPI 3.1.
//!
//! Schemas come from the types that read requests, and from types beside them where those do not say what they look like
//! (vendor's forms, and replies). That every path is in it and nothing else, and that replies are as they say, is tested.

#![expect(dead_code, reason = "forms are there to be described")]

mod operations;
mod replies;
mod requests;

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::app::App;
use crate::wire::chat::ChatRequest;
use crate::wire::completions::CompletionRequest;
use crate::wire::tokenize::{DetokenizeRequest, TokenizeRequest};
use operations::{OPERATIONS, Operation, Reply};
pub(crate) use requests::{
    Effort, FunctionTool, MessagesThinkingType, PromptForms, ResponseFormat, Stop, TextOrParts, ToolChoice,
};

/// Names of schemas, and where they come from.
#[derive(OpenApi)]
#[openapi(components(schemas(
    ChatRequest,
    CompletionRequest,
    TokenizeRequest,
    DetokenizeRequest,
    requests::MessagesRequest,
    requests::ResponsesRequest,
    replies::Error,
    replies::ChatCompletion,
    replies::TextCompletion,
    replies::Message,
    replies::InputTokens,
    replies::Response,
    replies::Tokens,
    replies::Text,
    replies::ModelList,
    replies::Model,
    replies::Health,
    replies::Balance,
    replies::Figures,
)))]
struct Schemas;

/// The document of all servers of this version.
static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// The document, with the names of this server's models as examples.
pub(crate) async fn openapi(State(app): State<Arc<App>>) -> Json<Value> {
    let names: Vec<_> = app.catalog.models().iter().map(|model| &model.name).collect();
    let mut document = DOCUMENT.clone();
    if let Some(schemas) = document
        .pointer_mut("/components/schemas")
        .and_then(Value::as_object_mut)
    {
        for schema in schemas.values_mut() {
            if schema.pointer("/properties/model/type").is_some() {
                schema["properties"]["model"]["examples"] = json!(names);
            }
        }
    }
    Json(document)
}

fn document() -> Value {
    // Plain data.
    let schemas = serde_json::to_value(Schemas::openapi()).unwrap_or_default();
    let mut components = schemas["components"].clone();
    components["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer"},
        "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    });
    let mut paths = Map::new();
    for operation in OPERATIONS {
        for (number, path) in operation.paths.iter().enumerate() {
            let id = match number {
                0 => operation.id.to_owned(),
                _ => format!("{}_{}", operation.id, number + 1),
            };
            let item = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
            item[operation.method] = describe(operation, path, &id);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fathom",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "DeepSeek-V4 models by the APIs of DeepSeek, OpenAI and Anthropic. Unknown fields are ignored. Every \
                            reply has a header x-request-id.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": components,
    })
}

fn describe(operation: &Operation, path: &str, id: &str) -> Value {
    let schema = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let text = || json!({"schema": {"type": "string"}});
    let content = match operation.reply {
        Reply::Json(name) => json!({"application/json": {"schema": schema(name)}}),
        Reply::JsonOrEvents(name) => json!({
            "application/json": {"schema": schema(name)},
            // One event after the other; see each API's own documents for their forms.
            "text/event-stream": {},
        }),
        Reply::Text(kind) => json!({kind: text()}),
    };
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({"description": "Done", "content": content}),
    );
    let everywhere: &[u16] = if operation.key {
        &[401, 500, 503]
    } else {
        &[500, 503]
    };
    for &status in operation.errors.iter().chain(everywhere) {
        let (description, plain) = match status {
            400 => (
                "The request cannot be answered as it is",
                Some("application/octet-stream"),
            ),
            401 => (
                "No key, or one that is not known; without a key the body is plain text",
                None,
            ),
            402 => ("The key's balance is used up", None),
            403 => ("The key may not do this", None),
            404 => ("There is no such thing", None),
            408 => ("The body did not come in time", None),
            413 => ("The body is too large", None),
            415 => (
                "The body is not said to be JSON",
                Some("text/plain; charset=utf-8"),
            ),
            429 => ("Too many requests or tokens, and no room to wait", None),
            503 => ("Not now: the server is about to end, or has waited in vain", None),
            _ => ("Something is wrong on this side", None),
        };
        let mut content = json!({"application/json": {"schema": schema("Error")}});
        if let Some(kind) = plain {
            content[kind] = text();
        }
        if status == 503 && operation.id == "health" {
            content = json!({"application/json": {"schema": schema("Health")}});
        }
        if status == 404 && operation.id == "asset" {
            content = json!({});
        }
        responses.insert(
            status.to_string(),
            json!({"description": description, "content": content}),
        );
    }
    let mut described = json!({
        "operationId": id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": responses,
    });
    if operation.key {
        // Or none, where no key is needed.
        described["security"] = json!([{}, {"bearer": []}, {"x-api-key": []}]);
    }
    if let Some(name) = operation.body {
        described["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": schema(name)}},
        });
    }
    let in_path = path
        .contains("{name}")
        .then(|| json!({"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}));
    let in_query = operation.query.iter().map(|(name, kind, required)| {
        json!({"name": name, "in": "query", "required": required, "schema": {"type": kind}})
    });
    let parameters: Vec<_> = in_path.into_iter().chain(in_query).collect();
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    described
}

#[cfg(test)]
mod tests;
