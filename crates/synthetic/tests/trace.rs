//! Traces are what they claim to be.

use std::collections::BTreeSet;

use fathom_synthetic::trace::{Event, Part, Structure, Trace, TraceOptions};

const STRUCTURE: Structure = Structure::FIRST_IDS;

fn options() -> TraceOptions {
    TraceOptions::coding_agent(STRUCTURE, 10..4096)
}

fn small() -> TraceOptions {
    options().divided_by(20)
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[test]
fn the_seed_decides() {
    assert_eq!(Trace::new(&small(), 1), Trace::new(&small(), 1));
    assert_ne!(Trace::new(&small(), 1), Trace::new(&small(), 2));
}

#[test]
fn a_full_trace_has_the_sizes_of_a_coding_agent() {
    let trace = Trace::new(&options(), 1);
    let requests = trace.requests();
    let main = requests.iter().filter(|request| request.event != Event::SubAgent);
    // The start, 60 turns and at least one that takes two requests.
    assert!((62..70).contains(&main.count()));
    let first = requests[0].planned_tokens(&trace);
    assert!((39_900..=40_100).contains(&first), "{first}");
    let longest = requests
        .iter()
        .map(|request| request.planned_tokens(&trace))
        .max()
        .unwrap();
    assert!((60_000..128_000).contains(&longest), "{longest}");
}

#[test]
fn everything_clients_do_is_in_every_trace() {
    for seed in 0..50 {
        let trace = Trace::new(&small(), seed);
        let found: BTreeSet<Event> = trace.requests().iter().map(|request| request.event).collect();
        assert_eq!(found, BTreeSet::from(Event::ALL), "seed {seed}");
    }
}

#[test]
fn prompts_fit_and_are_well_formed() {
    for (options, seeds) in [(small(), 0..50), (options(), 0..3)] {
        for seed in seeds {
            let trace = Trace::new(&options, seed);
            let answers = trace.answers();
            for (index, request) in trace.requests().iter().enumerate() {
                assert!(request.waits_for().all(|earlier| earlier < index));
                assert_eq!(request.continues.is_none(), index == 0);
                assert!(options.answer_tokens.contains(&request.answer.len()));
                let prompt = trace.prompt(index, &answers);
                assert_eq!(prompt.len(), request.planned_tokens(&trace));
                let context = prompt.len() + request.answer.len();
                assert!(context <= options.context_tokens, "seed {seed}: {context}");
                assert_eq!(prompt.iter().filter(|&&id| id == STRUCTURE.bos).count(), 1);
                assert_eq!(prompt[0], STRUCTURE.bos);
                assert_eq!(
                    prompt[prompt.len() - 2..],
                    [STRUCTURE.assistant, STRUCTURE.think_start]
                );
                // Every answer but the one to come is ended.
                let count = |id| prompt.iter().filter(|&&found| found == id).count();
                assert_eq!(count(STRUCTURE.assistant), count(STRUCTURE.eos) + 1);
                assert!(prompt.iter().all(|id| *id <= 6 || options.text.contains(id)));
            }
        }
    }
}

/// What a prompt shares with the one before it is what the event says.
#[test]
fn events_do_to_prompts_what_they_say() {
    for seed in 0..30 {
        let trace = Trace::new(&small(), seed);
        let answers = trace.answers();
        let requests = trace.requests();
        let system = 1 + small().start_tokens * 3 / 5;
        let mut before: Option<usize> = None;
        for (index, request) in requests.iter().enumerate() {
            let prompt = trace.prompt(index, &answers);
            if request.event == Event::SubAgent {
                let shared = common(&prompt, &trace.prompt(index - 1, &answers));
                assert!(shared >= system);
                continue;
            }
            let Some(last) = before.replace(index) else {
                continue;
            };
            let mut known = trace.prompt(last, &answers);
            let prompt_only = known.len();
            known.extend_from_slice(&answers[last]);
            let shared = common(&known, &prompt);
            let what = format!(
                "seed {seed}, request {index}, {:?}: {shared} of {}",
                request.event,
                known.len()
            );
            match request.event {
                Event::Start | Event::SubAgent => unreachable!("{what}"),
                Event::Message | Event::ToolResult | Event::Summarise => {
                    assert_eq!(shared, known.len(), "{what}");
                }
                Event::Regenerate => assert_eq!(prompt, known[..prompt_only], "{what}"),
                Event::Edit | Event::Rewind => {
                    assert!(shared > system + 8 && prompt.len() < known.len(), "{what}");
                }
                Event::Clock => assert!((system..system + 8).contains(&shared), "{what}"),
                Event::DropReasoning | Event::ClearToolResult => {
                    assert!((system + 8..known.len()).contains(&shared), "{what}");
                }
                Event::Compacted => {
                    assert_eq!(shared, system + 8 + 1, "{what}");
                    assert!(
                        requests[last].event == Event::Summarise && prompt.len() < known.len(),
                        "{what}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_ideal_is_the_longest_prefix_shared_with_anything_before() {
    let options = small();
    for seed in 0..3 {
        let trace = Trace::new(&options, seed);
        let answers = trace.answers();
        let mut sequences: Vec<Vec<u32>> = Vec::new();
        for (index, served) in trace.ideal(&answers).into_iter().enumerate() {
            let mut prompt = trace.prompt(index, &answers);
            let longest = sequences
                .iter()
                .map(|known| common(known, &prompt))
                .max()
                .unwrap_or(0);
            assert_eq!(
                served,
                longest.min(prompt.len() - 1),
                "seed {seed}, request {index}"
            );
            prompt.extend_from_slice(&answers[index]);
            sequences.push(prompt);
        }
    }
}

/// Prompts follow what was answered, shorter answers included.
#[test]
fn prompts_carry_the_answers_that_were_given() {
    let trace = Trace::new(&small(), 1);
    let given: Vec<Vec<u32>> = trace
        .answers()
        .iter()
        .enumerate()
        .map(|(index, answer)| vec![5_000 + index as u32; answer.len() - index % 2])
        .collect();
    let ordinary = |index: &usize| trace.requests()[*index].event == Event::ToolResult;
    let index = (1..trace.requests().len()).find(ordinary).unwrap();
    let prompt = trace.prompt(index, &given);
    let continued = trace.requests()[index].continues.unwrap();
    let mut known = trace.prompt(continued, &given);
    known.extend_from_slice(&given[continued]);
    assert!(prompt.starts_with(&known));
    assert_eq!(prompt[known.len()], STRUCTURE.eos);
    for (index, request) in trace.requests().iter().enumerate() {
        let prompt = trace.prompt(index, &given);
        for part in &request.parts {
            if let Part::Answer { request, skip } = part {
                let expected = given[*request].len().saturating_sub(*skip);
                assert!(expected == 0 || prompt.contains(&(5_000 + *request as u32)));
            }
        }
    }
}

#[test]
fn any_number_of_turns_and_any_size_will_do() {
    for turns in [0, 1, 5, 9, 20] {
        for divisor in [0, 1, 100, 10_000, usize::MAX] {
            let options = TraceOptions {
                turns,
                ..options().divided_by(divisor)
            };
            let trace = Trace::new(&options, 1);
            assert!(trace.requests().len() > turns);
        }
    }
}
