//! A request body to a conversation and how to answer it.
//!
//! The vendor's conversion checks the fields, in its words. Where this server departs from the hosted API (`--strict` leaves
//! the lines with * as they are there):
//!
//! | Field | Hosted API | Here |
//! |---|---|---|
//! | `model` | names of its own; `claude-opus*` is Pro, other `claude*` Flash | the same, and the only model stands for both; a `[1m]` at the end is not part of a name |
//! | `model` of a reply * | its own name | the name it was asked by: Claude Code sends no reasoning back to a model of another name |
//! | `temperature`, `top_p` while thinking * | without effect | honoured, so that 0 is greedy |
//! | `seed` | not there | same seed, same text |
//! | `metadata.user_id` | separate cache and scheduling for each | the same, without the part that changes from session to session |
//! | `tool_choice` any, tool while thinking * | refused | thinks, then must call |
//! | `output_config.format` * | ignored | the answer follows the schema |
//! | `tools[].strict` | ignored | arguments follow the schema exactly |
//! | `disable_parallel_tool_use` | ignored | at most one call |
//! | tools the hosted API runs * | refused, but for web search | left out: the model answers from what it knows |
//! | `document`, `search_result` of text * | not supported | their text |
//! | `redacted_thinking` * | not supported | left out |
//! | `defer_loading`, `tool_reference` | not known | kept out of the prompt until found |
//! | an assistant message at the end | not known | is continued |

use deepseek_recipe::anthropic::messages::request::{MessagesRequest, MessagesToolChoice};
use deepseek_recipe::request::{ConversionOptions, ModelVersion, ProtocolRequest as _, WebSearchBehavior};
use fathom_engine::grammar::{Constraint, ToolRule};
use fathom_prompt::{Message, ResponseFormat, ToolDefinition};
use serde_json::Value;

use super::{deferred, relax, user};
use crate::access::Caller;
use crate::app::App;
use crate::catalog::{Named, Tier};
use crate::error::ApiError;
use crate::wire::body::Body;
use crate::wire::choice::Choice;
use crate::wire::conversation::conversation;
use crate::wire::sampling;
use crate::wire::structure::{self, Structure, closed};
use crate::wire::{Draft, Request, relaxed};

/// Parses and checks a request body.
pub(super) fn read(body: &Body, app: &App, caller: &Caller) -> Result<Request, ApiError> {
    let (draft, name) = draft(body, app)?;
    let mut request = Request::new(app, caller, draft)?;
    request.shown = (!app.strict).then_some(name);
    Ok(request)
}

/// The model of a name, as this wire knows names.
pub(super) fn named(app: &App, name: &str) -> Result<Named, ApiError> {
    let name = name.strip_suffix("[1m]").unwrap_or(name);
    app.catalog.find(name).or_else(|error| {
        let tier = match name {
            name if name.starts_with("claude-opus") => Tier::Pro,
            name if name.starts_with("claude") => Tier::Flash,
            _ => return Err(error),
        };
        app.catalog.of_tier(tier).ok_or(error)
    })
}

/// What a body asks for, and of which model by name.
pub(super) fn draft(body: &Body, app: &App) -> Result<(Draft, String), ApiError> {
    let mut value = relaxed::value::<MessagesRequest>(body)?;
    let seed = value.get("seed").and_then(Value::as_u64);
    let user = user(&value)?;
    let found = deferred::settle(&mut value);
    let skipped = if app.strict {
        Vec::new()
    } else {
        relax::relax(&mut value)
    };
    let parallel = value.pointer("/tool_choice/disable_parallel_tool_use") != Some(&Value::Bool(true));
    let format = schema(&value).filter(|_| !app.strict);
    let tools = value.get("tools").and_then(Value::as_array);
    let rules = tools
        .into_iter()
        .flatten()
        .chain(&found)
        .filter_map(rule)
        .collect();
    let mut request: MessagesRequest = relaxed::read(body, value)?;
    let name = request.model.clone();
    let named = named(app, &name)?;
    let sampling = sampling::asked(named.model.sampling, request.temperature, request.top_p, seed);
    let choice = choice(&mut request.tool_choice, &skipped);
    let conversion = ConversionOptions::new()
        .with_model_versions_by_name([(name.clone(), ModelVersion::DeepseekV4Pro)])
        .with_default_thinking_mode(named.thinks)
        .with_messages_web_search(WebSearchBehavior::Drop);
    let mut converted = request.convert(conversion)?;
    let tools = converted.conversation.tools.iter().map(|tool| {
        let description = tool.description.clone().unwrap_or_default();
        ToolDefinition::new(&*tool.name, description, tool.parameters.clone())
    });
    let modes = named.model.engine.renderer().modes();
    let mut conversation = conversation(&converted.conversation, tools.collect(), modes)?;
    if let Some(Message::Assistant {
        content,
        prefix,
        tool_calls,
        ..
    }) = conversation.messages.last_mut()
    {
        *prefix = tool_calls.is_empty();
        // What has begun is past its reasoning.
        converted.conversation.thinking_mode &= content.is_empty();
    }
    if let Some(schema) = &format {
        let schema = schema.clone();
        conversation.response_format = ResponseFormat::JsonSchema { schema };
    }
    let format = format.map(|schema| {
        let schema = Some(closed(schema));
        Structure::demanded(Constraint::Json { schema })
    });
    let structure = choice.settle(rules, parallel, format, &mut conversation, app.strict)?;
    let options = sampling::options(sampling, &converted, app.strict);
    let draft = Draft {
        model: named.model,
        conversation,
        options,
        converted,
        user,
        structure,
    };
    Ok((draft, name))
}

/// Takes out a choice that the grammar makes and leaves the others to the vendor. Choosing a tool that is not here is no choice.
fn choice(choice: &mut Option<MessagesToolChoice>, skipped: &[String]) -> Choice {
    let made = match choice {
        Some(MessagesToolChoice::Any { .. }) => Choice::Required,
        Some(MessagesToolChoice::Tool { name, .. }) if skipped.contains(name) => Choice::Auto,
        Some(MessagesToolChoice::Tool { name, .. }) => Choice::named(std::mem::take(name)),
        _ => return Choice::Auto,
    };
    *choice = None;
    made
}

/// How a tool may be called.
fn rule(tool: &Value) -> Option<ToolRule> {
    let strict = tool.get("strict") == Some(&Value::Bool(true));
    let name = tool.get("name")?.as_str()?;
    Some(structure::rule(name, tool.get("input_schema").cloned(), strict))
}

/// The schema of the answer, in either place where clients put it.
fn schema(body: &Value) -> Option<Value> {
    let format = body
        .pointer("/output_config/format")
        .or_else(|| body.get("output_format"))?;
    let is_schema = format.get("type").is_some_and(|kind| kind == "json_schema");
    format.get("schema").filter(|_| is_schema).cloned()
}

/// The user a body names.
fn user(body: &Value) -> Result<String, ApiError> {
    let id = body.pointer("/metadata/user_id").and_then(Value::as_str);
    let id = id.unwrap_or_default();
    if id.len() > user::BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "Invalid 'metadata.user_id': string too long. Expected a string with maximum length {}, but got a string with \
             length {} instead",
            user::BYTES_MAX,
            id.len()
        )));
    }
    Ok(user::lasting(id))
}
