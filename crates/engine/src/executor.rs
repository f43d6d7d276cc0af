//! The one place where the model runs: a thread team and scratch memory, lent to one session at a time.

use fathom_kernels::team::Team;
use fathom_model::{Model, Workspace};
use parking_lot::{FairMutex, FairMutexGuard};

/// Lends the team out in the order it was asked for.
///
/// An ordinary mutex lets the thread that just released it take it again at once: a session in the middle of a long
/// prefill would then keep all others waiting. This one hands over to whoever waits longest.
pub(crate) struct Executor {
    parts: FairMutex<Parts>,
}

/// What a forward pass needs besides the model and the state.
pub(crate) struct Parts {
    pub(crate) team: Team,
    pub(crate) workspace: Workspace,
}

impl Executor {
    pub(crate) fn new(model: &Model, team: Team, chunk_tokens: usize) -> Self {
        let workspace = model.new_workspace(chunk_tokens);
        Self {
            parts: FairMutex::new(Parts { team, workspace }),
        }
    }

    /// Waits for its turn.
    pub(crate) fn turn(&self) -> FairMutexGuard<'_, Parts> {
        self.parts.lock()
    }
}
