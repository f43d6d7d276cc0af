//! The keyboard while an answer runs.

/// Keeps what is typed off the screen until dropped. The keys are not lost: the next prompt reads them.
///
/// Without this the terminal writes them, and the `^C` of Ctrl-C, into the middle of the answer.
pub(crate) struct Quiet {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Quiet {
    /// Turns the echo off, if standard input is a terminal.
    pub(crate) fn begin() -> Self {
        #[cfg(unix)]
        {
            Self {
                before: unix::without_echo(),
            }
        }
        #[cfg(not(unix))]
        {
            Self {}
        }
    }
}

#[cfg(unix)]
impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            unix::restore(before);
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::io;

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// Turns the echo off and returns the settings before; `None` if there is no terminal to set.
    pub(super) fn without_echo() -> Option<Termios> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet).ok()?;
        Some(before)
    }

    /// Sets the terminal as it was.
    pub(super) fn restore(before: &Termios) {
        // The terminal may have gone; then there is nothing left to restore.
        tcsetattr(io::stdin(), OptionalActions::Now, before).ok();
    }
}
