//! The tokenizer as the grammar engine sees it: a trie of byte strings.

use std::sync::Arc;

use fathom_prompt::{Opening, Tokenizer};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{ParserFactory, TokenParser, api::TopLevelGrammar};

use super::{Constraint, Grammar, GrammarError};

/// Longest token that a grammar can use, in bytes; the trie holds no more. V4's longest has 128.
const TOKEN_BYTES_MAX: usize = 1000;

/// What every compilation for one tokenizer shares. Building it takes as long as a few thousand tokens' masks: it is done
/// when the first grammar comes.
pub struct Vocabulary {
    factory: ParserFactory,
    tokenizer: Tokenizer,
}

struct Environment {
    trie: TokTrie,
    tokenizer: Tokenizer,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// Text that the grammar leaves no choice about is written in the tokens that a prompt would have for it.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| self.tokenizer.encode_plain(text).ok())
            .unwrap_or_else(|| self.trie.greedy_tokenize(bytes))
    }
}

impl Vocabulary {
    /// Prepares `tokenizer`.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, GrammarError> {
        let words: Vec<Vec<u8>> = (0..tokenizer.vocab_size() as u32)
            .map(|id| word(tokenizer, id))
            .collect();
        let info = TokRxInfo::new(words.len() as u32, tokenizer.eos_id());
        let environment: TokEnv = Arc::new(Environment {
            trie: TokTrie::from(&info, &words),
            tokenizer: tokenizer.clone(),
        });
        let slices = SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
            .map_err(|error| GrammarError::Vocabulary(error.to_string()))?;
        factory.quiet();
        super::limits::apply(factory.limits_mut());
        Ok(Self {
            factory,
            tokenizer: tokenizer.clone(),
        })
    }

    /// Makes a grammar of a constraint, for answers to prompts that end with `opening`; see
    /// [`Engine::compile`](crate::Engine::compile).
    pub fn compile(&self, constraint: &Constraint, opening: Opening) -> Result<Grammar, GrammarError> {
        Grammar::compile(self, constraint, opening)
    }

    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub(super) fn parser(&self, grammar: TopLevelGrammar) -> Result<TokenParser, String> {
        self.factory
            .create_parser(grammar)
            .map_err(|error| super::error::plain(&error))
    }
}

/// What a token stands for. The mark in front of control tokens is no byte of any text, so no text matches them: a grammar
/// must name them by their ids.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    if bytes.len() > TOKEN_BYTES_MAX {
        return Vec::new();
    }
    if tokenizer.is_added(id) {
        return [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat();
    }
    bytes.to_vec()
}
