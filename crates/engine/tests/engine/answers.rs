//! Conversations from prompt to parsed answer.

use std::ops::ControlFlow;
use std::thread;

use crate::support::{append, ask, cold_session, engine, options};
use fathom_engine::answer::{self, Event, FinishReason, Options, Prompt};
use fathom_engine::generation::{GenerateError, Prefill};
use fathom_engine::sampling::{Params, token_logprob};
use fathom_model::Numerics;
use fathom_prompt::{Conversation, Message, Thinking};

fn question(thinking: Thinking) -> Conversation {
    Conversation {
        thinking,
        ..Conversation::from_user("What is 12 plus 30?")
    }
}

#[test]
fn a_seed_means_the_same_text_under_any_load() {
    let engine = engine(Numerics::Reference);
    let conversation = question(Thinking::High);
    let alone: Vec<_> = (0..4)
        .map(|seed| ask(&mut cold_session(&engine), &conversation, &options(seed)).tokens)
        .collect();
    assert!(
        alone[1..].iter().any(|tokens| *tokens != alone[0]),
        "seeds differ"
    );
    let together: Vec<_> = thread::scope(|scope| {
        let start = |seed| {
            scope.spawn({
                let (engine, conversation) = (&engine, &conversation);
                move || ask(&mut cold_session(engine), conversation, &options(seed)).tokens
            })
        };
        let handles: Vec<_> = (0..4).map(start).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
}

#[test]
fn every_turn_equals_a_cold_one_and_computes_only_what_is_new() {
    let engine = engine(Numerics::Reference);
    for thinking in [Thinking::Off, Thinking::High] {
        let mut session = cold_session(&engine);
        let mut conversation = question(thinking);
        let mut previous_prompt = None;
        let mut previous_len = 0;
        for turn in 0..3 {
            let options = options(turn);
            let warm = ask(&mut session, &conversation, &options);
            let cold = ask(&mut cold_session(&engine), &conversation, &options);
            assert_eq!(warm.tokens, cold.tokens, "{thinking}, turn {turn}");
            assert_eq!(warm.parsed, cold.parsed);
            assert_eq!(cold.usage.cached, 0);
            assert_eq!(warm.usage.prompt, cold.usage.prompt);
            if let Some(previous_prompt) = previous_prompt {
                // Without thinking, all is still there; with it, the reasoning is dropped from the prompt, and what came
                // before the answer is kept, but for the last token, which opened the reasoning.
                let kept = if thinking == Thinking::Off {
                    previous_len
                } else {
                    previous_prompt - 1
                };
                assert_eq!(warm.usage.cached, kept, "{thinking}, turn {turn}");
            }
            previous_prompt = Some(warm.usage.prompt);
            previous_len = session.len();
            conversation.messages.push(warm.into_message());
            conversation
                .messages
                .push(Message::user(format!("And {turn} plus 5?")));
        }
    }
}

#[test]
fn another_try_computes_one_token() {
    let engine = engine(Numerics::Reference);
    let mut session = cold_session(&engine);
    let conversation = question(Thinking::Off);
    let first = ask(&mut session, &conversation, &options(1));
    assert_eq!(first.usage.cached, 0);
    let second = ask(&mut session, &conversation, &options(2));
    assert_eq!(second.usage.cached, second.usage.prompt - 1);
    assert_eq!(
        second.tokens,
        ask(&mut cold_session(&engine), &conversation, &options(2)).tokens
    );
}

#[test]
fn events_tell_the_whole_story_in_order() {
    let engine = engine(Numerics::Reference);
    let conversation = question(Thinking::High);
    let prompt = Prompt::of_conversation(&engine, &conversation)
        .unwrap()
        .ids()
        .len();
    let (mut prefills, mut reasoning, mut content) = (Vec::new(), String::new(), String::new());
    let on_event = &mut |event: Event| {
        match event {
            Event::Prefill(prefill) => prefills.push(prefill),
            Event::Reasoning(piece) => {
                assert!(content.is_empty(), "reasoning comes first");
                reasoning.push_str(&piece.text);
            }
            Event::Content(piece) => content.push_str(&piece.text),
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let options = Options {
        max_tokens: Some(60),
        ..options(3)
    };
    let answer = answer::answer(&mut cold_session(&engine), &conversation, &options, on_event).unwrap();
    assert_eq!(
        prefills.last(),
        Some(&Prefill {
            cached: 0,
            done: prompt,
            total: prompt
        })
    );
    assert!(prefills.is_sorted_by_key(|prefill| prefill.done));
    assert_eq!(
        (reasoning, content),
        (answer.parsed.reasoning.clone(), answer.parsed.content.clone())
    );
    assert_eq!(answer.usage.prompt, prompt);
    assert_eq!(answer.usage.generated, answer.tokens.len());
    assert!(answer.usage.reasoning <= answer.usage.generated);
    let decoded: String = answer
        .tokens
        .iter()
        .map(|&token| engine.tokenizer().decode(&[token]))
        .collect();
    assert!(decoded.starts_with(&answer.parsed.reasoning), "{decoded:?}");
}

#[test]
fn breaking_off_stops_at_once_and_the_session_goes_on() {
    let engine = engine(Numerics::Reference);
    let conversation = question(Thinking::Off);
    let whole = ask(&mut cold_session(&engine), &conversation, &options(4));

    let mut session = cold_session(&engine);
    let mut tokens = 0;
    let stopped = answer::answer(&mut session, &conversation, &options(4), &mut |event| {
        tokens += usize::from(!matches!(event, Event::Prefill(_)));
        if tokens == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    assert_eq!(stopped.finish_reason, FinishReason::Cancelled);
    assert_eq!(stopped.tokens, whole.tokens[..3]);
    assert!(whole.parsed.content.starts_with(&stopped.parsed.content));
    assert_eq!(ask(&mut session, &conversation, &options(4)).tokens, whole.tokens);

    // While the prompt is being read: before its first chunk, and after it.
    let long = Conversation {
        thinking: Thinking::Off,
        ..Conversation::from_user("word ".repeat(100))
    };
    let cold = ask(&mut cold_session(&engine), &long, &options(4));
    for read in [0, 16] {
        let mut session = cold_session(&engine);
        let stopped = answer::answer(&mut session, &long, &options(4), &mut |event| match event {
            Event::Prefill(prefill) if prefill.done < read => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        })
        .unwrap();
        assert_eq!(
            (stopped.finish_reason, stopped.usage.generated, session.len()),
            (FinishReason::Cancelled, 0, read)
        );
        let resumed = ask(&mut session, &long, &options(4));
        assert_eq!((&resumed.tokens, resumed.usage.cached), (&cold.tokens, read));
    }
}

#[test]
fn stop_strings_cut_the_content_and_nothing_of_them_is_shown() {
    let engine = engine(Numerics::Reference);
    let conversation = question(Thinking::Off);
    let whole = ask(&mut cold_session(&engine), &conversation, &options(5))
        .parsed
        .content;
    let stop: String = whole.chars().skip(4).take(3).collect();
    let expected = &whole[..whole.find(&stop).unwrap()];
    let stopped = ask(
        &mut cold_session(&engine),
        &conversation,
        &Options {
            stop: vec![stop.clone()],
            ..options(5)
        },
    );
    assert_eq!(stopped.parsed.content, expected);
    assert_eq!(stopped.finish_reason, FinishReason::StopString(stop));
    let Message::Assistant { sampled, .. } = stopped.into_message() else {
        panic!("an answer is an assistant message")
    };
    assert_eq!(sampled, None, "the tokens go beyond the text");

    // What is held back for a stop string that does not come is not lost.
    let never = Options {
        stop: vec![format!("{}\u{1F40B}", whole.chars().last().unwrap())],
        ..options(5)
    };
    assert_eq!(
        ask(&mut cold_session(&engine), &conversation, &never)
            .parsed
            .content,
        whole
    );
}

#[test]
fn limits_end_the_answer() {
    let engine = engine(Numerics::Reference);
    let conversation = question(Thinking::Off);
    for limit in [0, 1, 5] {
        let answer = ask(
            &mut cold_session(&engine),
            &conversation,
            &Options {
                max_tokens: Some(limit),
                ..options(6)
            },
        );
        assert_eq!(
            (answer.usage.generated, answer.finish_reason),
            (limit, FinishReason::Length)
        );
    }
}

#[test]
fn logprobs_are_those_of_the_logits() {
    let engine = engine(Numerics::Reference);
    let conversation = question(Thinking::Off);
    let options = Options {
        logprobs: Some(3),
        ..options(7)
    };
    let answer = ask(&mut cold_session(&engine), &conversation, &options);
    assert_eq!(answer.logprobs.len(), answer.tokens.len());
    let mut replay = cold_session(&engine);
    append(
        &mut replay,
        Prompt::of_conversation(&engine, &conversation).unwrap().ids(),
    );
    for (token, logprob) in answer.tokens.iter().zip(&answer.logprobs) {
        assert_eq!(*logprob, token_logprob(replay.logits().unwrap(), *token, 3));
        append(&mut replay, &[*token]);
    }
}

#[test]
fn plain_text_is_continued_without_markup() {
    let engine = engine(Numerics::Reference);
    let options = Options {
        sampling: Params::greedy(),
        max_tokens: Some(8),
        ..Options::default()
    };
    let on_event = &mut |_: Event| ControlFlow::Continue(());
    let answer = answer::complete(
        &mut cold_session(&engine),
        "Once upon <think> a time",
        &options,
        on_event,
    )
    .unwrap();
    let text = engine
        .tokenizer()
        .encode_plain("Once upon <think> a time")
        .unwrap();
    assert_eq!(answer.usage.prompt, 1 + text.len(), "BOS and the text");
    let eos = engine.tokenizer().eos_id();
    let shown: Vec<u32> = answer
        .tokens
        .iter()
        .copied()
        .filter(|&token| token != eos)
        .collect();
    assert_eq!(answer.parsed.content, engine.tokenizer().decode(&shown));
    assert!(answer.parsed.reasoning.is_empty());
}

#[test]
fn what_cannot_be_answered_is_refused_before_anything_runs() {
    let engine = engine(Numerics::Reference);
    let mut session = cold_session(&engine);
    let on_event = &mut |_: Event| panic!("nothing has happened");
    let long = Conversation::from_user("word ".repeat(80_000));
    let error = answer::answer(&mut session, &long, &options(0), on_event).unwrap_err();
    assert!(
        matches!(
            error,
            answer::AnswerError::Generate(GenerateError::PromptTooLong { context: 65_536, .. })
        ),
        "{error}"
    );
    assert!(error.to_string().ends_with("Shorten the prompt"), "{error}");
    let hot = Options {
        sampling: Params {
            temperature: -1.0,
            ..Params::default()
        },
        ..Options::default()
    };
    let error = answer::answer(&mut session, &question(Thinking::Off), &hot, on_event).unwrap_err();
    assert_eq!(error.to_string(), "temperature is -1; expected a number from 0");
    assert!(session.is_empty());
}
