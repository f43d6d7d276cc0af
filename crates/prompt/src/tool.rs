//! Tools a conversation offers and the calls an assistant makes, in the JSON shapes of the OpenAI chat API.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A function the model may call.
///
/// Kept as the JSON object the client sent: the model was trained on schemas in their original key order, and the preview
/// encoding writes the object as it is (spec §12.3, §15.24).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct ToolDefinition {
    name: String,
    function: Map<String, Value>,
}

/// A tool definition without a usable function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a tool like {{\"type\": \"function\", \"function\": {{\"name\": …, \"parameters\": …}}}}, found {found}"
)]
pub struct ToolDefinitionError {
    found: String,
}

impl ToolDefinition {
    /// Define a tool from its parts; `parameters` is the JSON Schema of its arguments.
    pub fn new(name: impl Into<String>, description: impl Into<String>, parameters: Value) -> Self {
        let name = name.into();
        let mut function = Map::new();
        function.insert("name".to_owned(), name.clone().into());
        function.insert("description".to_owned(), description.into().into());
        function.insert("parameters".to_owned(), parameters);
        Self { name, function }
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the function does, empty when the client did not say.
    pub fn description(&self) -> &str {
        self.function
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// JSON Schema of the arguments; `{}` when the client gave none.
    pub fn parameters(&self) -> Value {
        self.function
            .get("parameters")
            .cloned()
            .unwrap_or_else(|| Map::new().into())
    }

    /// The function object as the client wrote it.
    pub fn function(&self) -> &Map<String, Value> {
        &self.function
    }

    /// Whether the schema names a parameter `key`.
    pub(crate) fn has_parameter(&self, key: &str) -> bool {
        self.function
            .get("parameters")
            .and_then(|parameters| parameters.get("properties")?.get(key))
            .is_some()
    }
}

impl TryFrom<Value> for ToolDefinition {
    type Error = ToolDefinitionError;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let function = value.get("function").and_then(Value::as_object);
        let name = function
            .and_then(|function| function.get("name")?.as_str())
            .filter(|name| !name.is_empty());
        match (function, name) {
            (Some(function), Some(name)) => Ok(Self {
                name: name.to_owned(),
                function: function.clone(),
            }),
            _ => Err(ToolDefinitionError {
                found: value.to_string(),
            }),
        }
    }
}

impl From<ToolDefinition> for Value {
    fn from(tool: ToolDefinition) -> Self {
        serde_json::json!({ "type": "function", "function": tool.function })
    }
}

/// A call an assistant message made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WireCall", into = "WireCall")]
pub struct ToolCall {
    /// Identifier that the tool's result refers to.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Arguments: the text of a JSON object.
    pub arguments: String,
}

/// [`ToolCall`] as the API nests it.
#[derive(Serialize, Deserialize)]
struct WireCall {
    id: String,
    #[serde(rename = "type", default = "function_type")]
    kind: String,
    function: WireFunction,
}

#[derive(Serialize, Deserialize)]
struct WireFunction {
    name: String,
    arguments: String,
}

fn function_type() -> String {
    "function".to_owned()
}

impl From<WireCall> for ToolCall {
    fn from(wire: WireCall) -> Self {
        Self {
            id: wire.id,
            name: wire.function.name,
            arguments: wire.function.arguments,
        }
    }
}

impl From<ToolCall> for WireCall {
    fn from(call: ToolCall) -> Self {
        let function = WireFunction {
            name: call.name,
            arguments: call.arguments,
        };
        Self {
            id: call.id,
            kind: function_type(),
            function,
        }
    }
}

/// Whether the model may, must not or must call a tool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// It decides.
    #[default]
    Auto,
    /// Tools are not mentioned in the prompt.
    None,
    /// The prompt opens a tool-call block.
    Required,
}
