//! Which tools the model may, must or must not call.

use fathom_engine::grammar::ToolRule;
use fathom_prompt::Conversation;

use super::structure::{self, Structure};
use crate::error::ApiError;

/// What a client chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The model decides.
    Auto,
    /// It must call a tool.
    Required,
    /// It must call one of these, or with `required` unset may.
    Among {
        /// The tools' names.
        names: Vec<String>,
        /// Whether it must.
        required: bool,
    },
}

impl Choice {
    /// The tool that must be called.
    pub(crate) fn named(name: String) -> Self {
        Self::Among {
            names: vec![name],
            required: true,
        }
    }

    /// Whether a tool must be called.
    fn is_required(&self) -> bool {
        matches!(self, Self::Required | Self::Among { required: true, .. })
    }

    /// Checks the choice, writes it into the conversation and says what is asked of the answer: calls if tools are on offer, else
    /// `format`. (An answer that may be text or calls is held to the calls' form; its text is what the prompt says.) `rules` are
    /// all tools that can be called. Those that are not chosen stay in the prompt, so that what is cached of it stays of use.
    ///
    /// A model that thinks can be made to call a tool only by its grammar, after the reasoning; the hosted API refuses that.
    pub(crate) fn settle(
        self,
        mut rules: Vec<ToolRule>,
        parallel: bool,
        format: Option<Structure>,
        conversation: &mut Conversation,
        strict: bool,
    ) -> Result<Option<Structure>, ApiError> {
        if !conversation.offers_tools() {
            return Ok(format);
        }
        let required = self.is_required();
        if required && strict && conversation.thinking.is_on() {
            return Err(ApiError::invalid(
                "Thinking mode does not support this tool_choice",
            ));
        }
        if let Self::Among { names, .. } = self {
            let unknown = names
                .iter()
                .find(|name| !rules.iter().any(|rule| rule.name == **name));
            if let Some(unknown) = unknown {
                return Err(ApiError::invalid(format!(
                    "Invalid value for 'tool_call': no function named '{unknown}' was specified in the 'tools' parameter."
                )));
            }
            rules.retain(|rule| names.contains(&rule.name));
        }
        conversation.tool_choice = structure::tool_choice(required, conversation);
        Ok(Some(Structure::tools(rules, required, parallel)))
    }
}

#[cfg(test)]
mod tests {
    use fathom_engine::grammar::Constraint;
    use fathom_prompt::{Thinking, ToolChoice, ToolDefinition};
    use serde_json::json;

    use super::*;

    fn settled(
        choice: Choice,
        thinking: Thinking,
        strict: bool,
    ) -> Result<(ToolChoice, Vec<String>, bool), String> {
        let mut conversation = Conversation {
            tools: ["a", "b"]
                .map(|name| ToolDefinition::new(name, "", json!({})))
                .into(),
            thinking,
            ..Conversation::from_user("q")
        };
        let rules = ["a", "b", "found"]
            .map(|name| structure::rule(name, None, false))
            .into();
        let settled = choice.settle(rules, true, None, &mut conversation, strict);
        let structure = settled.map_err(|error| error.message().to_owned())?.unwrap();
        let Constraint::Tools { tools, required, .. } = structure.constraint else {
            unreachable!()
        };
        let names = tools.into_iter().map(|rule| rule.name).collect();
        Ok((conversation.tool_choice, names, required))
    }

    #[test]
    fn a_choice_narrows_the_grammar_and_not_the_prompt() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (choice, thinking, expected) in [
            (
                Choice::Auto,
                Thinking::Off,
                (ToolChoice::Auto, names(&["a", "b", "found"]), false),
            ),
            (
                Choice::Required,
                Thinking::Off,
                (ToolChoice::Required, names(&["a", "b", "found"]), true),
            ),
            (
                Choice::named("b".to_owned()),
                Thinking::High,
                (ToolChoice::Auto, names(&["b"]), true),
            ),
            (
                Choice::Among {
                    names: names(&["a"]),
                    required: false,
                },
                Thinking::High,
                (ToolChoice::Auto, names(&["a"]), false),
            ),
        ] {
            assert_eq!(settled(choice, thinking, false), Ok(expected));
        }
    }

    #[test]
    fn what_cannot_be_chosen_is_refused() {
        let unknown =
            "Invalid value for 'tool_call': no function named 'x' was specified in the 'tools' parameter.";
        assert_eq!(
            settled(Choice::named("x".to_owned()), Thinking::Off, false),
            Err(unknown.to_owned())
        );
        assert_eq!(
            settled(Choice::Required, Thinking::High, true),
            Err("Thinking mode does not support this tool_choice".to_owned())
        );
    }
}
