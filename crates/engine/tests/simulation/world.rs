//! Everything that happens under one seed: lives of a process, one after the other, over the same files and clients.

use std::cell::RefCell;
use std::fmt;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use fathom_cache::Policy;
use fathom_cache::disk::DiskOptions;
use fathom_engine::{CacheSettings, Engine, EngineOptions, Scheduling, StepRules};
use fathom_model::Numerics;
use fathom_synthetic::Random;
use tempfile::TempDir;

use crate::Colds;
use crate::client::{Shared, client, reopen};
use crate::common::{Cold, Model, Task};
use crate::damage::damage;
use crate::judge::Judge;
use crate::traffic::{Conversation, Corpus};

/// Rounds in which everything must have ended.
const ROUNDS_MAX: usize = 40_000;

/// Rounds without any work, while clients wait, after which they wait in vain.
const IDLE_ROUNDS_MAX: usize = 1_000;

/// The world of a seed.
pub(crate) struct World {
    random: Random,
    numerics: Numerics,
    dir: TempDir,
    tell: bool,
    counts: Counts,
}

/// What happened, for people and for comparing two runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    seeds: u64,
    lives: u64,
    rounds: u64,
    steps: u64,
    outcomes: u64,
    answered: u64,
    tokens: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    replayed: u64,
    preemptions: u64,
    from_disk: u64,
    crashes: u64,
    restored: u64,
    damaged: u64,
    skipped: u64,
    evicted: u64,
    /// A hash of every output in order.
    digest: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.seeds, other.seeds),
            (&mut self.lives, other.lives),
            (&mut self.rounds, other.rounds),
            (&mut self.steps, other.steps),
            (&mut self.outcomes, other.outcomes),
            (&mut self.answered, other.answered),
            (&mut self.tokens, other.tokens),
            (&mut self.prompt_tokens, other.prompt_tokens),
            (&mut self.cached_tokens, other.cached_tokens),
            (&mut self.replayed, other.replayed),
            (&mut self.preemptions, other.preemptions),
            (&mut self.from_disk, other.from_disk),
            (&mut self.crashes, other.crashes),
            (&mut self.restored, other.restored),
            (&mut self.damaged, other.damaged),
            (&mut self.skipped, other.skipped),
            (&mut self.evicted, other.evicted),
        ] {
            *mine += theirs;
        }
        self.digest ^= other.digest;
    }

    fn digest(&mut self, number: u64) {
        // FNV-1a.
        for byte in number.to_le_bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds, {} lives ({} crashes, {} damaged files), {} steps; {} requests checked, {} of them to their end, \
             with {} tokens; {} of {} prompt tokens from the cache, {} replayed, {} preemptions, {} records evicted, {} sessions restored, {} \
             found on disk after a restart, {} records or files skipped",
            self.seeds,
            self.lives,
            self.crashes,
            self.damaged,
            self.steps,
            self.outcomes,
            self.answered,
            self.tokens,
            self.cached_tokens,
            self.prompt_tokens,
            self.replayed,
            self.preemptions,
            self.evicted,
            self.restored,
            self.from_disk,
            self.skipped
        )
    }
}

/// How a process lives and dies.
#[derive(Debug)]
struct Life {
    options: EngineOptions,
    /// Rounds before it dies; `None`: it lives until all is done.
    dies: Option<usize>,
    /// Whether what is queued for disk gets there first.
    tidy: bool,
    damages: usize,
    /// Percent of rounds in which the disk is written to.
    pumps: usize,
}

impl World {
    pub(crate) fn new(seed: u64, tell: bool) -> Self {
        let mut random = Random::new(seed);
        let numerics = Numerics::ALL[random.below(Numerics::ALL.len())];
        Self {
            random,
            numerics,
            dir: tempfile::tempdir().expect("a directory"),
            tell,
            counts: Counts {
                seeds: 1,
                ..Counts::default()
            },
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self, colds: &mut Colds) -> Result<Counts, String> {
        let clients = self.random.between(2, 7);
        let (user, assistant, eos) = (4_083, 4_084, 1);
        let cold = colds
            .entry(self.numerics)
            .or_insert_with(|| Cold::new(Model::Tiny, self.numerics, eos));
        let conversations = (0..clients).map(|name| {
            let (stream, requests) = (self.random.next_u64(), self.random.between(1, 5));
            Rc::new(RefCell::new(Conversation::new(
                name,
                Random::new(stream),
                requests,
                self.dir.path(),
            )))
        });
        let conversations = conversations.collect();
        let shared = Rc::new(Shared {
            corpus: Corpus::new(&mut self.random, user, assistant),
            judge: RefCell::new(Judge::default()),
            conversations: RefCell::new(conversations),
            spawned: RefCell::default(),
            outcomes: RefCell::default(),
            wrong: RefCell::default(),
        });
        let lives = self.random.between(1, 4);
        for number in 0..lives {
            let life = self.life(number + 1 == lives);
            if self.tell {
                println!("life {number}: {:?} {life:?}", self.numerics);
            }
            self.live(&life, &shared, cold)
                .map_err(|what| format!("life {number}: {what}"))?;
            self.counts.lives += 1;
        }
        let open = shared
            .conversations
            .borrow()
            .iter()
            .filter(|c| c.borrow().open.is_some())
            .count();
        if open > 0 {
            return Err(format!("{open} requests were lost"));
        }
        Ok(self.counts)
    }

    fn life(&mut self, last: bool) -> Life {
        let random = &mut self.random;
        let policy = match random.below(4) {
            0 => Policy::Full,
            1 => Policy::None,
            n => Policy::Periodic(NonZeroUsize::new(n * 128).expect("above 0")),
        };
        let disk = random.chance(85).then(|| {
            // From a few records to all there will be.
            let bytes = [1_500_000, 6_000_000, 1 << 30][random.below(3)];
            DiskOptions::new(self.dir.path().join("cache"), bytes)
        });
        let options = EngineOptions {
            numerics: self.numerics,
            threads: Some(random.between(1, 2)),
            chunk_tokens: [1, 17, 128, 200, 512][random.below(5)].max(random.below(64)),
            cache: CacheSettings {
                // A long sequence needs about 1.1 MB.
                ram_bytes: Some([700_000, 1_500_000, 3_000_000, 8_000_000, 1 << 28][random.below(5)]),
                disk,
                policy,
            },
            scheduling: Scheduling {
                running_max: random.between(1, 8),
                waiting_max: random.below(6),
                ..Scheduling::default()
            },
            by_hand: true,
            ..EngineOptions::default()
        };
        Life {
            options,
            dies: (!last).then(|| random.between(1, 250)),
            tidy: random.chance(60),
            damages: random.below(6).saturating_sub(2),
            pumps: [0, 10, 40][random.below(3)],
        }
    }

    fn live(&mut self, life: &Life, shared: &Rc<Shared>, cold: &mut Cold) -> Result<(), String> {
        let engine =
            Engine::load(Model::Tiny.checkpoint(), &life.options).map_err(|error| error.to_string())?;
        let stats = engine.cache().stats();
        self.counts.from_disk += stats.tree.on_disk;
        self.counts.skipped += stats.disk.map_or(0, |disk| disk.skipped.total());
        let mut tasks = Vec::new();
        for conversation in shared.conversations.borrow().iter() {
            let (session, restored) = reopen(&engine, &conversation.borrow());
            self.counts.restored += u64::from(restored);
            let (shared, engine) = (Rc::clone(shared), Arc::clone(&engine));
            tasks.push(client(shared, engine, Rc::clone(conversation), session));
        }
        let mut idle = 0;
        for round in 0.. {
            if life.dies == Some(round) || tasks.is_empty() {
                break;
            }
            self.poll(&mut tasks);
            tasks.append(&mut shared.spawned.borrow_mut());
            let rules = self.rules();
            let worked = engine.step(rules);
            self.counts.digest(u64::from(worked));
            if self.random.chance(life.pumps) {
                self.pump(&engine);
            }
            self.judge(shared, cold)?;
            check(&engine, &life.options)?;
            idle = if worked { 0 } else { idle + 1 };
            self.counts.rounds += 1;
            if idle > IDLE_ROUNDS_MAX || round > ROUNDS_MAX {
                return Err(format!(
                    "{} clients wait in round {round}, {:?}",
                    tasks.len(),
                    engine.stats()
                ));
            }
        }
        let all_done = tasks.is_empty();
        self.end(life, &engine);
        drop(tasks);
        if all_done {
            // Clients that left are noticed in the next step.
            engine.step(StepRules::default());
            let stats = engine.stats();
            if (stats.running, stats.waiting) != (0, 0) {
                return Err(format!("nobody waits, and yet {stats:?}"));
            }
        }
        drop(engine);
        self.spoil(life)
    }

    /// Polls clients in some order, not all of them.
    fn poll(&mut self, tasks: &mut Vec<Task<'static, ()>>) {
        let mut context = Context::from_waker(Waker::noop());
        for i in (1..tasks.len()).rev() {
            tasks.swap(i, self.random.below(i + 1));
        }
        tasks.retain_mut(|task| {
            self.random.chance(15) || matches!(task.as_mut().poll(&mut context), Poll::Pending)
        });
    }

    fn rules(&mut self) -> StepRules {
        let random = &mut self.random;
        let most = [1, 40, 600][random.below(3)];
        StepRules {
            // Always given: otherwise the scheduler goes by the clock.
            prefill_tokens: Some(random.between(1, most)),
            decodes: random.chance(30).then(|| random.between(1, 4)),
            preempt: random.chance(4).then(|| random.below(4)),
        }
    }

    fn pump(&mut self, engine: &Engine) {
        if let Some(disk) = engine.cache().disk() {
            let most = self.random.below(100_000) as u64;
            disk.fail_writes_after(self.random.chance(5).then_some(most));
        }
        engine.cache().pump();
    }

    fn judge(&mut self, shared: &Shared, cold: &mut Cold) -> Result<(), String> {
        let outcomes: Vec<_> = shared.outcomes.borrow_mut().drain(..).collect();
        for outcome in outcomes {
            shared.judge.borrow_mut().judge(&outcome, cold, 1)?;
            let counts = &mut self.counts;
            counts.outcomes += 1;
            counts.tokens += outcome.tokens.len() as u64;
            for &token in &outcome.tokens {
                counts.digest(u64::from(token));
            }
            if let Some(done) = &outcome.done {
                counts.answered += 1;
                counts.prompt_tokens += outcome.request.prompt.len() as u64;
                counts.cached_tokens += done.cached as u64;
                counts.replayed += done.report.replayed as u64;
                counts.digest(done.cached as u64);
            }
        }
        let wrong = shared.wrong.borrow_mut().pop();
        wrong.map_or(Ok(()), Err)
    }

    /// The process ends, in good order or not.
    fn end(&mut self, life: &Life, engine: &Engine) {
        let stats = engine.stats();
        self.counts.steps += stats.steps;
        self.counts.preemptions += stats.preemptions;
        let tree = engine.cache().stats().tree;
        self.counts.evicted += tree.evicted_pages + tree.evicted_snapshots;
        let Some(disk) = engine.cache().disk() else { return };
        if life.tidy {
            disk.fail_writes_after(None);
            engine.cache().pump();
            return;
        }
        self.counts.crashes += 1;
        if self.random.chance(50) {
            // It dies in the middle of writing.
            disk.fail_writes_after(Some(self.random.below(400_000) as u64));
            engine.cache().pump();
        }
        disk.abandon();
    }

    fn spoil(&mut self, life: &Life) -> Result<(), String> {
        if life.dies.is_none() {
            return Ok(());
        }
        for _ in 0..life.damages {
            let what = damage(self.dir.path(), &mut self.random).map_err(|error| error.to_string())?;
            self.counts.damaged += 1;
            if self.tell {
                println!("{what}");
            }
        }
        Ok(())
    }
}

/// What holds after every step.
fn check(engine: &Engine, options: &EngineOptions) -> Result<(), String> {
    let tree = engine.cache().stats().tree;
    let budget = options.cache.ram_bytes.unwrap_or(u64::MAX);
    if tree.ram_bytes > budget {
        return Err(format!("the cache holds {} bytes of {budget}", tree.ram_bytes));
    }
    let stats = engine.stats();
    // Before a step all fits; the step may complete a page of every sequence, and more of a long chunk.
    let pages = stats.running + options.chunk_tokens / engine.model().page_tokens();
    let most = budget + (pages * engine.model().page_bytes()) as u64;
    if stats.held_bytes > most {
        return Err(format!(
            "sequences hold {} bytes of {budget}, {stats:?}",
            stats.held_bytes
        ));
    }
    if stats.running > options.scheduling.running_max {
        return Err(format!("too many run at once: {stats:?}"));
    }
    Ok(())
}
