//! An engine that moves when it is told to, and tasks that are polled in between.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use fathom_engine::{Engine, StepRules};

/// Somebody who uses the engine.
pub(crate) type Task<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Rounds without any work after which tasks that still wait have been forgotten.
const IDLE_ROUNDS_MAX: usize = 200;

/// Polls every task, steps, and so on until all tasks are done.
pub(crate) fn drive<T>(
    engine: &Engine,
    tasks: Vec<Task<'_, T>>,
    mut rules: impl FnMut(usize) -> StepRules,
) -> Vec<T> {
    let mut context = Context::from_waker(Waker::noop());
    let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    let mut results: Vec<Option<T>> = tasks.iter().map(|_| None).collect();
    let mut idle = 0;
    for round in 0.. {
        for (slot, result) in tasks.iter_mut().zip(&mut results) {
            if let Some(task) = slot
                && let Poll::Ready(done) = task.as_mut().poll(&mut context)
            {
                (*slot, *result) = (None, Some(done));
            }
        }
        if tasks.iter().all(Option::is_none) {
            break;
        }
        idle = if engine.step(rules(round)) { 0 } else { idle + 1 };
        assert!(
            idle < IDLE_ROUNDS_MAX,
            "tasks wait and the engine has nothing to do"
        );
    }
    results.into_iter().flatten().collect()
}

/// Lets the engine take a step.
pub(crate) async fn turn() {
    let mut polled = false;
    poll_fn(|_| {
        if std::mem::replace(&mut polled, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
