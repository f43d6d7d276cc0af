//! What grammars cost: compiling, starting an answer, and the mask of a token.
//!
//! `cargo bench -p fathom-engine --bench grammar -- [TOKENIZER.JSON [VOCAB_SIZE]]`, by default with the built-in model's
//! tokenizer. Answers are written at random, which keeps a grammar in states that a model would not stay in: real masks cost
//! less.

#![allow(clippy::print_stdout, reason = "a benchmark's report")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fathom_engine::grammar::{Constraint, ToolBody, ToolRule, Vocabulary};
use fathom_prompt::{Opening, Tokenizer};
use fathom_synthetic::Random;
use serde_json::{Value, json};

/// Answers for each constraint, and the most tokens of one.
const ANSWERS: u64 = 20;
const TOKENS_MAX: usize = 200;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let path = args.next().map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model/tokenizer.json"),
        PathBuf::from,
    );
    let vocab_size = args
        .next()
        .map_or(129_280, |size| size.parse().expect("a number"));
    let json = std::fs::read(&path).expect("a tokenizer");
    let tokenizer = Tokenizer::from_json(&json, vocab_size).expect("a tokenizer of V4's kind");
    let started = Instant::now();
    let vocabulary = Vocabulary::new(&tokenizer).expect("a vocabulary");
    println!(
        "{} tokens prepared in {:.1?}",
        tokenizer.vocab_size(),
        started.elapsed()
    );
    println!(
        "{:24} {:>10} {:>10} {:>8} {:>10} {:>10} {:>10}",
        "", "compile", "start", "tokens", "mean mask", "p99", "longest"
    );
    for (name, constraint, opening) in constraints() {
        let started = Instant::now();
        let grammar = vocabulary.compile(&constraint, opening).expect(name);
        let compile = started.elapsed();
        let (mut masks, mut start) = (Vec::new(), Duration::ZERO);
        for seed in 0..ANSWERS {
            let started = Instant::now();
            let mut guide = grammar.guide();
            start += started.elapsed();
            let mut random = Random::new(seed);
            for _ in 0..TOKENS_MAX {
                let started = Instant::now();
                let allowed = guide.allowed().expect("a way on");
                masks.push(started.elapsed());
                let Some(token) = draw(&tokenizer, &mut random, |token| allowed.has(token)) else {
                    break;
                };
                guide.accept(token).expect("it was allowed");
                if token == tokenizer.eos_id() {
                    break;
                }
            }
        }
        masks.sort_unstable();
        let mean = masks.iter().sum::<Duration>() / masks.len() as u32;
        println!(
            "{name:24} {compile:>10.1?} {:>10.1?} {:>8} {mean:>10.1?} {:>10.1?} {:>10.1?}",
            start / ANSWERS as u32,
            masks.len(),
            masks[masks.len() * 99 / 100],
            masks[masks.len() - 1],
        );
    }
}

/// A token that may come: what ends something if the coin says so, otherwise any.
fn draw(tokenizer: &Tokenizer, random: &mut Random, allowed: impl Fn(u32) -> bool) -> Option<u32> {
    let count = tokenizer.vocab_size();
    let ends = [tokenizer.eos_id(), tokenizer.dsml_id()];
    if random.chance(40)
        && let Some(end) = ends.into_iter().find(|&end| allowed(end))
    {
        return Some(end);
    }
    let from = random.below(count);
    (from..count)
        .chain(0..from)
        .map(|token| token as u32)
        .find(|&token| allowed(token))
}

fn constraints() -> Vec<(&'static str, Constraint, Opening)> {
    let person = json!({
        "type": "object", "additionalProperties": false, "required": ["name", "age", "email", "tags", "home"],
        "properties": {
            "name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "email": {"type": "string", "format": "email"},
            "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 5},
            "home": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/place"}]},
        },
        "$defs": {"place": {
            "type": "object", "additionalProperties": false, "required": ["street", "zip", "next"],
            "properties": {"street": {"type": "string", "pattern": "^[A-Z][a-z ]+ [0-9]+$"}, "zip": {"type": "string"},
                           "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/place"}]}},
        }},
    });
    let json = |schema: Option<&Value>| Constraint::Json {
        schema: schema.cloned(),
    };
    let tool = |name: String, strict| ToolRule {
        name,
        body: ToolBody::Arguments {
            schema: Some(person.clone()),
            strict,
        },
    };
    let calls = |count: usize, strict| Constraint::Tools {
        tools: (0..count).map(|i| tool(format!("tool_{i}"), strict)).collect(),
        required: true,
        parallel: true,
    };
    vec![
        ("JSON mode", json(None), Opening::Content),
        ("JSON schema", json(Some(&person)), Opening::Content),
        (
            "regular expression",
            Constraint::Regex("[a-z]{3,10}( [a-z]{3,10}){5,20}\\.".to_owned()),
            Opening::Content,
        ),
        ("1 strict tool", calls(1, true), Opening::ToolCalls),
        ("24 strict tools", calls(24, true), Opening::ToolCalls),
        ("24 tools", calls(24, false), Opening::ToolCalls),
    ]
}
