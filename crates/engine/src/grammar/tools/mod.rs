//! Tool calls in V4's markup (spec §12.3, §13) as a grammar.
//!
//! A call's parameters are tags: strings stand in them as they are, everything else as JSON. So a tool's schema becomes one
//! rule for each of its properties, in any order, each at most once and the required ones once.

mod arguments;
mod parameters;

use llguidance::api::GrammarWithLexer;

use super::error::GrammarError;
use super::lark::{control_token_line, literal};
use super::limits::{EXCERPT_BYTES_MAX, TOOLS_MAX};
use super::schema::{Budget, Rigour};
use super::{ToolBody, ToolRule};

/// Longest name in an attribute, in bytes: the output parser gives up on tags of 1,024.
const NAME_BYTES_MAX: usize = 256;

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
        excerpt_bytes: EXCERPT_BYTES_MAX,
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
    /// Bytes of schemas that may still be copied.
    excerpt_bytes: usize,
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
