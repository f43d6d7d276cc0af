//! Tool calls in V4's markup (spec §12.3, §13) as a grammar.
//!
//! A call's parameters are tags: strings stand in them as they are, everything else as JSON. So a tool's schema becomes one
//! rule for each of its properties, in any order, each at most once and the required ones once.

use llguidance::api::GrammarWithLexer;
use serde_json::Value;

use super::error::GrammarError;
use super::json;
use super::lark::{control_token_line, literal};
use super::limits::TOOLS_MAX;
use super::schema::{Budget, Rigour, prepared, step};
use super::value::{Value as Form, forms, resolved};
use super::{ToolBody, ToolRule};

/// Properties that are kept apart in any order; more come in the order of the schema.
const UNORDERED_MAX: usize = 60;
/// Longest name in an attribute, in bytes: the output parser gives up on tags of 1,024.
const NAME_BYTES_MAX: usize = 256;
/// Names that the output parser takes for a wrapper around all arguments, if the tool has no such parameter.
const WRAPPERS: [&str; 2] = ["arguments", "input"];

/// Where a tool-call block is when the grammar begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing has been written.
    Nothing,
    /// `<｜DSML｜` has just come.
    Marker,
    /// The block is open.
    Block,
}

/// A grammar, and those it refers to by name.
pub(super) struct Source {
    pub(super) lark: String,
    pub(super) grammars: Vec<GrammarWithLexer>,
}

/// The grammar of a block of calls. `marker` is the id of `｜DSML｜`.
pub(super) fn source(
    tools: &[ToolRule],
    parallel: bool,
    start: Start,
    marker: u32,
) -> Result<Source, GrammarError> {
    if tools.is_empty() {
        return Err(GrammarError::refused(
            "tools",
            "found none; expected at least one",
        ));
    }
    if tools.len() > TOOLS_MAX {
        return Err(GrammarError::TooLarge {
            place: "tools".to_owned(),
            what: "entries",
            found: tools.len() as u64,
            max: TOOLS_MAX as u64,
        });
    }
    let mut writer = Writer {
        rules: Vec::new(),
        grammars: vec![],
        marker: format!("<[{marker}]>"),
        budget: Budget::default(),
        rigour: Rigour::Strict,
        count: 0,
    };
    let calls = tools
        .iter()
        .enumerate()
        .map(|(index, tool)| writer.call(index, tool))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(writer.finish(&calls, parallel, start))
}

struct Writer {
    rules: Vec<String>,
    grammars: Vec<GrammarWithLexer>,
    /// The DSML token, as Lark names it.
    marker: String,
    budget: Budget,
    /// Of the tool being written.
    rigour: Rigour,
    /// Names given.
    count: usize,
}

impl Writer {
    fn finish(mut self, calls: &[String], parallel: bool, start: Start) -> Source {
        let marker = &self.marker;
        let opening = match start {
            Start::Nothing => format!("{} {marker} {}", literal("\n\n<"), literal("tool_calls>\n")),
            Start::Marker => literal("tool_calls>\n"),
            Start::Block => String::new(),
        };
        let more = if parallel { "+" } else { "" };
        self.rules.push(format!(
            "start: {opening} (call){more} {} {marker} {}",
            literal("</"),
            literal("tool_calls>")
        ));
        self.rules.push(format!(
            "call: {} {marker} ({}) {} {marker} {}",
            literal("<"),
            calls.join(" | "),
            literal("</"),
            literal("invoke>\n"),
        ));
        Source {
            lark: self.rules.join("\n"),
            grammars: self.grammars,
        }
    }

    fn name(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}{}", self.count)
    }

    /// The rule of a call, from its name to its last parameter.
    fn call(&mut self, index: usize, tool: &ToolRule) -> Result<String, GrammarError> {
        let place = format!("tools/{index} ({})", tool.name);
        check_name(&tool.name, &place)?;
        let arguments = match &tool.body {
            ToolBody::Arguments { schema: None, .. } => self.open_arguments(),
            ToolBody::Arguments {
                schema: Some(schema),
                strict: true,
            } => self.arguments(schema, &place)?,
            ToolBody::Arguments {
                schema: Some(schema),
                strict: false,
            } => self.lenient_arguments(schema, &place),
            ToolBody::Text { parameter, lark } => self.text(parameter, lark.as_deref(), &place)?,
        };
        let rule = self.name("tool");
        let head = literal(&format!("invoke name=\"{}\">\n", tool.name));
        self.rules.push(format!("{rule}: {head} {arguments}"));
        Ok(rule)
    }

    /// As much of a schema as can be had.
    fn lenient_arguments(&mut self, schema: &Value, place: &str) -> String {
        let rules = self.rules.len();
        let grammars = self.grammars.len();
        self.rigour = Rigour::Lenient;
        let arguments = self.arguments(schema, place).and_then(|arguments| {
            self.grammars[grammars..]
                .iter()
                .filter_map(|grammar| grammar.json_schema.as_ref())
                .try_for_each(|schema| json::check(schema, place))?;
            Ok(arguments)
        });
        self.rigour = Rigour::Strict;
        arguments.unwrap_or_else(|_| {
            self.rules.truncate(rules);
            self.grammars.truncate(grammars);
            self.open_arguments()
        })
    }

    fn open_arguments(&mut self) -> String {
        let extra = self.extra(&[], &Value::Bool(true), &Value::Bool(true));
        format!("({extra})* {}", EMPTY_LINE.replace("{}", &literal("\n")))
    }

    fn arguments(&mut self, schema: &Value, place: &str) -> Result<String, GrammarError> {
        let rigour = self.rigour;
        let root = prepared(schema, place, rigour, &mut self.budget)?;
        let (at, object) = resolved("", &root, &root)
            .ok_or_else(|| GrammarError::refused(place, "the reference leads nowhere, or in a circle"))?;
        let place = format!("{place}{at}");
        if rigour == Rigour::Strict {
            check_arguments(object, &place)?;
        }
        let properties = object.get("properties").and_then(Value::as_object);
        let required: Vec<&str> = object
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let any = Value::Bool(true);
        let mut known: Vec<(&str, &Value)> = properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.as_str(), schema))
            .collect();
        for &name in &required {
            if !known.iter().any(|(known, _)| *known == name) {
                known.push((name, object.get("additionalProperties").unwrap_or(&any)));
            }
        }
        let mut parameters = Vec::new();
        for (name, schema) in known {
            let at = format!("{at}/properties/{}", step(name));
            let is_required = required.contains(&name);
            if *schema == Value::Bool(false) && !is_required {
                continue;
            }
            match check_name(name, &format!("{place}/properties/{}", step(name))) {
                Ok(()) => {}
                Err(_) if rigour == Rigour::Lenient && !is_required => continue,
                Err(error) => return Err(error),
            }
            let parameter = self.parameter(name, schema, &at, &root)?;
            parameters.push((name, parameter, is_required));
        }
        let extra = match object.get("additionalProperties") {
            Some(Value::Bool(false)) => None,
            Some(schema) => Some(schema),
            // Whoever lists properties means these, although the standard says otherwise.
            None if parameters.is_empty() => Some(&any),
            None => None,
        };
        let names: Vec<&str> = parameters.iter().map(|(name, ..)| *name).collect();
        let extra = extra.map(|schema| self.extra(&names, schema, &root));
        Ok(self.sequence(&parameters, extra.as_deref()))
    }

    /// The parameters, each at most once. What the model was trained on leaves a line empty where there is none.
    fn sequence(&mut self, parameters: &[(&str, String, bool)], extra: Option<&str>) -> String {
        let required = parameters.iter().filter(|(.., required)| *required).count();
        let empty = if required == 0 { EMPTY_LINE } else { "" }.replace("{}", &literal("\n"));
        let extras = extra.map(|extra| format!("({extra})*")).unwrap_or_default();
        if parameters.is_empty() || parameters.len() > UNORDERED_MAX {
            let each: Vec<String> = parameters
                .iter()
                .map(|(_, rule, required)| format!("{rule}{}", if *required { "" } else { "?" }))
                .collect();
            return format!("{} {extras} {empty}", each.join(" "));
        }
        // One bit for each parameter that has come, the required ones first.
        let mut sorted: Vec<_> = parameters.iter().collect();
        sorted.sort_by_key(|(.., required)| !required);
        let rule = self.name("some");
        let done = match required {
            0 => String::new(),
            count => format!(" %if is_ones([0:{count}])"),
        };
        let mut options = vec![format!("\"\"{done}")];
        for (bit, (_, parameter, _)) in sorted.iter().enumerate() {
            options.push(format!("{parameter} {rule}::set_bit({bit}) %if bit_clear({bit})"));
        }
        if let Some(extra) = extra {
            options.push(format!("{extra} {rule}::_"));
        }
        self.rules.push(format!("{rule}::_: {}", options.join("\n  | ")));
        format!("{rule}::0 {empty}")
    }

    /// The rule of one parameter, with the line break behind it.
    fn parameter(
        &mut self,
        name: &str,
        schema: &Value,
        at: &str,
        root: &Value,
    ) -> Result<String, GrammarError> {
        let head = |is_string: bool| literal(&format!("parameter name=\"{name}\" string=\"{is_string}\">"));
        let values = forms(at, schema, root)
            .into_iter()
            .map(|form| match form {
                Form::Raw(terminal) => {
                    let value = self.name("VALUE");
                    self.rules
                        .push(format!("{value}: ({terminal}) {}", literal("</")));
                    Ok(format!("{} {value}", head(true)))
                }
                Form::Json(schema) => {
                    let value = self.json(&schema);
                    Ok(format!("{} @{value} {}", head(false), literal("</")))
                }
            })
            .collect::<Result<Vec<_>, GrammarError>>()?;
        Ok(self.tag(&values))
    }

    fn tag(&mut self, values: &[String]) -> String {
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
    fn extra(&mut self, known: &[&str], schema: &Value, root: &Value) -> String {
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
        let at = "/additionalProperties";
        let values: Vec<String> = forms(at, schema, root)
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

    /// A call whose one parameter is a text in a language of its own.
    fn text(&mut self, parameter: &str, lark: Option<&str>, place: &str) -> Result<String, GrammarError> {
        check_name(parameter, place)?;
        let head = literal(&format!("parameter name=\"{parameter}\" string=\"true\">"));
        let value = match lark {
            None => {
                let value = self.name("VALUE");
                self.rules.push(format!("{value}: /(?s:.*)/ {}", literal("</")));
                format!("{head} {value}")
            }
            Some(lark) => {
                check_lark(lark, place)?;
                let name = self.name("text");
                self.grammars.push(GrammarWithLexer {
                    name: Some(name.clone()),
                    json_schema: None,
                    lark_grammar: Some(lark.to_owned()),
                });
                format!("{head} @{name} {}", literal("</"))
            }
        };
        Ok(self.tag(&[value]))
    }
}

/// An empty line in place of parameters.
const EMPTY_LINE: &str = "({})?";

/// Refuses grammars that would write control tokens.
pub(super) fn check_lark(lark: &str, place: &str) -> Result<(), GrammarError> {
    match control_token_line(lark) {
        None => Ok(()),
        Some(line) => Err(GrammarError::refused(
            format!("{place}, line {line} of the grammar"),
            "control tokens (<…>) are not for grammars; write text as \"strings\" or /expressions/",
        )),
    }
}

fn check_name(name: &str, place: &str) -> Result<(), GrammarError> {
    if !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.contains(|char: char| char == '"' || char.is_control())
    {
        return Ok(());
    }
    Err(GrammarError::refused(
        place,
        format!(
            "the name {name:?} cannot be written in a tool call; expected 1 to {NAME_BYTES_MAX} bytes without quotes \
             and control characters"
        ),
    ))
}

/// Refuses what parameters in any order cannot express.
fn check_arguments(object: &Value, place: &str) -> Result<(), GrammarError> {
    const UNSUPPORTED: [&str; 9] = [
        "anyOf",
        "oneOf",
        "allOf",
        "enum",
        "const",
        "patternProperties",
        "minProperties",
        "maxProperties",
        "$ref",
    ];
    if let Some(kind) = object.get("type").filter(|kind| *kind != "object") {
        return Err(GrammarError::refused(
            format!("{place}/type"),
            format!("found {kind}; the arguments of a tool are an \"object\""),
        ));
    }
    let found = UNSUPPORTED
        .into_iter()
        .find(|keyword| object.get(keyword).is_some());
    match found {
        None => Ok(()),
        Some(keyword) => Err(GrammarError::refused(
            format!("{place}/{keyword}"),
            "not possible for the arguments as a whole; use it within a property",
        )),
    }
}
