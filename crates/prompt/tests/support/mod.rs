//! Shared by the tests of this crate.

#[allow(dead_code, reason = "not every test file parses output")]
pub(crate) mod marked;

use fathom_prompt::Tokenizer;

/// Made by `tools/prompt/make_tokenizer_fixture.py`.
pub(crate) const FIXTURE: &[u8] = include_bytes!("../fixtures/tokenizer.json");

/// The fixture tokenizer: 600 tokens, V4's splits and control tokens.
pub(crate) fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(FIXTURE, 600).expect("the fixture loads")
}
