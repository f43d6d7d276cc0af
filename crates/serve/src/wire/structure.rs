//! What structure a request asks of its answer, the same for all wires.

use fathom_engine::answer::Prompt;
use fathom_engine::grammar::{Constraint, Grammar, GrammarError, ToolBody, ToolRule};
use fathom_prompt::{Conversation, Message, Opening, ToolChoice};
use serde_json::Value;

use super::Draft;
use crate::access::Caller;
use crate::app::App;
use crate::error::ApiError;

/// What an answer must be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Structure {
    pub(crate) constraint: Constraint,
    /// The client has asked for it: what cannot be enforced is refused. Otherwise it is a help, and goes as far as it can.
    pub(crate) demanded: bool,
}

impl Structure {
    /// What the client has asked for.
    pub(crate) fn demanded(constraint: Constraint) -> Self {
        Self {
            constraint,
            demanded: true,
        }
    }

    /// Calls of tools that are on offer. `strict` ones follow their schemas to the letter.
    pub(crate) fn tools(tools: Vec<ToolRule>, required: bool, parallel: bool) -> Self {
        let strict = |rule: &ToolRule| matches!(rule.body, ToolBody::Arguments { strict: true, .. });
        Self {
            demanded: required || tools.iter().any(strict),
            constraint: Constraint::Tools {
                tools,
                required,
                parallel,
            },
        }
    }
}

/// How a function may be called: as its declaration says, to the letter if it is `strict`.
pub(crate) fn rule(name: &str, parameters: Option<Value>, strict: bool) -> ToolRule {
    let schema = if strict {
        parameters.map(closed)
    } else {
        parameters
    };
    ToolRule {
        name: name.to_owned(),
        body: ToolBody::Arguments { schema, strict },
    }
}

/// JSON of a schema: to the letter if it is `strict`, otherwise of as much of it as can be enforced.
pub(crate) fn json(schema: Value, strict: bool) -> Constraint {
    if strict {
        Constraint::Json {
            schema: Some(closed(schema)),
        }
    } else {
        Constraint::LooseJson { schema }
    }
}

/// A strict schema: objects that do not say whether they take more than their properties take no more.
pub(crate) fn closed(mut schema: Value) -> Value {
    close(&mut schema);
    schema
}

fn close(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    if schema.contains_key("properties") && !schema.contains_key("additionalProperties") {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for key in ["properties", "patternProperties", "$defs", "$def", "definitions"] {
        if let Some(Value::Object(schemas)) = schema.get_mut(key) {
            schemas.values_mut().for_each(close);
        }
    }
    for key in ["items", "not", "if", "then", "else", "contains"] {
        schema.get_mut(key).into_iter().for_each(close);
    }
    // Not in `allOf`: what one part closes, another could not add to.
    for key in ["anyOf", "oneOf", "prefixItems"] {
        if let Some(Value::Array(schemas)) = schema.get_mut(key) {
            schemas.iter_mut().for_each(close);
        }
    }
}

/// How the prompt puts a demand for tool calls: it opens their block, unless the model thinks first, when only the grammar
/// demands them.
pub(crate) fn tool_choice(required: bool, conversation: &Conversation) -> ToolChoice {
    if required && !conversation.thinking.is_on() {
        ToolChoice::Required
    } else {
        ToolChoice::Auto
    }
}

/// The grammar of the answer to `prompt`, which `draft` has become.
pub(super) fn grammar(
    app: &App,
    caller: &Caller,
    draft: &Draft,
    prompt: &Prompt,
) -> Result<Option<Grammar>, ApiError> {
    let Some(Structure { constraint, demanded }) = &draft.structure else {
        return Ok(None);
    };
    let refused = |error: GrammarError| ApiError::invalid(error.to_string());
    let isolation = caller.isolation(&draft.user);
    let grammar = match app
        .grammars
        .get(&draft.model.engine, &isolation, constraint, prompt.opening())
    {
        Ok(grammar) => grammar,
        Err(_) if !demanded => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    // An unfinished answer has the beginning already.
    let begun = match draft.conversation.messages.last() {
        Some(Message::Assistant {
            content,
            prefix: true,
            ..
        }) if prompt.opening() == Opening::Content => content.as_str(),
        _ => "",
    };
    if begun.is_empty() {
        Ok(Some(grammar))
    } else {
        grammar.after(begun).map(Some).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strict_objects_take_no_more_than_their_properties() {
        let schema = json!({
            "type": "object",
            "properties": {
                // A property of this name is no keyword.
                "properties": {"type": "object", "properties": {"a": {"type": "string"}}},
                "open": {"type": "object", "properties": {}, "additionalProperties": true},
                "map": {"type": "object"},
                "list": {"type": "array", "items": {"anyOf": [{"type": "object", "properties": {}}, {"type": "null"}]}},
                "both": {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
            },
            "$defs": {"d": {"properties": {}}},
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "properties": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false},
                "open": {"type": "object", "properties": {}, "additionalProperties": true},
                "map": {"type": "object"},
                "list": {"type": "array", "items": {"anyOf": [
                    {"type": "object", "properties": {}, "additionalProperties": false}, {"type": "null"}]}},
                "both": {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
            },
            "$defs": {"d": {"properties": {}, "additionalProperties": false}},
            "additionalProperties": false,
        });
        assert_eq!(closed(schema), expected);
        assert_eq!(closed(json!(true)), json!(true));
    }
}
