//! Ctrl-C.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::terminal::keyboard;

/// Exit status of a program ended by Ctrl-C, as shells report it (128 + SIGINT).
pub(crate) const EXIT_STATUS: u8 = 130;

/// Whether the user pressed Ctrl-C. Clones watch the same key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    pressed: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over Ctrl-C: pressed once it asks whatever is running to stop; pressed again before anybody has looked, it
    /// ends the program.
    pub(crate) fn install() -> anyhow::Result<Self> {
        Self::install_with(|| {
            keyboard::restore();
            std::process::exit(EXIT_STATUS.into());
        })
    }

    /// As [`install`](Self::install), but pressing it again does nothing more: for programs that have something to lose.
    pub(crate) fn install_patient() -> anyhow::Result<Self> {
        Self::install_with(|| {})
    }

    fn install_with(again: impl Fn() + Send + 'static) -> anyhow::Result<Self> {
        let pressed = Arc::new(AtomicBool::new(false));
        let handler = Arc::clone(&pressed);
        ctrlc::set_handler(move || {
            if handler.swap(true, Ordering::SeqCst) {
                again();
            }
        })
        .context("cannot watch for Ctrl-C")?;
        Ok(Self { pressed })
    }

    /// Presses it.
    #[cfg(test)]
    pub(crate) fn press(&self) {
        self.pressed.store(true, Ordering::SeqCst);
    }

    /// Forgets that it was pressed.
    pub(crate) fn clear(&self) {
        self.pressed.store(false, Ordering::SeqCst);
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }

    /// `Break` if Ctrl-C was pressed.
    pub(crate) fn flow(&self) -> ControlFlow<()> {
        if self.is_pressed() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
