//! Many sessions at once that talk, go back, and leave, with every answer known beforehand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fathom_engine::generation::{End, Event, GenerateError, Options};
use fathom_engine::{Engine, Session, SessionError};
use fathom_synthetic::Random;

use super::{Cold, Logprob, options};

/// Conversations with their cold answers. A prompt holds the answers before it.
pub(crate) struct Plan {
    conversations: Vec<Vec<Turn>>,
}

struct Turn {
    prompt: Vec<u32>,
    options: Options,
    tokens: Vec<u32>,
    logprobs: Vec<Logprob>,
}

/// The size of a plan, in tokens where not said otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Size {
    pub(crate) conversations: usize,
    pub(crate) turns: usize,
    pub(crate) system_max: usize,
    pub(crate) message_max: usize,
    pub(crate) answer_max: usize,
}

impl Plan {
    /// Every turn is computed from nothing.
    pub(crate) fn new(size: &Size, cold: &mut Cold, vocab_size: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let text = |random: &mut Random, len: usize| -> Vec<u32> {
            (0..len)
                .map(|_| 300 + random.below(vocab_size - 600) as u32)
                .collect()
        };
        // Some begin alike, as users of one application do; lengths from a few tokens to the longest.
        let systems: Vec<_> = (0..4)
            .map(|i| text(&mut random, 1 + i * size.system_max / 3))
            .collect();
        let conversations = (0..size.conversations).map(|i| {
            let mut held = systems[i % systems.len()].clone();
            let turns = (0..size.turns).map(|turn| {
                let most = random.between(1, size.message_max);
                let len = random.between(1, most);
                held.extend(text(&mut random, len));
                let options = options(random.between(1, size.answer_max), (i + turn) as u64 % 5);
                let answer = cold.answer(&held, &options);
                let turn = Turn {
                    prompt: held.clone(),
                    options,
                    tokens: answer.tokens,
                    logprobs: answer.logprobs,
                };
                held.extend(&turn.tokens);
                turn
            });
            turns.collect()
        });
        Self {
            conversations: conversations.collect(),
        }
    }

    /// Prompt lengths, shortest and longest.
    pub(crate) fn lengths(&self) -> (usize, usize) {
        let lengths = self.conversations.iter().flatten().map(|turn| turn.prompt.len());
        (lengths.clone().min().unwrap_or(0), lengths.max().unwrap_or(0))
    }
}

/// When sessions stop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// After so many requests of each.
    Requests(usize),
    /// After so long.
    Passed(Duration),
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) answers: u64,
    /// Of these, cut short by the client.
    pub(crate) cancelled: u64,
    pub(crate) tokens: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
    /// From a request to its first sign of life: it was admitted.
    pub(crate) admissions: Waits,
    /// From a request to its first token.
    pub(crate) first_tokens: Waits,
    /// Between two tokens of one answer.
    pub(crate) decodes: Waits,
    /// Answers that were not the cold ones.
    pub(crate) wrong: Vec<String>,
}

/// How long somebody waited: counts by sixteenths of powers of two of microseconds, of fixed size.
#[derive(Debug, Clone)]
pub(crate) struct Waits {
    counts: Vec<u64>,
    longest: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            counts: vec![0; 40 * 16],
            longest: Duration::ZERO,
        }
    }
}

impl Waits {
    pub(crate) fn note(&mut self, wait: Duration) {
        let place = (wait.as_secs_f64() * 1e6).max(1.0).log2() * 16.0;
        let last = self.counts.len() - 1;
        self.counts[(place as usize).min(last)] += 1;
        self.longest = self.longest.max(wait);
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.longest = self.longest.max(other.longest);
    }

    /// Milliseconds that `part` of the waits did not exceed, to five per cent.
    fn within(&self, part: f64) -> f64 {
        let wanted = self.counts.iter().sum::<u64>() as f64 * part;
        let mut sum = 0;
        let place = self.counts.iter().position(|count| {
            sum += count;
            sum as f64 >= wanted
        });
        ((place.unwrap_or(0) + 1) as f64 / 16.0).exp2() / 1e3
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, most, nearly_all] = [0.5, 0.99, 0.999].map(|part| self.within(part));
        let longest = self.longest.as_secs_f64() * 1e3;
        write!(
            f,
            "median {median:.0} ms, 99 % within {most:.0} ms, 99.9 % within {nearly_all:.0} ms, longest {longest:.0} ms"
        )
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.cancelled += other.cancelled;
        self.tokens += other.tokens;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.admissions.add(&other.admissions);
        self.first_tokens.add(&other.first_tokens);
        self.decodes.add(&other.decodes);
        self.wrong.extend(other.wrong);
    }
}

/// Lets `sessions` sessions talk at once; `beside` is called about once a second with the answers so far.
pub(crate) fn talk(
    engine: &Arc<Engine>,
    plan: &Plan,
    sessions: usize,
    until: Until,
    mut beside: impl FnMut(u64),
) -> Seen {
    let (answers, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let started = Instant::now();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..sessions)
            .map(|number| {
                let (answers, ended) = (&answers, &ended);
                scope.spawn(move || {
                    let mut client = Client::new(engine, plan, number);
                    let mut requests = 0;
                    while match until {
                        Until::Requests(most) => requests < most,
                        Until::Passed(_) => !ended.load(Ordering::Relaxed),
                    } {
                        requests += 1;
                        client.ask();
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                    client.seen
                })
            })
            .collect();
        while !clients.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(if clients.len() > 8 { 200 } else { 20 }));
            if let Until::Passed(time) = until {
                ended.store(started.elapsed() >= time, Ordering::Relaxed);
            }
            beside(answers.load(Ordering::Relaxed));
        }
        let mut seen = Seen::default();
        clients
            .into_iter()
            .for_each(|client| seen.add(client.join().expect("no panic")));
        seen
    })
}

struct Client<'a> {
    plan: &'a Plan,
    session: Session,
    random: Random,
    number: usize,
    /// Conversation and turn it is at.
    at: (usize, usize),
    seen: Seen,
}

impl<'a> Client<'a> {
    fn new(engine: &Arc<Engine>, plan: &'a Plan, number: usize) -> Self {
        Self {
            plan,
            session: engine.session_of(["", "", "a", "b"][number % 4]),
            random: Random::new(number as u64),
            number,
            at: (number % plan.conversations.len(), 0),
            seen: Seen::default(),
        }
    }

    /// One request: usually the next turn, sometimes an earlier one, sometimes another conversation.
    fn ask(&mut self) {
        let (conversation, turn) = self.at;
        let turns = self.plan.conversations[conversation].len();
        self.at = match self.random.below(10) {
            0 => (conversation, self.random.below(turns)),
            1 => (self.random.below(self.plan.conversations.len()), 0),
            _ if turn + 1 < turns => (conversation, turn + 1),
            _ => (self.random.below(self.plan.conversations.len()), 0),
        };
        let turn = &self.plan.conversations[conversation][turn];
        let leaves = self
            .random
            .chance(15)
            .then(|| self.random.below(turn.tokens.len() + 2));
        let started = Instant::now();
        let run = loop {
            match self.session.generate(&turn.prompt, &turn.options, 64) {
                Ok(run) => break Ok(run),
                Err(GenerateError::Session(SessionError::Busy(_))) => thread::sleep(Duration::from_millis(5)),
                Err(error) => break Err(error),
            }
        };
        let mut run = match run {
            Ok(run) => run,
            Err(error) => return self.seen.wrong.push(format!("session {}: {error}", self.number)),
        };
        let (mut tokens, mut logprobs) = (Vec::new(), Vec::new());
        let (mut last, mut events) = (None::<Instant>, 0);
        while let Some(event) = run.next_blocking() {
            let now = Instant::now();
            if events == 0 {
                self.seen.admissions.note(now - started);
            }
            if let Event::Token { token, logprob } = event {
                match last {
                    Some(last) => self.seen.decodes.note(now - last),
                    None => self.seen.first_tokens.note(now - started),
                }
                last = Some(now);
                tokens.push(token);
                logprobs.extend(logprob.as_ref().map(Logprob::from));
            }
            if leaves == Some(events) {
                run.cancel();
            }
            events += 1;
        }
        let done = match run.finish_blocking() {
            Ok(done) => done,
            Err(error) => return self.seen.wrong.push(format!("session {}: {error}", self.number)),
        };
        let seen = &mut self.seen;
        seen.answers += 1;
        seen.tokens += tokens.len() as u64;
        let whole = done.end != End::Cancelled;
        if whole {
            seen.prompt_tokens += turn.prompt.len() as u64;
            seen.cached_tokens += done.cached as u64;
        } else {
            seen.cancelled += 1;
        }
        let as_cold = if whole {
            tokens == turn.tokens && logprobs == turn.logprobs
        } else {
            leaves.is_some() && turn.tokens.starts_with(&tokens) && turn.logprobs.starts_with(&logprobs)
        };
        if !as_cold {
            let len = turn.prompt.len();
            seen.wrong.push(format!(
                "session {}, prompt of {len} tokens: {done:?}",
                self.number
            ));
        }
    }
}
