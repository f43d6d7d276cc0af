//! Saved conversations.
//!
//! A JSON object:
//!
//! | field | content |
//! |---|---|
//! | `format` | `"fathom-chat"` |
//! | `version` | 1; a reader refuses what it does not know |
//! | `program` | what wrote it, such as `"fathom 0.1.0"`; for people |
//! | `model` | the model that answered; for people |
//! | `conversation` | `messages` as in the chat completions API, and `thinking`: see [`Conversation`] |
//!
//! A file that is such a `conversation` by itself, `{"messages": […]}`, can be loaded too.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fathom_prompt::{Conversation, Message};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const FORMAT: &str = "fathom-chat";
const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedChat {
    format: String,
    version: u64,
    program: String,
    model: String,
    conversation: Conversation,
}

/// A conversation that could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SavedError {
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Saving would destroy something else.
    #[error("{} exists and is not a saved conversation; it was left alone, choose another name", path.display())]
    Occupied {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} is not a saved conversation: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Saves `conversation`, which `model` answered. An earlier saved conversation of that name is replaced, all at once;
/// any other file is left alone.
pub(crate) fn save(path: &Path, model: &str, conversation: &Conversation) -> Result<(), SavedError> {
    if path.exists() && load(path).is_err() {
        return Err(SavedError::Occupied {
            path: path.to_owned(),
        });
    }
    let saved = SavedChat {
        format: FORMAT.to_owned(),
        version: VERSION,
        program: concat!("fathom ", env!("CARGO_PKG_VERSION")).to_owned(),
        model: model.to_owned(),
        conversation: conversation.clone(),
    };
    write(path, &saved).map_err(|source| SavedError::Write {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, saved: &SavedChat) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".fathom-chat-")
        .tempfile_in(parent)?;
    serde_json::to_writer_pretty(&mut file, saved)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Loads a conversation.
pub(crate) fn load(path: &Path) -> Result<Conversation, SavedError> {
    Ok(read(path)?.1)
}

/// How many messages of the user a saved conversation has, and which model answered.
pub(crate) fn about(path: &Path) -> Result<(usize, String), SavedError> {
    let (model, conversation) = read(path)?;
    let said = |message: &&Message| matches!(message, Message::User { .. });
    Ok((conversation.messages.iter().filter(said).count(), model))
}

/// The model that answered, empty if the file does not say, and the conversation.
fn read(path: &Path) -> Result<(String, Conversation), SavedError> {
    let json = std::fs::read(path).map_err(|source| SavedError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&json).map_err(|reason| SavedError::Malformed {
        path: path.to_owned(),
        reason,
    })
}

fn parse(json: &[u8]) -> Result<(String, Conversation), String> {
    let value: Value =
        serde_json::from_slice(json).map_err(|error| format!("expected JSON, found {error}"))?;
    let Some(format) = value.get("format") else {
        let conversation = serde_json::from_value(value).map_err(|error| error.to_string())?;
        return Ok((String::new(), conversation));
    };
    if format != FORMAT {
        return Err(format!("expected format {FORMAT:?}, found {format}"));
    }
    let version = value.get("version").unwrap_or(&Value::Null);
    if version.as_u64() != Some(VERSION) {
        return Err(format!(
            "this program reads version {VERSION}, found {version}; use the program that wrote it"
        ));
    }
    let saved: SavedChat = serde_json::from_value(value).map_err(|error| error.to_string())?;
    Ok((saved.model, saved.conversation))
}

#[cfg(test)]
mod tests {
    use fathom_prompt::Thinking;

    use super::*;

    fn conversation() -> Conversation {
        let answer = serde_json::from_str(
            r#"{"role": "assistant", "content": "Hi ⚓", "reasoning_content": "A greeting."}"#,
        );
        Conversation {
            messages: vec![
                Message::system("Be kind."),
                Message::user("Hello\n"),
                answer.unwrap(),
            ],
            thinking: Thinking::Max,
            ..Conversation::default()
        }
    }

    #[test]
    fn what_is_saved_loads_the_same_and_can_be_saved_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chat.json");
        save(&path, "small", &Conversation::from_user("first")).unwrap();
        save(&path, "small", &conversation()).unwrap();
        assert_eq!(load(&path).unwrap(), conversation());
        assert_eq!(about(&path).unwrap(), (1, "small".to_owned()));
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn the_form_of_the_file_is_fixed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chat.json");
        save(
            &path,
            "small",
            &Conversation {
                thinking: Thinking::Off,
                ..Conversation::from_user("Hello")
            },
        )
        .unwrap();
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replace(env!("CARGO_PKG_VERSION"), "X");
        let expected = r#"{
  "format": "fathom-chat",
  "version": 1,
  "program": "fathom X",
  "model": "small",
  "conversation": {
    "messages": [
      {
        "role": "user",
        "content": "Hello"
      }
    ],
    "tool_choice": "auto",
    "thinking": "off",
    "response_format": {
      "type": "text"
    },
    "keep_reasoning": false
  }
}
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn other_files_are_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thesis.txt");
        std::fs::write(&path, "years of work").unwrap();
        let error = save(&path, "small", &conversation()).unwrap_err();
        assert!(matches!(error, SavedError::Occupied { .. }));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "years of work");
    }

    #[test]
    fn a_bare_list_of_messages_loads_too() {
        let bare = br#"{"messages": [{"role": "user", "content": "Hello"}]}"#;
        assert_eq!(parse(bare), Ok((String::new(), Conversation::from_user("Hello"))));
    }

    #[test]
    fn what_is_something_else_is_refused_with_the_reason() {
        let cases = [
            (
                "nonsense",
                "expected JSON, found expected ident at line 1 column 2",
            ),
            (
                r#"{"format": "gguf"}"#,
                r#"expected format "fathom-chat", found "gguf""#,
            ),
            (
                r#"{"format": "fathom-chat", "version": 2}"#,
                "this program reads version 1, found 2; use the program that wrote it",
            ),
            (
                r#"{"format": "fathom-chat", "version": 1, "program": "", "model": ""}"#,
                "missing field `conversation`",
            ),
            ("{}", "missing field `messages`"),
        ];
        for (json, reason) in cases {
            assert_eq!(parse(json.as_bytes()), Err(reason.to_owned()));
        }
    }
}
