//! Who asks what: conversations that share beginnings, and go back on what they said.

use std::path::{Path, PathBuf};

use fathom_synthetic::Random;

/// Longest prompt, in tokens.
pub(crate) const PROMPT_MAX: usize = 800;

/// Most tokens of an answer.
pub(crate) const ANSWER_MAX: usize = 16;

/// Beginnings that conversations share, and the ids that structure them.
pub(crate) struct Corpus {
    systems: Vec<Vec<u32>>,
    user: u32,
    assistant: u32,
}

impl Corpus {
    pub(crate) fn new(random: &mut Random, user: u32, assistant: u32) -> Self {
        let systems = [(5, 120), (100, 270), (250, 420), (530, 660)].map(|(low, high)| {
            let len = random.between(low, high);
            [vec![0], text(random, len)].concat()
        });
        Self {
            systems: systems.into(),
            user,
            assistant,
        }
    }

    fn message(&self, random: &mut Random) -> Vec<u32> {
        // Lengths lean to the short end, as messages do.
        let most = random.between(2, 120);
        let len = random.between(1, most);
        [vec![self.user], text(random, len), vec![self.assistant]].concat()
    }
}

fn text(random: &mut Random, len: usize) -> Vec<u32> {
    (0..len).map(|_| 300 + random.below(3_500) as u32).collect()
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) prompt: Vec<u32>,
    pub(crate) seed: u64,
    pub(crate) tokens_max: usize,
    pub(crate) logprobs: bool,
    /// Events the engine may be ahead.
    pub(crate) ahead: usize,
    /// How likely the listener pauses after an event, in percent.
    pub(crate) slowness: usize,
    pub(crate) leaves: Leaves,
    /// Position the session is rewound to first.
    pub(crate) rewind: Option<usize>,
    /// Whether another session goes on from the same place.
    pub(crate) fork: bool,
}

/// Whether a client waits for the end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Leaves {
    Never,
    /// Asks for an early end after so many events.
    Asks(usize),
    /// Is gone after so many polls.
    Vanishes(usize),
}

/// A client's side of a conversation.
pub(crate) struct Conversation {
    pub(crate) name: usize,
    pub(crate) isolation: &'static str,
    pub(crate) random: Random,
    /// Requests still to make.
    pub(crate) left: usize,
    /// Where its session is saved now and then.
    pub(crate) file: PathBuf,
    /// The last prompt and what was answered.
    pub(crate) prompt: Vec<u32>,
    pub(crate) history: Vec<u32>,
    /// Made and not answered yet: made again after a crash.
    pub(crate) open: Option<Request>,
}

impl Conversation {
    pub(crate) fn new(name: usize, random: Random, left: usize, dir: &Path) -> Self {
        let isolation = ["", "", "", "a", "b"][name % 5];
        Self {
            name,
            isolation,
            random,
            left,
            file: dir.join(name.to_string()),
            prompt: Vec::new(),
            history: Vec::new(),
            open: None,
        }
    }

    /// One that goes on from here on its own.
    pub(crate) fn fork(&mut self, name: usize) -> Self {
        Self {
            name,
            isolation: self.isolation,
            random: Random::new(self.random.next_u64()),
            left: self.random.between(1, 2),
            file: self.file.with_file_name(name.to_string()),
            prompt: self.prompt.clone(),
            history: self.history.clone(),
            open: None,
        }
    }

    /// The request that is open, or the next one; `others` are what other conversations hold.
    pub(crate) fn request(&mut self, corpus: &Corpus, others: &[Vec<u32>]) -> Option<Request> {
        if self.open.is_none() {
            self.left = self.left.checked_sub(1)?;
            self.open = Some(self.next(corpus, others));
        }
        self.open.clone()
    }

    fn next(&mut self, corpus: &Corpus, others: &[Vec<u32>]) -> Request {
        let random = &mut self.random;
        let len = self.history.len();
        let (mut rewind, mut fork) = (None, false);
        let mut prompt = match random.below(100) {
            _ if self.history.is_empty() => Vec::new(),
            0..35 => [self.history.clone(), corpus.message(random)].concat(),
            // An edit: something in the middle is said differently.
            35..50 => {
                let cut = random.between(1, len);
                [&self.history[..cut], &corpus.message(random)].concat()
            }
            // The same again.
            50..62 => self.prompt.clone(),
            // Exactly what is there, or a piece of it.
            62..68 => self.history[..random.between(1, len)].to_vec(),
            68..78 => {
                let cut = random.between(1, len);
                rewind = Some(cut);
                [&self.history[..cut], &corpus.message(random)].concat()
            }
            78..88 => {
                fork = true;
                [self.history.clone(), corpus.message(random)].concat()
            }
            88..95 if !others.is_empty() => {
                let other = &others[random.below(others.len())];
                let cut = random.between(1, other.len());
                [&other[..cut], &corpus.message(random)].concat()
            }
            _ => Vec::new(),
        };
        if prompt.is_empty() || prompt.len() > PROMPT_MAX {
            let system = &corpus.systems[random.below(corpus.systems.len())];
            prompt = [system.clone(), corpus.message(random)].concat();
        }
        prompt.truncate(PROMPT_MAX);
        Request {
            prompt,
            seed: random.below(4) as u64,
            tokens_max: random.below(ANSWER_MAX + 1),
            logprobs: random.chance(50),
            ahead: random.below(5),
            slowness: if random.chance(20) { 60 } else { 3 },
            leaves: match random.below(100) {
                0..10 => Leaves::Asks(random.below(8)),
                10..20 => Leaves::Vanishes(random.below(12)),
                _ => Leaves::Never,
            },
            rewind,
            fork,
        }
    }
}
