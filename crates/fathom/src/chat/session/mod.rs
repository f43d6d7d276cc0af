//! Conversations that are kept: after every answer and at the end, with what the model computed, so that they go on in
//! another run with nothing to read again.

mod home;
mod list;
mod name;

use std::path::Path;

use fathom_cache::saved::LoadError;
use fathom_engine::RestoreError;
use fathom_prompt::{Conversation, Message};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Chat, report, saved};
use crate::terminal::figures::plural;
pub(crate) use home::Home;
pub(crate) use list::list;
pub(crate) use name::{Name, NameError};

/// Larger states are saved when the session is left, not after every answer: a disk takes a noticeable time for them. A
/// process that is killed then has to read again; what was said is saved in any case.
const EVERY_TIME_MAX: usize = 64 << 20;

/// Exchanges that can be taken back after a restart with nothing to read again, if that is not too many bytes.
const REWINDS: usize = 16;

/// A session and what of it is not in its files yet.
pub(super) struct Kept {
    home: Home,
    conversation_changed: bool,
    state_changed: bool,
}

/// An answer, and the ids the model generated for it. They go with the state: text that is encoded again may have others,
/// and a state belongs to its ids.
#[derive(Serialize, Deserialize)]
struct SampledAnswer {
    message: Value,
    sampled: Vec<u32>,
}

impl Chat<'_> {
    /// Where sessions are kept.
    pub(crate) fn set_sessions_dir(&mut self, dir: Option<std::path::PathBuf>) {
        self.sessions = dir;
    }

    /// Goes on with the session of `home`, or begins it.
    pub(crate) fn resume(&mut self, home: Home) -> anyhow::Result<()> {
        let name = home.name().clone();
        if home.is_new() {
            self.notes.dim_line(format_args!(
                "session {name}: new, kept in {}",
                home.dir().display()
            ))?;
        } else {
            let mut conversation = saved::load(&home.conversation())?;
            let trouble = match self.session.engine().restore(&home.state()) {
                Ok((session, note)) => {
                    self.session = session;
                    remember_sampled(&mut conversation, &note);
                    None
                }
                Err(error) => Some(trouble(&error)),
            };
            let mode = self.take_over(conversation);
            let standing = report::standing(&self.session, &self.transcript)?;
            self.notes.dim_line(format_args!("session {name}: {standing}"))?;
            if standing.again > 0 {
                self.note(trouble.as_deref())?;
            }
            self.note(mode.as_deref())?;
        }
        self.kept = Some(Kept {
            home,
            conversation_changed: false,
            state_changed: false,
        });
        Ok(())
    }

    /// The conversation, or how it goes on, has changed.
    pub(super) fn changed(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.conversation_changed = true;
            kept.state_changed = true;
        }
    }

    /// Saves the session, if this is one: after an answer, or when it is left. A chat goes on without, but says so.
    pub(super) fn keep(&mut self, leaving: bool) -> anyhow::Result<()> {
        let Some(mut kept) = self.kept.take() else {
            return Ok(());
        };
        let saved = self.write(&mut kept, leaving);
        self.kept = Some(kept);
        saved.or_else(|error| {
            self.fail_or_leave(error.context("the session could not be saved; /save FILE puts it elsewhere"))
        })
    }

    fn write(&mut self, kept: &mut Kept, leaving: bool) -> anyhow::Result<()> {
        if kept.conversation_changed {
            saved::save(
                &kept.home.conversation(),
                &self.name,
                self.transcript.conversation(),
            )?;
            kept.conversation_changed = false;
        }
        if !kept.state_changed {
            return Ok(());
        }
        // The state the next prompt can go on from: not always that of the last answer, whose reasoning it may leave out.
        let prompt = report::next_prompt(&self.session, &self.transcript)?;
        let mut session = self.session.fork();
        session.recall(prompt.said());
        if leaving || session.kv_bytes() <= EVERY_TIME_MAX {
            let note = serde_json::to_vec(&sampled_answers(self.transcript.conversation())?)?;
            let rewinds = &prompt.turns()[..prompt.turns().len().min(REWINDS)];
            session.save_with(&kept.home.state(), &note, rewinds)?;
            kept.state_changed = false;
        }
        Ok(())
    }

    /// `/fork`: goes on in a new session.
    pub(super) fn fork(&mut self, name: &Name) -> anyhow::Result<()> {
        let dir = self.sessions.as_deref();
        let dir =
            dir.ok_or_else(|| anyhow::anyhow!("there is no place for sessions: set HOME or XDG_DATA_HOME"))?;
        let taken = || {
            format!(
                "session {name} exists; choose another name, or go on with it: fathom chat --session {name}"
            )
        };
        let same = |kept: &Kept| kept.home.name() == name;
        anyhow::ensure!(!self.kept.as_ref().is_some_and(same), taken());
        let home = Home::open(dir, name.clone())?;
        anyhow::ensure!(home.is_new(), taken());
        self.keep(true)?;
        let mut fork = Kept {
            home,
            conversation_changed: true,
            state_changed: true,
        };
        self.write(&mut fork, true)?;
        let left = self.kept.replace(fork);
        let standing = report::standing(&self.session, &self.transcript)?;
        let stays = left.map_or_else(String::new, |left| {
            format!("; {} stays as it is", left.home.name())
        });
        Ok(self
            .notes
            .dim_line(format_args!("session {name}: {standing}{stays}"))?)
    }

    /// `/rewind`: takes exchanges back.
    pub(super) fn rewind(&mut self, exchanges: usize) -> anyhow::Result<()> {
        let said = self.transcript.turns();
        anyhow::ensure!(
            exchanges <= said,
            "expected to take back at most {said}, as many as were said; found {exchanges}"
        );
        self.transcript.rewind(exchanges);
        self.changed();
        let standing = report::standing(&self.session, &self.transcript)?;
        self.notes.dim_line(format_args!(
            "took back {}; left: {standing}",
            plural(exchanges, "exchange")
        ))?;
        self.keep(false)
    }

    /// Goes on without a session, which stays as it was; returns what to say about that.
    pub(super) fn leave_session(&mut self) -> anyhow::Result<Option<String>> {
        self.keep(true)?;
        Ok(self.kept.take().map(|kept| {
            format!(
                "session {} stays as it was; /fork NAME keeps this conversation",
                kept.home.name()
            )
        }))
    }

    /// For `/context`.
    pub(super) fn where_kept(&self) -> Option<(&Name, &Path)> {
        let kept = self.kept.as_ref()?;
        Some((kept.home.name(), kept.home.dir()))
    }
}

/// Why a state is not used, for people.
fn trouble(error: &RestoreError) -> String {
    let reason = match error {
        RestoreError::File(LoadError::OtherModel { .. }) => {
            "its state was computed by another model, other numerics or another version of fathom"
        }
        RestoreError::File(LoadError::Read { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
            "its state is missing"
        }
        RestoreError::File(LoadError::Read { error, .. }) => {
            return format!(
                "its state cannot be read ({error}); it is computed again with your next message"
            );
        }
        RestoreError::Memory(error) => return error.to_string(),
        _ => "its state is damaged",
    };
    format!("{reason}; it is computed again with your next message")
}

/// The answers whose ids are known.
fn sampled_answers(conversation: &Conversation) -> serde_json::Result<Vec<Option<SampledAnswer>>> {
    let answers = conversation.messages.iter().filter_map(|message| match message {
        Message::Assistant { sampled, .. } => Some((message, sampled)),
        _ => None,
    });
    answers
        .map(|(message, sampled)| {
            let Some(sampled) = sampled.clone() else {
                return Ok(None);
            };
            let message = serde_json::to_value(message)?;
            Ok(Some(SampledAnswer { message, sampled }))
        })
        .collect()
}

/// Gives answers their ids back, where they are the same answers still.
fn remember_sampled(conversation: &mut Conversation, note: &[u8]) {
    // Another version's note, perhaps: the texts are encoded again.
    let Ok(known) = serde_json::from_slice::<Vec<Option<SampledAnswer>>>(note) else {
        return;
    };
    let answers = conversation
        .messages
        .iter_mut()
        .filter(|message| matches!(message, Message::Assistant { .. }));
    for (answer, known) in answers.zip(known) {
        let Some(known) = known else { continue };
        let same = serde_json::to_value(&*answer).is_ok_and(|value| value == known.message);
        if let (true, Message::Assistant { sampled, .. }) = (same, answer) {
            *sampled = Some(known.sampled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(answers: &[&str]) -> Conversation {
        let mut conversation = Conversation::from_user("Hello");
        conversation
            .messages
            .extend(answers.iter().map(|text| Message::assistant(*text)));
        conversation
    }

    #[test]
    fn answers_get_their_ids_back_unless_they_were_changed() {
        let mut said = conversation(&["one", "two", "three"]);
        for (message, ids) in said.messages[1..]
            .iter_mut()
            .zip([Some(vec![1, 11]), None, Some(vec![3])])
        {
            if let Message::Assistant { sampled, .. } = message {
                *sampled = ids;
            }
        }
        let note = serde_json::to_vec(&sampled_answers(&said).unwrap()).unwrap();
        let mut loaded = conversation(&["one", "two", "three"]);
        remember_sampled(&mut loaded, &note);
        assert_eq!(loaded, said);

        let mut edited = conversation(&["uno", "two", "three", "four"]);
        remember_sampled(&mut edited, &note);
        let ids: Vec<_> = edited.messages[1..]
            .iter()
            .map(|message| match message {
                Message::Assistant { sampled, .. } => sampled.clone(),
                _ => None,
            })
            .collect();
        assert_eq!(ids, [None, None, Some(vec![3]), None]);
        remember_sampled(&mut edited, b"of another version");
    }
}
