//! Sequences that have not started, and whose turn it is.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::sequence::Sequence;

/// Users whose service is remembered at most while they have nothing here.
const USERS_MAX: usize = 4096;

/// A queue for each user, served in turn: who has had the fewest prompt tokens computed goes first (start-time fair
/// queueing). Time without requests earns nothing.
#[derive(Default)]
pub(super) struct Waiting {
    /// Put back; they go before all others, or those that came later would overtake them for ever.
    preempted: VecDeque<Sequence>,
    /// Put aside because nobody listened; they want no place before somebody does.
    resting: Vec<Sequence>,
    queues: Vec<(Arc<str>, VecDeque<Sequence>)>,
    service: HashMap<Arc<str>, u64>,
    /// Service of whoever was served last: where newcomers start.
    now: u64,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        let queued: usize = self.queues.iter().map(|(_, queue)| queue.len()).sum();
        self.preempted.len() + self.resting.len() + queued
    }

    /// A new request.
    pub(super) fn push(&mut self, sequence: Sequence) {
        let user = Arc::clone(&sequence.isolation);
        if self.service.len() >= USERS_MAX {
            let now = self.now;
            self.service.retain(|_, service| *service > now);
        }
        let service = self.service.entry(Arc::clone(&user)).or_default();
        *service = (*service).max(self.now);
        match self.queues.iter_mut().find(|(name, _)| *name == user) {
            Some((_, queue)) => queue.push_back(sequence),
            None => self.queues.push((user, VecDeque::from([sequence]))),
        }
    }

    /// One that has run already.
    pub(super) fn push_front(&mut self, sequence: Sequence) {
        self.preempted.push_front(sequence);
    }

    /// One that has run already, and whose listener wants nothing for now.
    pub(super) fn rest(&mut self, sequence: Sequence) {
        self.resting.push(sequence);
    }

    /// Those whose listeners want something again wait for a place.
    pub(super) fn wake(&mut self) {
        let heard = self.resting.extract_if(.., |sequence| sequence.sink.wanted());
        self.preempted.extend(heard);
    }

    /// Whether anybody waits for a place.
    pub(super) fn wants_place(&self) -> bool {
        !self.preempted.is_empty() || !self.queues.is_empty()
    }

    /// Prompt tokens computed for a user, as fairness counts them.
    pub(super) fn service(&self, user: &str) -> u64 {
        self.service.get(user).copied().unwrap_or(self.now)
    }

    /// Notes prompt tokens computed for a user.
    pub(super) fn serve(&mut self, user: &Arc<str>, tokens: u64) {
        let service = self.service.entry(Arc::clone(user)).or_insert(self.now);
        self.now = self.now.max(*service);
        *service += tokens;
    }

    /// The next to start. If it does not fit, nobody else starts either, or large requests would wait for ever. `fits` is
    /// asked with the tokens it has.
    pub(super) fn next(&mut self, fits: impl Fn(usize) -> bool) -> Option<Sequence> {
        if let Some(first) = self.preempted.front() {
            return fits(first.tokens.len())
                .then(|| self.preempted.pop_front())
                .flatten();
        }
        let service = |user: &str| self.service(user);
        let (index, _) = self
            .queues
            .iter()
            .enumerate()
            .min_by_key(|(_, (user, _))| service(user))?;
        let queue = &mut self.queues[index].1;
        if !queue.front().is_some_and(|first| fits(first.tokens.len())) {
            return None;
        }
        let sequence = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(index);
        }
        sequence
    }

    /// Takes out those that nobody waits for any more.
    pub(super) fn take_cancelled(&mut self) -> Vec<Sequence> {
        let mut gone = Vec::new();
        let queues = self.queues.iter_mut().map(|(_, queue)| queue);
        for queue in queues.chain([&mut self.preempted]) {
            while let Some(index) = queue.iter().position(Sequence::is_cancelled) {
                gone.extend(queue.remove(index));
            }
        }
        gone.extend(self.resting.extract_if(.., |sequence| sequence.is_cancelled()));
        self.queues.retain(|(_, queue)| !queue.is_empty());
        gone
    }

    /// Takes out all.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Sequence> {
        let queues = std::mem::take(&mut self.queues);
        let preempted = std::mem::take(&mut self.preempted);
        let resting = std::mem::take(&mut self.resting);
        preempted
            .into_iter()
            .chain(resting)
            .chain(queues.into_iter().flat_map(|(_, queue)| queue))
    }
}
