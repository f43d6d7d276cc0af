//! Answers written at random under a grammar must always be what it says. The writer knows no language: its logits are noise,
//! with some weight on what ends things.

mod constraints;
mod random_schemas;
mod refusals;
mod tool_calls;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use fathom_prompt::{Answer, OutputParser, Tokenizer, ToolDefinition};
use fathom_synthetic::Random;
use serde_json::Value;

use super::*;
use crate::sampling::{Params, Sampler};

/// The built-in model's tokenizer, prepared once.
static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model");
    let json = fs::read(dir.join("tokenizer.json")).unwrap();
    Tokenizer::from_json(&json, VOCAB_SIZE).unwrap()
});
static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary::new(&TOKENIZER).unwrap());

/// Tokens that end something.
static ENDS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let ends = |id: u32| {
        let bytes = TOKENIZER.token_bytes(id).unwrap_or_default();
        let ends_something = bytes.len() <= 2 && bytes.iter().any(|byte| b"\"}]</".contains(byte));
        id == TOKENIZER.eos_id() || id == TOKENIZER.dsml_id() || ends_something
    };
    (0..TOKENIZER.vocab_size() as u32)
        .filter(|&id| ends(id))
        .collect()
});

/// Rows of the built-in model's head; some more than the tokenizer has tokens.
const VOCAB_SIZE: usize = 2900;

fn compile(constraint: &Constraint, opening: Opening) -> Result<Grammar, GrammarError> {
    VOCABULARY.compile(constraint, opening)
}

/// What a model that knows nothing writes.
struct Writer {
    random: Random,
    sampler: Sampler,
    /// How much more likely than others those tokens are that end something.
    haste: f32,
    /// Of the same kind: tokens that are to come often.
    likely: Vec<(u32, f32)>,
}

impl Writer {
    fn new(seed: u64) -> Self {
        let params = Params {
            temperature: if seed.is_multiple_of(3) { 0.0 } else { 1.5 },
            seed,
            ..Params::default()
        };
        Self {
            random: Random::new(seed),
            sampler: Sampler::new(params).unwrap(),
            haste: 6.0,
            likely: Vec::new(),
        }
    }

    fn logits(&mut self) -> Vec<f32> {
        let mut logits: Vec<f32> = (0..VOCAB_SIZE).map(|_| self.random.normal() * 2.0).collect();
        for &id in ENDS.iter() {
            logits[id as usize] += self.haste;
        }
        // No model draws what it has no token for.
        logits[TOKENIZER.vocab_size()..].fill(-100.0);
        for &(token, extra) in &self.likely {
            logits[token as usize] += extra;
        }
        logits
    }

    /// Up to `most` tokens along `grammar`, and whether the text has come to its end.
    fn write(&mut self, grammar: &Grammar, most: usize) -> (Vec<u32>, bool) {
        let mut guide = grammar.guide();
        let mut tokens = Vec::new();
        while tokens.len() < most {
            let logits = self.logits();
            let allowed = guide.allowed().expect("a way on");
            let token = self.sampler.sample_from(&logits, tokens.len(), allowed).unwrap();
            assert!((token as usize) < TOKENIZER.vocab_size());
            guide.accept(token).expect("it was allowed");
            tokens.push(token);
            if token == TOKENIZER.eos_id() {
                return (tokens, true);
            }
        }
        (tokens, false)
    }
}

fn text(tokens: &[u32]) -> String {
    let end = tokens.iter().position(|&token| token == TOKENIZER.eos_id());
    TOKENIZER.decode(&tokens[..end.unwrap_or(tokens.len())])
}

/// The answer as the output parser reads it.
fn parsed(tokens: &[u32], opening: Opening, tools: &[ToolDefinition]) -> Answer {
    let mut parser = OutputParser::new(TOKENIZER.clone(), opening, tools);
    let mut pieces: Vec<_> = tokens.iter().flat_map(|&token| parser.push(token)).collect();
    pieces.extend(parser.finish());
    pieces.into_iter().collect()
}

/// Whether `text` is JSON that is valid under `schema`, as an independent validator has it.
fn is_valid(schema: &Value, text: &str) -> Result<(), String> {
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        // JSON, but more than this reader can hold.
        Err(error) if error.to_string().starts_with("number out of range") => return Ok(()),
        Err(error) => return Err(format!("{error}: {text:?}")),
    };
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| error.to_string())?;
    validator
        .validate(&value)
        .map_err(|error| format!("{error}: {value} under {schema}"))
}
