//! A session's directory.
//!
//! | file | content |
//! |---|---|
//! | `conversation.json` | what was said, as `/save` writes it: whatever happens to the state, this is the session |
//! | `state` | what the model computed of it, and the ids of its answers: see [`fathom_cache::saved`] |
//! | `lock` | held by the process that has the session open, whose number it contains |
//!
//! The two are written one after the other, the conversation first. A state that is older than its conversation is the
//! state of its beginning, and the rest is read again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::Name;

const CONVERSATION: &str = "conversation.json";
const STATE: &str = "state";
const LOCK: &str = "lock";

/// A session's directory, which no other process has open.
#[derive(Debug)]
pub(crate) struct Home {
    name: Name,
    dir: PathBuf,
    /// The operating system releases it with the process, however that ends.
    lock: File,
}

impl Drop for Home {
    fn drop(&mut self) {
        // Closing it would do, but for a child process that another thread is just starting: it has a copy for a moment.
        let _ = self.lock.unlock();
    }
}

/// A session that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// Another process has it open.
    #[error(
        "session {name} is open in another fathom{}; end that one, or choose another name",
        process.as_ref().map_or_else(String::new, |id| format!(" (process {id})"))
    )]
    Busy {
        /// Its name.
        name: Name,
        /// The process, as far as it said.
        process: Option<String>,
    },
    /// Its directory cannot be used.
    #[error("cannot keep session {name} in {}: {source}. XDG_DATA_HOME names another place", dir.display())]
    Unusable {
        /// Its name.
        name: Name,
        /// Its directory.
        dir: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Home {
    /// Opens the session `name` in the directory of all `sessions`, or begins it.
    pub(crate) fn open(sessions: &Path, name: Name) -> Result<Self, HomeError> {
        let dir = sessions.join(name.as_ref());
        match lock(&dir) {
            Ok(lock) => Ok(Self { name, dir, lock }),
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                let read =
                    File::open(dir.join(LOCK)).and_then(|file| file.take(20).read_to_string(&mut process));
                let process = process.trim().to_owned();
                Err(HomeError::Busy {
                    name,
                    process: (read.is_ok() && !process.is_empty()).then_some(process),
                })
            }
            Err(TryLockError::Error(source)) => Err(HomeError::Unusable { name, dir, source }),
        }
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn conversation(&self) -> PathBuf {
        self.dir.join(CONVERSATION)
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir.join(STATE)
    }

    /// Whether nothing has been saved in it.
    pub(super) fn is_new(&self) -> bool {
        !self.conversation().exists()
    }
}

/// Creates `dir`, readable by its owner alone, and takes its lock.
fn lock(dir: &Path) -> Result<File, TryLockError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(TryLockError::Error)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(LOCK))
        .map_err(TryLockError::Error)?;
    file.try_lock()?;
    // For the message another process prints; nobody relies on it.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// The conversations and the bytes of all sessions in `sessions`, the one saved last first.
pub(super) fn all(sessions: &Path) -> io::Result<Vec<(Name, PathBuf, u64)>> {
    let entries = match fs::read_dir(sessions) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<Name>().ok());
        let conversation = entry.path().join(CONVERSATION);
        if let (Some(name), Ok(about)) = (name, fs::metadata(&conversation)) {
            let state = fs::metadata(entry.path().join(STATE)).map_or(0, |about| about.len());
            let saved = about.modified().ok();
            found.push((std::cmp::Reverse(saved), name, conversation, about.len() + state));
        }
    }
    found.sort();
    Ok(found
        .into_iter()
        .map(|(_, name, conversation, bytes)| (name, conversation, bytes))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_open_once() {
        let dir = tempfile::tempdir().unwrap();
        let name: Name = "demo".parse().unwrap();
        let home = Home::open(dir.path(), name.clone()).unwrap();
        assert!(home.is_new());
        let error = Home::open(dir.path(), name.clone()).unwrap_err().to_string();
        let process = std::process::id();
        assert_eq!(
            error,
            format!(
                "session demo is open in another fathom (process {process}); end that one, or choose another name"
            )
        );
        drop(home);
        Home::open(dir.path(), name).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Home::open(&file, "demo".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("cannot keep session demo in "), "{error}");
        assert!(error.ends_with("XDG_DATA_HOME names another place"), "{error}");
    }

    #[test]
    fn sessions_without_a_conversation_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = dir.path().join("sessions");
        assert!(all(&sessions).unwrap().is_empty());
        drop(Home::open(&sessions, "empty".parse().unwrap()).unwrap());
        let said = Home::open(&sessions, "said".parse().unwrap()).unwrap();
        fs::write(said.conversation(), "{}").unwrap();
        fs::write(said.state(), "12345").unwrap();
        let found = all(&sessions).unwrap();
        assert_eq!(found, [("said".parse().unwrap(), said.conversation(), 7)]);
    }
}
