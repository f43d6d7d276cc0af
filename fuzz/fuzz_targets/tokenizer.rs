//! `tokenizer.json`: any file is refused with a message, or gives a tokenizer that loses no text.
#![no_main]

use fathom_prompt::{StreamDecoder, Tokenizer};
use libfuzzer_sys::fuzz_target;

const TEXT: &str = "a text, <｜User｜>漢字\r\n  </think> 123";

fuzz_target!(|json: &[u8]| {
    let Ok(tokenizer) = Tokenizer::from_json(json, 1 << 16) else {
        return;
    };
    let ids = tokenizer
        .encode_plain(TEXT)
        .expect("a sound tokenizer encodes everything");
    assert!(ids.iter().all(|&id| !tokenizer.is_added(id)));
    assert_eq!(tokenizer.decode(&ids), TEXT);
    let mut decoder = StreamDecoder::new(tokenizer);
    let mut streamed: String = ids.iter().filter_map(|&id| decoder.push(id)).collect();
    streamed.extend(decoder.finish());
    assert_eq!(streamed, TEXT);
});
