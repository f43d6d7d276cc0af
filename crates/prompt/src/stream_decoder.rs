//! Token ids to text while they arrive.

use crate::Tokenizer;

/// Decodes ids one at a time and hands out whole characters only.
///
/// The concatenation of everything it returns equals [`Tokenizer::decode`] of all ids, whatever their bytes are: at most the
/// three bytes of an unfinished UTF-8 character wait for the next id.
///
/// ```no_run
/// # fn example(tokenizer: fathom_prompt::Tokenizer, ids: Vec<u32>) -> String {
/// let mut decoder = fathom_prompt::StreamDecoder::new(tokenizer);
/// let mut text = String::new();
/// for id in ids {
///     text.extend(decoder.push(id));
/// }
/// text.extend(decoder.finish());
/// # text
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// A decoder with nothing pending.
    pub fn new(tokenizer: Tokenizer) -> Self {
        Self {
            tokenizer,
            pending: Vec::new(),
        }
    }

    /// Add one token; returns the characters it completes. Invalid sequences become U+FFFD, as does an unknown id.
    pub fn push(&mut self, id: u32) -> Option<String> {
        match self.tokenizer.token_bytes(id) {
            Some(bytes) => self.pending.extend_from_slice(bytes),
            None => self.pending.extend_from_slice("\u{FFFD}".as_bytes()),
        }
        self.take(false)
    }

    /// End of input: an unfinished character becomes U+FFFD. The decoder can be used again afterwards.
    pub fn finish(&mut self) -> Option<String> {
        self.take(true)
    }

    fn take(&mut self, at_end: bool) -> Option<String> {
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            let Err(error) = std::str::from_utf8(rest).map(|valid| {
                text.push_str(valid);
                rest = &[];
            }) else {
                break;
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            rest = match error.error_len() {
                Some(len) => &after[len..],
                None if at_end => &[],
                None => {
                    rest = after;
                    break;
                }
            };
            text.push(char::REPLACEMENT_CHARACTER);
        }
        self.pending = rest.to_vec();
        (!text.is_empty()).then_some(text)
    }
}
