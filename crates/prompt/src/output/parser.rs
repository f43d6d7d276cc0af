//! Token ids to pieces.

use super::Piece;
use super::machine::{Machine, Mark};
use crate::{Opening, StreamDecoder, Tokenizer, ToolDefinition};

/// Parses the output to one prompt.
///
/// Feed it every sampled id, then call [`OutputParser::finish`]. How many pieces a text arrives in depends on the tokens; what
/// they add up to does not. Text that might be the beginning of a tag is held until the next token, never longer.
#[derive(Debug)]
pub struct OutputParser {
    tokenizer: Tokenizer,
    decoder: StreamDecoder,
    machine: Machine,
}

impl OutputParser {
    /// A parser for output that continues `opening`. The schemas of `tools` tell wrapped arguments from real parameters.
    pub fn new(tokenizer: Tokenizer, opening: Opening, tools: &[ToolDefinition]) -> Self {
        let decoder = StreamDecoder::new(tokenizer.clone());
        Self {
            tokenizer,
            decoder,
            machine: Machine::new(opening, tools.to_vec()),
        }
    }

    /// Parse the next id.
    pub fn push(&mut self, id: u32) -> Vec<Piece> {
        let control = self.tokenizer.control();
        let mark = match id {
            id if id == control.dsml => Mark::Dsml,
            id if id == control.think_start => Mark::ThinkStart,
            id if id == control.think_end => Mark::ThinkEnd,
            id if id == control.eos => Mark::End,
            id if id == control.bos || id == control.user || id == control.assistant => Mark::Turn,
            // Everything else is text, the other added tokens by their spelling.
            id => {
                if let Some(text) = self.decoder.push(id) {
                    self.machine.text(&text);
                }
                return self.machine.take();
            }
        };
        if let Some(text) = self.decoder.finish() {
            self.machine.text(&text);
        }
        self.machine.mark(mark, &self.tokenizer.decode(&[id]));
        self.machine.take()
    }

    /// End of output: release what is held and close what is open. The parser is spent afterwards.
    pub fn finish(&mut self) -> Vec<Piece> {
        if let Some(text) = self.decoder.finish() {
            self.machine.text(&text);
        }
        self.machine.finish();
        self.machine.take()
    }
}
