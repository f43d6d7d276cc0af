//! A whole generated message.

use super::{Defect, Piece};
use crate::{Message, ToolCall};

/// The pieces of a message put together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Reasoning; empty without thinking.
    pub reasoning: String,
    /// The answer.
    pub content: String,
    /// Tool calls; their ids are `call_0`, `call_1`, … until the caller gives them others.
    pub tool_calls: Vec<ToolCall>,
    /// Departures from the format.
    pub defects: Vec<Defect>,
}

impl Answer {
    /// Add a piece. Pieces come in order.
    pub fn push(&mut self, piece: &Piece) {
        match piece {
            Piece::Reasoning(text) => self.reasoning.push_str(text),
            Piece::Content(text) => self.content.push_str(text),
            Piece::ToolCallBegin { index, name } => self.tool_calls.push(ToolCall {
                id: format!("call_{index}"),
                name: name.clone(),
                arguments: String::new(),
            }),
            Piece::ToolCallArguments { index, json } => {
                if let Some(call) = self.tool_calls.get_mut(*index) {
                    call.arguments.push_str(json);
                }
            }
            Piece::ToolCallEnd { .. } => {}
            Piece::Defect(defect) => self.defects.push(defect.clone()),
        }
    }

    /// The message to append to the conversation. `sampled` are the ids it was generated as.
    pub fn into_message(self, sampled: Vec<u32>) -> Message {
        Message::Assistant {
            content: self.content,
            reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning),
            tool_calls: self.tool_calls,
            prefix: false,
            task: None,
            sampled: Some(sampled),
        }
    }
}

impl FromIterator<Piece> for Answer {
    fn from_iter<I: IntoIterator<Item = Piece>>(pieces: I) -> Self {
        let mut answer = Self::default();
        pieces.into_iter().for_each(|piece| answer.push(&piece));
        answer
    }
}
