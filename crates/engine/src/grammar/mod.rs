//! Answers that follow a grammar.
//!
//! A [`Constraint`] says what the text after the reasoning must be; [`Engine::compile`](crate::Engine::compile) makes a
//! [`Grammar`] of it, which [`answer::Options`](crate::answer::Options) takes. While such an answer is generated, only tokens
//! with which the text can still be completed are drawn. Nothing else changes: the forward pass, the cache and reported
//! log-probabilities know nothing of it, and the same seed gives the same text.
//!
//! * Reasoning is free until `</think>`; what follows is the constraint's from its first token on.
//! * Tool calls that need not come: the answer is free until it opens a tool-call block, and then the block is well-formed,
//!   names tools on offer and follows their schemas.
//! * What is complete can only end: no text comes behind.
//!
//! The grammars themselves are the business of `llguidance`, over a trie made of our own tokenizer ([`vocabulary`]). Control
//! tokens are no text to it: no string in an answer can spell one.

mod error;
mod format;
mod guide;
mod json;
mod lark;
mod limits;
mod schema;
mod tools;
mod value;
mod vocabulary;

use std::fmt;
use std::sync::Arc;

use fathom_prompt::Opening;
use llguidance::Matcher;
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::Value;

pub use error::{DeadEnd, GrammarError};
pub use guide::{Allowed, Guide};
pub use vocabulary::Vocabulary;

use guide::Phase;
use schema::{Budget, Rigour, prepared};
use tools::{Source, Start};

/// What the text after the reasoning must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// JSON of a schema; without one, any object or list.
    Json {
        /// The JSON schema. What it says and cannot be enforced is an error.
        schema: Option<Value>,
    },
    /// JSON of as much of a schema as can be enforced.
    LooseJson {
        /// The JSON schema.
        schema: Value,
    },
    /// A text that this regular expression matches from its first to its last character. The syntax is Rust's; digits and
    /// word characters are ASCII.
    Regex(String),
    /// A text of this Lark grammar.
    Lark(String),
    /// Calls of tools.
    Tools {
        /// The tools that may be called.
        tools: Vec<ToolRule>,
        /// The answer must be calls and nothing else; otherwise it may be anything, and calls in it are well-formed.
        required: bool,
        /// There may be several calls.
        parallel: bool,
    },
}

/// A tool that may be called.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolRule {
    /// Its name.
    pub name: String,
    /// What its calls hold.
    pub body: ToolBody,
}

/// What a tool is called with.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolBody {
    /// Named arguments.
    Arguments {
        /// Their JSON schema; `None` for any.
        schema: Option<Value>,
        /// What the schema says and cannot be enforced is an error. Otherwise as much of it as can be is enforced.
        strict: bool,
    },
    /// One text (a custom tool).
    Text {
        /// The name of the parameter that holds it.
        parameter: String,
        /// Its Lark grammar; `None` for any text.
        lark: Option<String>,
    },
}

impl Constraint {
    fn name(&self) -> &'static str {
        match self {
            Self::Json { .. } | Self::LooseJson { .. } => "JSON",
            Self::Regex(_) => "a regular expression",
            Self::Lark(_) => "a grammar",
            Self::Tools { .. } => "tool calls",
        }
    }
}

/// A compiled [`Constraint`]. Cloning is cheap; any number of answers can follow it at the same time.
#[derive(Clone)]
pub struct Grammar {
    template: Arc<Guide>,
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").finish_non_exhaustive()
    }
}

impl Grammar {
    /// Compiles `constraint` for answers that begin with what `opening` says.
    fn compile(
        vocabulary: &Vocabulary,
        constraint: &Constraint,
        opening: Opening,
    ) -> Result<Self, GrammarError> {
        check_size(constraint)?;
        let tokenizer = vocabulary.tokenizer();
        let marker = tokenizer.dsml_id();
        let refuse = |opening| GrammarError::Opening {
            opening,
            constraint: constraint.name(),
        };
        let first = match opening {
            Opening::Reasoning => Phase::Reasoning,
            Opening::Content | Opening::ToolCalls => Phase::Constrained,
        };
        let (source, phase) = match constraint {
            Constraint::Tools {
                tools,
                required,
                parallel,
            } => {
                let (start, phase) = match (opening, required) {
                    (Opening::ToolCalls, _) => (Start::Block, Phase::Constrained),
                    (_, true) => (Start::Nothing, first),
                    (_, false) => (Start::Marker, Phase::Watching { after_bracket: false }),
                };
                (tools::source(tools, *parallel, start, marker)?, phase)
            }
            _ if opening == Opening::ToolCalls => return Err(refuse("a tool-call block")),
            Constraint::Json { schema } => (json_source(schema.as_ref())?, first),
            Constraint::LooseJson { schema } => (schema_source(json::as_far_as_possible(schema)), first),
            Constraint::Regex(regex) => (lark_source(format!("start: {}", lark::regex(regex))), first),
            Constraint::Lark(grammar) => {
                tools::check_lark(grammar, "grammar")?;
                (lark_source(grammar.clone()), first)
            }
        };
        let schemas: Vec<Value> = source
            .grammars
            .iter()
            .filter_map(|grammar| grammar.json_schema.clone())
            .collect();
        let parser = vocabulary.parser(source.into_grammar()).map_err(|problem| {
            // Which of the schemas it was, the grammar engine does not say.
            let fault = schemas
                .iter()
                .find_map(|schema| json::check(schema, place_of(constraint)).err());
            fault.unwrap_or_else(|| GrammarError::refused(place_of(constraint), problem))
        })?;
        let guide = Guide::new(Matcher::new(Ok(parser)), phase, tokenizer);
        Ok(Self {
            template: Arc::new(guide),
        })
    }

    /// The same grammar for an answer of which the prompt already has the beginning `prefix`.
    pub fn after(&self, prefix: &str) -> Result<Self, GrammarError> {
        let mut guide = self.template.fork();
        guide.skip(prefix).map_err(|()| GrammarError::Prefix {
            prefix: prefix.to_owned(),
        })?;
        Ok(Self {
            template: Arc::new(guide),
        })
    }

    /// What leads one answer along it. Sessions do this by themselves.
    pub fn guide(&self) -> Guide {
        self.template.fork()
    }
}

impl Source {
    fn into_grammar(self) -> TopLevelGrammar {
        let mut grammars = self.grammars;
        if !self.lark.is_empty() {
            grammars.insert(0, GrammarWithLexer::from_lark(self.lark));
        }
        TopLevelGrammar {
            grammars,
            max_tokens: None,
        }
    }
}

fn lark_source(lark: String) -> Source {
    Source {
        lark,
        grammars: Vec::new(),
    }
}

fn json_source(schema: Option<&Value>) -> Result<Source, GrammarError> {
    let any = serde_json::json!({"type": ["object", "array"]});
    let schema = prepared(
        schema.unwrap_or(&any),
        "schema",
        Rigour::Strict,
        &mut Budget::default(),
    )?;
    Ok(schema_source(json::with_layout(&schema, Rigour::Strict)))
}

fn schema_source(schema: Value) -> Source {
    Source {
        lark: String::new(),
        grammars: vec![GrammarWithLexer::from_json_schema(schema)],
    }
}

fn place_of(constraint: &Constraint) -> &'static str {
    match constraint {
        Constraint::Json { .. } | Constraint::LooseJson { .. } => "schema",
        Constraint::Regex(_) => "regular expression",
        Constraint::Lark(_) => "grammar",
        Constraint::Tools { .. } => "tools",
    }
}

fn check_size(constraint: &Constraint) -> Result<(), GrammarError> {
    let json = |schema: &Option<Value>| schema.as_ref().map_or(0, |schema| schema.to_string().len());
    let found = match constraint {
        Constraint::Json { schema } => json(schema),
        Constraint::LooseJson { schema } => schema.to_string().len(),
        Constraint::Regex(text) | Constraint::Lark(text) => text.len(),
        Constraint::Tools { tools, .. } => tools
            .iter()
            .map(|tool| match &tool.body {
                ToolBody::Arguments { schema, .. } => json(schema),
                ToolBody::Text { lark, .. } => lark.as_ref().map_or(0, String::len),
            })
            .sum(),
    };
    if found <= limits::SOURCE_BYTES_MAX {
        return Ok(());
    }
    Err(GrammarError::TooLarge {
        place: place_of(constraint).to_owned(),
        what: "bytes",
        found: found as u64,
        max: limits::SOURCE_BYTES_MAX as u64,
    })
}

#[cfg(test)]
mod tests;
