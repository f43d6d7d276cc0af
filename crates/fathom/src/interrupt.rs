//! Ctrl-C.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

/// Exit status of a program ended by Ctrl-C, as shells report it (128 + SIGINT).
pub(crate) const EXIT_STATUS: u8 = 130;

/// Whether the user pressed Ctrl-C. Clones watch the same key.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    pressed: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over Ctrl-C: pressed once it asks whatever is running to stop; pressed again before anybody has looked, it
    /// ends the program.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let pressed = Arc::new(AtomicBool::new(false));
        let handler = Arc::clone(&pressed);
        ctrlc::set_handler(move || {
            if handler.swap(true, Ordering::SeqCst) {
                std::process::exit(EXIT_STATUS.into());
            }
        })
        .context("cannot watch for Ctrl-C")?;
        Ok(Self { pressed })
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
