//! Answers under grammars, from models that have never seen such a thing: random weights.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::scheduling::run_all;
use fathom_engine::answer::{self, Answer, FinishReason, Options, Prompt};
use fathom_engine::grammar::{Constraint, Grammar, ToolBody, ToolRule};
use fathom_engine::sampling::{Params, token_logprob};
use fathom_engine::{Engine, EngineOptions, StepRules, generation};
use fathom_kernels::team::Team;
use fathom_model::{Numerics, Want};
use fathom_prompt::{Conversation, Opening, Thinking, ToolDefinition};
use fathom_synthetic::Synthetic;
use serde_json::{Value, json};

/// Random weights; a vocabulary of single bytes and made-up words.
fn tiny(by_hand: bool) -> Arc<Engine> {
    let options = EngineOptions {
        numerics: Numerics::Exact,
        chunk_tokens: 32,
        by_hand,
        ..EngineOptions::default()
    };
    Engine::load(Synthetic::tiny_checkpoint(), &options).unwrap()
}

fn schema() -> Value {
    json!({
        "type": "object", "required": ["kind", "size"], "additionalProperties": false,
        "properties": {"kind": {"enum": ["cat", "dog \"x\""]}, "size": {"type": "integer", "minimum": 0, "maximum": 99},
                       "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}},
    })
}

fn tool(strict: bool) -> ToolRule {
    ToolRule {
        name: "look".to_owned(),
        body: ToolBody::Arguments {
            schema: Some(schema()),
            strict,
        },
    }
}

fn tools() -> Constraint {
    Constraint::Tools {
        tools: vec![tool(true)],
        required: true,
        parallel: false,
    }
}

fn options(seed: u64, grammar: Option<Grammar>) -> Options {
    Options {
        sampling: Params {
            temperature: if seed == 0 { 0.0 } else { 3.0 },
            seed,
            ..Params::default()
        },
        grammar,
        max_tokens: Some(300),
        logprobs: Some(3),
        ..Options::default()
    }
}

fn ask(engine: &Arc<Engine>, conversation: &Conversation, constraint: &Constraint, seed: u64) -> Answer {
    let prompt = Prompt::of_conversation(engine, conversation).unwrap();
    let grammar = engine.compile(constraint, prompt.opening()).unwrap();
    let options = options(seed, Some(grammar));
    answer::respond(&mut engine.session(), prompt, &options, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap()
}

fn is_valid(text: &str) -> bool {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    jsonschema::is_valid(&schema(), &value)
}

fn conversation(thinking: Thinking, tools: bool) -> Conversation {
    let mut conversation = Conversation {
        thinking,
        ..Conversation::from_user("Say something.")
    };
    if tools {
        conversation.tools = vec![ToolDefinition::new("look", "", schema())];
    }
    conversation
}

#[test]
fn a_model_of_noise_answers_in_json() {
    let engine = tiny(false);
    let constraint = Constraint::Json {
        schema: Some(schema()),
    };
    for seed in 0..6 {
        let answer = ask(&engine, &conversation(Thinking::Off, false), &constraint, seed);
        assert_eq!(answer.finish_reason, FinishReason::Stop);
        assert!(is_valid(&answer.parsed.content), "{:?}", answer.parsed);
        assert_eq!(answer.parsed.defects, []);
    }
    let figures = engine.stats();
    assert!(figures.grammar_tokens > 50, "{figures:?}");
}

#[test]
fn a_model_of_noise_calls_tools() {
    let engine = tiny(false);
    for seed in 0..6 {
        let mut conversation = conversation(Thinking::Off, true);
        if seed % 2 == 1 {
            conversation.tool_choice = fathom_prompt::ToolChoice::Required;
        }
        let answer = ask(&engine, &conversation, &tools(), seed);
        assert_eq!(answer.finish_reason, FinishReason::ToolCalls);
        assert_eq!(
            (answer.parsed.defects.len(), answer.parsed.content.as_str()),
            (0, "")
        );
        let [call] = answer.parsed.tool_calls.as_slice() else {
            panic!("one call: {:?}", answer.parsed);
        };
        assert_eq!(call.name, "look");
        assert!(is_valid(&call.arguments), "{call:?}");
    }
}

#[test]
fn reasoning_may_use_up_all_tokens_and_is_never_cut_into_by_the_grammar() {
    let engine = tiny(false);
    let answer = ask(
        &engine,
        &conversation(Thinking::High, false),
        &Constraint::Json { schema: None },
        1,
    );
    // Noise does not come upon the one token that ends reasoning.
    assert_eq!(answer.finish_reason, FinishReason::Length);
    assert_eq!(
        (answer.usage.reasoning, answer.parsed.content.as_str()),
        (300, "")
    );
}

#[test]
fn stop_strings_and_limits_still_end_an_answer() {
    let engine = tiny(false);
    let prompt = || Prompt::of_conversation(&engine, &conversation(Thinking::Off, false)).unwrap();
    let json = Constraint::Json {
        schema: Some(schema()),
    };
    let grammar = engine.compile(&json, Opening::Content).unwrap();
    let run = |options: &Options| {
        answer::respond(&mut engine.session(), prompt(), options, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap()
    };
    let stopped = run(&Options {
        stop: vec!["size".to_owned()],
        ..options(1, Some(grammar.clone()))
    });
    assert_eq!(stopped.finish_reason, FinishReason::StopString("size".to_owned()));
    assert!(
        stopped.parsed.content.ends_with('"'),
        "{:?}",
        stopped.parsed.content
    );
    let short = run(&Options {
        max_tokens: Some(4),
        ..options(1, Some(grammar.clone()))
    });
    assert_eq!(
        (short.finish_reason, short.usage.generated),
        (FinishReason::Length, 4)
    );
}

#[test]
fn log_probabilities_stay_those_of_the_model() {
    let engine = tiny(false);
    let conversation = conversation(Thinking::Off, false);
    let json = Constraint::Json {
        schema: Some(schema()),
    };
    let answer = ask(&engine, &conversation, &json, 2);
    let prompt = Prompt::of_conversation(&engine, &conversation).unwrap();
    let all = [prompt.ids(), &answer.tokens].concat();
    let model = engine.model();
    let mut workspace = model.new_workspace(all.len());
    let logits = model
        .forward(
            &mut Team::new(1),
            &mut workspace,
            &mut model.new_state(),
            &all,
            Want::All,
        )
        .unwrap();
    let rows = logits.chunks_exact(engine.config().vocab_size);
    let expected: Vec<_> = rows
        .skip(prompt.ids().len() - 1)
        .zip(&answer.tokens)
        .map(|(row, &token)| token_logprob(row, token, 3))
        .collect();
    assert_eq!(answer.logprobs, expected);
}

#[test]
fn company_and_waiting_change_nothing() {
    let constraints = [
        Constraint::Json {
            schema: Some(schema()),
        },
        Constraint::Regex("[a-f]{3,9}(,[0-9]+){2}".to_owned()),
        Constraint::Json {
            schema: Some(schema()),
        },
    ];
    let seeds = [3, 4, 5, 6];
    let generations = |engine: &Engine| -> Vec<_> {
        seeds
            .into_iter()
            .enumerate()
            .map(|(i, seed)| {
                let grammar = constraints
                    .get(i)
                    .map(|constraint| engine.compile(constraint, Opening::Content).unwrap());
                let prompt: Vec<u32> = (0..40 + i as u32 * 9)
                    .map(|n| 5 + (n * 37 + i as u32) % 200)
                    .collect();
                let options = generation::Options {
                    sampling: options(seed, None).sampling,
                    grammar,
                    tokens_max: Some(60),
                    ..generation::Options::default()
                };
                (prompt, options)
            })
            .collect()
    };
    let alone: Vec<_> = (0..seeds.len())
        .map(|i| {
            let engine = tiny(true);
            let (prompt, options) = generations(&engine).swap_remove(i);
            let mut session = engine.session();
            let mut runs = [session.generate(&prompt, &options, 4).unwrap()];
            run_all(&engine, &mut runs, |_| StepRules::default()).remove(0)
        })
        .collect();
    for every in [2, 5] {
        let engine = tiny(true);
        let asked = generations(&engine);
        let mut sessions: Vec<_> = asked.iter().map(|_| engine.session()).collect();
        let mut runs: Vec<_> = sessions
            .iter_mut()
            .zip(&asked)
            .map(|(session, (prompt, options))| session.generate(prompt, options, 4).unwrap())
            .collect();
        let texts = run_all(&engine, &mut runs, |step| StepRules {
            preempt: step.is_multiple_of(every).then_some(step % 4),
            ..StepRules::default()
        });
        assert!(engine.stats().preemptions > 4);
        assert_eq!(texts, alone, "every {every}");
    }
}
