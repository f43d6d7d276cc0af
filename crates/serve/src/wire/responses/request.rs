//! A request body to a conversation and how to answer it.
//!
//! The vendor's conversion checks the fields, in its words. Where this server departs from the hosted API (`--strict` leaves
//! the lines with * as they are there):
//!
//! | Field | Hosted API | Here |
//! |---|---|---|
//! | `temperature`, `top_p` while thinking * | without effect | honoured, so that 0 is greedy |
//! | `seed` | not there | same seed, same text |
//! | `user` | separate cache and scheduling for each | the same |
//! | `instructions`, then `developer` messages * | developers speak as users | both are the system prompt; later ones stay in place as users |
//! | `tool_choice` required, named while thinking * | refused | thinks, then must call |
//! | `tool_choice` of type `allowed_tools` | refused | the model may, or must, call one of these |
//! | `parallel_tool_calls: false` | without effect | at most one call |
//! | `strict` tools beside others * | refused | each as it says |
//! | custom tools * | `apply_patch` only, not enforced | any; the input follows its grammar |
//! | `text.format` | described | the answer follows the schema |
//! | other names of text parts, log-probabilities by `include` * | refused, no effect | taken |
//! | tools the hosted API runs, `tool_search` | searches | left out: the model answers from what it knows |

use deepseek_recipe::openai::responses::request::{
    ResponsesNamedToolChoice, ResponsesRequest, ResponsesToolChoice,
};
use deepseek_recipe::request::{ConversionOptions, ModelVersion, ProtocolRequest as _};
use fathom_prompt::ToolDefinition;
use serde_json::Value;

use super::asked::Asked;
use super::relax;
use crate::access::Caller;
use crate::app::App;
use crate::error::ApiError;
use crate::wire::body::Body;
use crate::wire::choice::Choice;
use crate::wire::conversation::conversation;
use crate::wire::sampling;
use crate::wire::{Draft, Request, relaxed, user_of};

/// Parses and checks a request body.
pub(super) fn read(body: &Body, app: &App, caller: &Caller) -> Result<Request, ApiError> {
    Request::new(app, caller, draft(body, app)?)
}

/// What a body asks for.
fn draft(body: &Body, app: &App) -> Result<Draft, ApiError> {
    let mut value = relaxed::value::<ResponsesRequest>(body)?;
    let seed = value.get("seed").and_then(Value::as_u64);
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let user = user_of(text("user_id"), text("user"))?;
    if !app.strict {
        relax::relax(&mut value);
    }
    let mut asked = Asked::of(&mut value, app.strict);
    let mut request: ResponsesRequest = relaxed::read(body, value)?;
    let named = app.catalog.find(&request.model)?;
    let sampling = sampling::asked(named.model.sampling, request.temperature, request.top_p, seed);
    let echo = request.echo();
    let choice = asked
        .allowed
        .take()
        .unwrap_or_else(|| choice(&mut request.tool_choice));
    let conversion = ConversionOptions::new()
        .with_model_versions_by_name([(request.model.clone(), ModelVersion::DeepseekV4Pro)])
        .with_default_thinking_mode(named.thinks);
    let mut converted = request.convert(conversion)?;
    let tools = converted.conversation.tools.iter().map(|tool| {
        let description = tool.description.clone().unwrap_or_default();
        ToolDefinition::new(&*tool.name, description, tool.parameters.clone())
    });
    let modes = named.model.engine.renderer().modes();
    let mut conversation = conversation(&converted.conversation, tools.collect(), modes)?;
    let format = asked.format(&mut conversation);
    let rules = asked.rules(&converted);
    let structure = choice.settle(rules, asked.parallel, format, &mut conversation, app.strict)?;
    asked.repeat(echo, &mut converted);
    let options = sampling::options(sampling, &converted, app.strict);
    Ok(Draft {
        model: named.model,
        conversation,
        options,
        converted,
        user,
        structure,
    })
}

/// Takes out a choice that the grammar makes and leaves the others to the vendor.
fn choice(choice: &mut Option<ResponsesToolChoice>) -> Choice {
    let made = match choice {
        Some(ResponsesToolChoice::Required) => Choice::Required,
        Some(ResponsesToolChoice::Named(
            ResponsesNamedToolChoice::Function { name } | ResponsesNamedToolChoice::Custom { name },
        )) => Choice::named(std::mem::take(name)),
        _ => return Choice::Auto,
    };
    *choice = None;
    made
}
