//! What all cells of one model under one numerics profile have in common.

use std::num::NonZeroUsize;
use std::sync::Arc;

use fathom_cache::Policy;
use fathom_cache::disk::DiskOptions;
use fathom_engine::generation::Options;
use fathom_engine::{CacheSettings, Engine, EngineOptions, Session, StepRules};
use fathom_model::Numerics;
use fathom_synthetic::Random;

use crate::Failures;
use crate::common::{Answer, Cold, Hit, Model, Task, drive, observe, options};

/// Tokens between two kept states, if they are kept every so often.
pub(crate) const PERIOD: usize = 256;

/// A question and its cold answer.
pub(crate) struct Question {
    pub(crate) prompt: Vec<u32>,
    pub(crate) options: Options,
    pub(crate) cold: Answer,
}

/// A model under one numerics profile, and what it answers cold.
pub(crate) struct Ground {
    model: Model,
    numerics: Numerics,
    /// Prompts that share their first 639, 556 and 512 tokens, end around multiples of 4 and of a page (128), and lie beyond
    /// the window and beyond what the indexer selects; answers cross the next such multiple. One is short.
    pub(crate) questions: Vec<Question>,
}

impl Ground {
    pub(crate) fn new(model: Model, numerics: Numerics) -> Self {
        let checkpoint = model.checkpoint();
        let vocab_size = checkpoint.config().vocab_size;
        let mut random = Random::new(11);
        let mut text = |len: usize| -> Vec<u32> {
            (0..len)
                .map(|_| 300 + random.below(vocab_size - 400) as u32)
                .collect()
        };
        let base = text(642);
        let branch = |shared: usize, own: Vec<u32>| [&base[..shared], &own].concat();
        let prompts = [
            branch(642, vec![]),
            branch(640, vec![]),
            branch(639, vec![]),
            branch(556, text(81)),
            branch(512, text(123)),
            branch(0, text(126)),
        ];
        let mut cold = Cold::new(model, numerics, 1);
        let questions = prompts.into_iter().zip([0, 7, 8, 9, 0, 3]).map(|(prompt, seed)| {
            let options = options(7, seed);
            Question {
                cold: cold.answer(&prompt, &options),
                prompt,
                options,
            }
        });
        Self {
            model,
            numerics,
            questions: questions.collect(),
        }
    }

    /// The first tokens of most prompts.
    pub(crate) fn base(&self) -> &[u32] {
        &self.questions[0].prompt
    }

    /// An engine that is driven by hand.
    pub(crate) fn engine(&self, policy: Policy, disk: Option<DiskOptions>) -> Arc<Engine> {
        self.load(&EngineOptions {
            by_hand: true,
            cache: CacheSettings {
                ram_bytes: Some(1 << 30),
                disk,
                policy,
            },
            ..EngineOptions::default()
        })
    }

    /// An engine that runs on its own, with so many threads.
    pub(crate) fn running_engine(&self, threads: usize) -> Arc<Engine> {
        self.load(&EngineOptions {
            threads: Some(threads),
            cache: CacheSettings {
                ram_bytes: Some(1 << 30),
                ..CacheSettings::default()
            },
            ..EngineOptions::default()
        })
    }

    fn load(&self, options: &EngineOptions) -> Arc<Engine> {
        let options = EngineOptions {
            numerics: self.numerics,
            ..options.clone()
        };
        Engine::load(self.model.checkpoint(), &options).expect("the engine loads")
    }
}

pub(crate) fn periodic() -> Policy {
    Policy::Periodic(NonZeroUsize::new(PERIOD).expect("above 0"))
}

/// What each step does.
pub(crate) type Rules = fn(usize) -> StepRules;

/// How a cell goes about its questions.
pub(crate) struct Way {
    pub(crate) what: String,
    pub(crate) isolation: String,
    pub(crate) rules: Rules,
}

/// Asks questions one after the other, each in a new session. Returns what differs from the cold answers, and the hits.
pub(crate) fn one_by_one(engine: &Arc<Engine>, questions: &[&Question], way: &Way) -> (Failures, Vec<Hit>) {
    let (mut failures, mut hits) = (Vec::new(), Vec::new());
    for question in questions {
        let mut session = engine.session_of(&way.isolation);
        let (differing, mut hit) = together(engine, vec![(&mut session, *question)], way);
        failures.extend(differing);
        hits.append(&mut hit);
    }
    (failures, hits)
}

/// Asks questions at the same time.
pub(crate) fn together(
    engine: &Arc<Engine>,
    asked: Vec<(&mut Session, &Question)>,
    way: &Way,
) -> (Failures, Vec<Hit>) {
    let questions: Vec<_> = asked.iter().map(|(_, question)| *question).collect();
    let tasks = asked.into_iter().map(|(session, question)| -> Task<'_, _> {
        Box::pin(observe(session, &question.prompt, &question.options))
    });
    let answers = drive(engine, tasks.collect(), way.rules);
    let differing = answers
        .iter()
        .zip(&questions)
        .filter_map(|((answer, hit), question)| {
            let difference = answer.differs(&question.cold)?;
            let len = question.prompt.len();
            Some(format!(
                "{}, prompt of {len} tokens, {hit:?}: {difference}",
                way.what
            ))
        });
    (differing.collect(), answers.iter().map(|(_, hit)| *hit).collect())
}
