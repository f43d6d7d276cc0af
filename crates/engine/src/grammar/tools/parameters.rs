//! A parameter: a tag with a name and a value.

use llguidance::api::GrammarWithLexer;
use serde_json::Value;

use super::Writer;
use crate::grammar::json;
use crate::grammar::lark::literal;
use crate::grammar::value::Value as Form;

/// Names that the output parser takes for a wrapper around all arguments, if the tool has no such parameter.
const WRAPPERS: [&str; 2] = ["arguments", "input"];

impl Writer {
    /// The rule of one parameter, with the line break behind it.
    pub(super) fn parameter(&mut self, name: &str, values: Vec<Form>) -> String {
        let head = |is_string: bool| literal(&format!("parameter name=\"{name}\" string=\"{is_string}\">"));
        let values: Vec<String> = values
            .into_iter()
            .map(|form| match form {
                Form::Raw(terminal) => {
                    let value = self.name("VALUE");
                    self.rules
                        .push(format!("{value}: ({terminal}) {}", literal("</")));
                    format!("{} {value}", head(true))
                }
                Form::Json(schema) => {
                    let value = self.json(&schema);
                    format!("{} @{value} {}", head(false), literal("</"))
                }
            })
            .collect();
        self.tag(&values)
    }

    pub(super) fn tag(&mut self, values: &[String]) -> String {
        let rule = self.name("parameter");
        let marker = &self.marker;
        self.rules.push(format!(
            "{rule}: {} {marker} ({}) {marker} {}",
            literal("<"),
            values.join(" | "),
            literal("parameter>\n")
        ));
        rule
    }

    /// The rule of a parameter with a name that is none of `known`.
    pub(super) fn extra(&mut self, known: &[&str], values: Vec<Form>) -> String {
        let name = self.name("NAME");
        let taken: Vec<String> = known
            .iter()
            .copied()
            .chain(WRAPPERS.into_iter().filter(|wrapper| !known.contains(wrapper)))
            .map(literal)
            .collect();
        self.rules.push(format!(
            "{name}: /[^\"\\x00-\\x1f]{{1,64}}/ & ~({})",
            taken.join(" | ")
        ));
        let values: Vec<String> = values
            .into_iter()
            .map(|form| {
                let head = self.name("HEAD");
                let is_string = matches!(form, Form::Raw(_));
                self.rules.push(format!(
                    "{head}: {} {name} {}",
                    literal("parameter name=\""),
                    literal(&format!("\" string=\"{is_string}\">"))
                ));
                match form {
                    Form::Raw(terminal) => {
                        let value = self.name("VALUE");
                        self.rules
                            .push(format!("{value}: ({terminal}) {}", literal("</")));
                        format!("{head} {value}")
                    }
                    Form::Json(schema) => format!("{head} @{} {}", self.json(&schema), literal("</")),
                }
            })
            .collect();
        self.tag(&values)
    }

    /// The name of the grammar for `schema`.
    fn json(&mut self, schema: &Value) -> String {
        let schema = json::with_layout(schema, self.rigour);
        let known = self
            .grammars
            .iter()
            .find(|grammar| grammar.json_schema.as_ref() == Some(&schema));
        if let Some(name) = known.and_then(|grammar| grammar.name.clone()) {
            return name;
        }
        let name = self.name("json");
        self.grammars.push(GrammarWithLexer {
            name: Some(name.clone()),
            json_schema: Some(schema),
            lark_grammar: None,
        });
        name
    }
}
