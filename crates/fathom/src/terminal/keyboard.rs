//! The keyboard while an answer runs.

/// Keeps what is typed off the screen until dropped. The keys are not lost: the next prompt reads them.
///
/// Without this the terminal writes them, and the `^C` of Ctrl-C, into the middle of the answer.
pub(crate) struct Quiet(());

impl Quiet {
    /// Turns the echo off, if standard input is a terminal.
    pub(crate) fn begin() -> Self {
        #[cfg(unix)]
        unix::turn_echo_off();
        Self(())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        restore();
    }
}

/// Sets the keyboard as it was before [`Quiet::begin`]. For those who end the program at once, when nothing is dropped.
pub(crate) fn restore() {
    #[cfg(unix)]
    unix::restore();
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// The terminal's settings to return to. One for the program, as there is one terminal.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    fn before() -> MutexGuard<'static, Option<Termios>> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn turn_echo_off() {
        let Ok(settings) = tcgetattr(io::stdin()) else {
            // No terminal, nothing to set.
            return;
        };
        let mut quiet = settings.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        if tcsetattr(io::stdin(), OptionalActions::Now, &quiet).is_ok() {
            before().get_or_insert(settings);
        }
    }

    pub(super) fn restore() {
        if let Some(settings) = before().take() {
            // The terminal may have gone; then there is nothing left to restore.
            tcsetattr(io::stdin(), OptionalActions::Now, &settings).ok();
        }
    }
}
