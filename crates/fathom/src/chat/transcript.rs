//! What has been said, and what is about to be.

use fathom_prompt::{Conversation, Message, Thinking};

use super::attachment::Attachment;

/// The conversation, and files that wait for the next message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transcript {
    conversation: Conversation,
    waiting: Vec<Attachment>,
}

impl Transcript {
    /// A conversation in which nothing has been said.
    pub(crate) fn new(system: Option<&str>, thinking: Thinking) -> Self {
        let mut transcript = Self::default();
        transcript.conversation.thinking = thinking;
        transcript.set_system(system.unwrap_or_default());
        transcript
    }

    /// The conversation so far.
    pub(crate) fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// The conversation as the model will get it with the next message, as far as that is known.
    pub(crate) fn with_next_message(&self) -> Conversation {
        let mut conversation = self.conversation.clone();
        conversation.messages.push(Message::user(self.message("")));
        conversation
    }

    /// Files that go into the next message.
    pub(crate) fn waiting(&self) -> &[Attachment] {
        &self.waiting
    }

    /// Adds a file to the next message.
    pub(crate) fn attach(&mut self, attachment: Attachment) {
        self.waiting.push(attachment);
    }

    /// Takes all waiting files back and returns them.
    pub(crate) fn detach(&mut self) -> Vec<Attachment> {
        std::mem::take(&mut self.waiting)
    }

    /// The user says `text`; waiting files go before it.
    pub(crate) fn say(&mut self, text: &str) {
        let message = self.message(text);
        self.waiting.clear();
        self.conversation.messages.push(Message::user(message));
    }

    /// The model's answer to what was said.
    pub(crate) fn answer(&mut self, message: Message) {
        self.conversation.messages.push(message);
    }

    /// Takes back what was said last, as it got no answer.
    pub(crate) fn take_back(&mut self) {
        if matches!(self.conversation.messages.last(), Some(Message::User { .. })) {
            self.conversation.messages.pop();
        }
    }

    /// Takes back the last `turns` messages of the user and what followed each.
    pub(crate) fn rewind(&mut self, turns: usize) {
        let messages = &self.conversation.messages;
        let said = (0..messages.len())
            .rev()
            .filter(|&at| matches!(messages[at], Message::User { .. }));
        if let Some(from) = said.take(turns).last() {
            self.conversation.messages.truncate(from);
        }
    }

    /// The thinking mode of the next answer.
    pub(crate) fn thinking(&self) -> Thinking {
        self.conversation.thinking
    }

    /// Sets the thinking mode.
    pub(crate) fn set_thinking(&mut self, thinking: Thinking) {
        self.conversation.thinking = thinking;
    }

    /// The system text, if there is one.
    pub(crate) fn system(&self) -> Option<&str> {
        match self.conversation.messages.first() {
            Some(Message::System { content }) => Some(content),
            _ => None,
        }
    }

    /// Sets the system text; an empty one removes it.
    pub(crate) fn set_system(&mut self, text: &str) {
        if self.system().is_some() {
            self.conversation.messages.remove(0);
        }
        if !text.is_empty() {
            self.conversation.messages.insert(0, Message::system(text));
        }
    }

    /// Forgets what was said, but not how: system text and thinking mode stay.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.system(), self.thinking());
    }

    /// Goes on with another conversation. Files that wait still wait.
    pub(crate) fn replace(&mut self, mut conversation: Conversation) {
        if let Some(Message::Assistant { prefix, .. }) = conversation.messages.last_mut() {
            // The user speaks next here, so the answer counts as finished.
            *prefix = false;
        }
        self.conversation = conversation;
    }

    /// Whether the last answer came after reasoning.
    pub(crate) fn has_reasoned(&self) -> bool {
        matches!(
            self.conversation.messages.last(),
            Some(Message::Assistant { reasoning_content: Some(reasoning), .. }) if !reasoning.is_empty()
        )
    }

    /// Messages of the user.
    pub(crate) fn turns(&self) -> usize {
        self.conversation
            .messages
            .iter()
            .filter(|message| matches!(message, Message::User { .. }))
            .count()
    }

    fn message(&self, text: &str) -> String {
        let mut message = String::new();
        for attachment in &self.waiting {
            message.push_str(attachment.text.trim_end_matches(['\n', '\r']));
            message.push_str("\n\n");
        }
        message.push_str(text);
        message
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file(text: &str) -> Attachment {
        Attachment {
            path: PathBuf::from("notes.txt"),
            text: text.to_owned(),
            tokens: 3,
        }
    }

    #[test]
    fn waiting_files_go_into_one_message_only() {
        let mut transcript = Transcript::new(None, Thinking::Off);
        transcript.attach(file("One.\n"));
        transcript.attach(file("Two.\r\n\n"));
        transcript.say("What?");
        transcript.answer(Message::assistant("That."));
        transcript.say("And?");
        assert_eq!(
            transcript.conversation().messages,
            [
                Message::user("One.\n\nTwo.\n\nWhat?"),
                Message::assistant("That."),
                Message::user("And?")
            ]
        );
        assert_eq!(transcript.turns(), 2);
    }

    #[test]
    fn the_system_text_is_first_or_not_there() {
        let mut transcript = Transcript::new(Some("Be kind."), Thinking::High);
        transcript.say("Hello");
        transcript.set_system("Be brief.");
        assert_eq!(
            transcript.conversation().messages,
            [Message::system("Be brief."), Message::user("Hello")]
        );
        transcript.set_system("");
        assert_eq!(transcript.conversation().messages, [Message::user("Hello")]);
        assert_eq!(transcript.system(), None);
    }

    #[test]
    fn a_restart_keeps_how_to_answer() {
        let mut transcript = Transcript::new(Some("Be kind."), Thinking::Max);
        transcript.say("Hello");
        transcript.attach(file("One."));
        transcript.restart();
        assert_eq!(transcript.conversation().messages, [Message::system("Be kind.")]);
        assert_eq!(transcript.thinking(), Thinking::Max);
        assert_eq!(transcript.waiting(), []);
    }

    #[test]
    fn only_a_message_without_answer_can_be_taken_back() {
        let mut transcript = Transcript::new(None, Thinking::Off);
        transcript.say("Hello");
        transcript.answer(Message::assistant("Hi."));
        transcript.take_back();
        transcript.say("Oops");
        transcript.take_back();
        assert_eq!(
            transcript.conversation().messages,
            [Message::user("Hello"), Message::assistant("Hi.")]
        );
    }

    #[test]
    fn exchanges_are_taken_back_whole() {
        let mut transcript = Transcript::new(Some("Be kind."), Thinking::Off);
        for said in ["one", "two", "three"] {
            transcript.say(said);
            transcript.answer(Message::assistant(said));
        }
        transcript.rewind(0);
        assert_eq!(transcript.turns(), 3);
        transcript.rewind(2);
        assert_eq!(
            transcript.conversation().messages,
            [
                Message::system("Be kind."),
                Message::user("one"),
                Message::assistant("one")
            ]
        );
        transcript.rewind(5);
        assert_eq!(transcript.conversation().messages, [Message::system("Be kind.")]);
    }

    #[test]
    fn an_unfinished_answer_that_is_loaded_counts_as_finished() {
        let json = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "prefix": true}]}"#;
        let mut transcript = Transcript::default();
        transcript.replace(serde_json::from_str(json).unwrap());
        assert_eq!(transcript.conversation().messages[1], Message::assistant("b"));
    }
}
