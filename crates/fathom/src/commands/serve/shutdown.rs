//! The end, as the user or the system asks for it.

use crate::interrupt::EXIT_STATUS;
use crate::output::print;

/// Over when the server is asked to end. Asked a second time, it ends the program at once.
pub(crate) async fn asked() {
    asked_to_end().await;
    tokio::spawn(async {
        asked_to_end().await;
        std::process::exit(EXIT_STATUS.into());
    });
    // If nobody reads this any more, the server still ends.
    print("\nFinishing the answers in progress; Ctrl-C again ends at once.\n").ok();
}

#[cfg(unix)]
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    // Without a handler the system's default holds, which ends the program.
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn asked_to_end() {
    tokio::signal::ctrl_c().await.ok();
}
