//! The synthetic checkpoint is a whole, usable checkpoint.

use fathom_checkpoint::{Census, Checkpoint, Storage, announced_draft};
use fathom_kernels::team::Team;
use fathom_model::{Model, Numerics, Want};
use fathom_prompt::Tokenizer;
use fathom_synthetic::trace::Structure;
use fathom_synthetic::{Random, Synthetic, TINY};

/// Odd sizes, and a draft module.
const ODD: &[u8] = include_bytes!("../../checkpoint/tests/configs/tiny.json");

#[test]
fn nothing_is_missing_unexpected_or_wrong() {
    for config in [TINY.as_bytes(), ODD] {
        let checkpoint = Synthetic::new(config, 1).unwrap().checkpoint().unwrap();
        let audit = checkpoint.audit();
        assert_eq!(audit.missing.first, [""; 0]);
        assert_eq!(audit.unexpected.first, [""; 0]);
        assert_eq!(audit.wrong.first, [""; 0]);
        let official = Census::of(
            checkpoint.config(),
            announced_draft(checkpoint.config()),
            Storage::OFFICIAL,
        );
        assert_eq!(audit.census, official);
    }
}

#[test]
fn the_seed_decides_every_byte() {
    assert_eq!(Synthetic::tiny(7), Synthetic::tiny(7));
    assert_ne!(Synthetic::tiny(7), Synthetic::tiny(8));
}

#[test]
fn written_it_is_what_it_is_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    Synthetic::tiny(7).write(dir.path()).unwrap();
    let written = Checkpoint::open(dir.path()).unwrap();
    let embedded = Synthetic::tiny(7).checkpoint().unwrap();
    assert_eq!(written.config(), embedded.config());
    assert_eq!(
        written.tokenizer_json().unwrap(),
        embedded.tokenizer_json().unwrap()
    );
    assert!(written.tensors().count() > 300);
    for ((name, tensor), (same_name, same)) in written.tensors().zip(embedded.tensors()) {
        assert_eq!(name, same_name);
        assert_eq!(tensor.dtype, same.dtype, "{name}");
        assert_eq!(tensor.shape, same.shape, "{name}");
        assert!(*tensor.data == *same.data, "{name}");
    }
}

#[test]
fn the_tokenizer_is_accepted_and_round_trips_text() {
    let checkpoint = Synthetic::tiny_checkpoint();
    let vocab_size = checkpoint.config().vocab_size;
    let tokenizer = Tokenizer::from_json(&checkpoint.tokenizer_json().unwrap(), vocab_size).unwrap();
    assert_eq!(tokenizer.vocab_size(), vocab_size);
    assert_eq!(tokenizer.bos_id(), checkpoint.config().bos_token_id);
    assert_eq!(tokenizer.eos_id(), checkpoint.config().eos_token_id);
    for text in [
        "the cat sat on the mat",
        "Über 1,000 Tiere\n\tlaufen 狗",
        "<think>",
    ] {
        let ids = tokenizer.encode_plain(text).unwrap();
        assert_eq!(tokenizer.decode(&ids), text);
    }
    // Words are joined: shorter than one token a byte.
    assert_eq!(tokenizer.encode_plain(" abc").unwrap().len(), 2);
    let text = Synthetic::text_ids(vocab_size);
    for id in 0..vocab_size as u32 {
        assert!(tokenizer.token_bytes(id).is_some(), "{id}");
        assert_eq!(tokenizer.is_added(id), !text.contains(&id), "{id}");
    }
    let structure = Structure::of(|spelling| tokenizer.special_id(spelling)).unwrap();
    assert_eq!(
        (structure.bos, structure.eos),
        (tokenizer.bos_id(), tokenizer.eos_id())
    );
    assert!(!text.contains(&structure.user) && !text.contains(&structure.tool_call));
    assert_eq!(Structure::of(|_| None), None);
}

/// Logits `[ids, vocab_size]` of a prompt.
fn logits(model: &Model, ids: &[u32]) -> Vec<f32> {
    let mut workspace = model.new_workspace(ids.len());
    let mut state = model.new_state();
    let rows = model.forward(&mut Team::new(2), &mut workspace, &mut state, ids, Want::All);
    rows.unwrap().to_vec()
}

fn largest(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

#[test]
fn every_profile_gives_finite_and_varied_logits() {
    let mut random = Random::new(3);
    for numerics in Numerics::ALL {
        let model = Model::load(Synthetic::tiny_checkpoint(), numerics).unwrap();
        let vocab_size = model.config().vocab_size;
        let ids: Vec<u32> = (0..300).map(|_| random.below(vocab_size) as u32).collect();
        let logits = logits(&model, &ids);
        assert!(logits.iter().all(|logit| logit.is_finite()), "{numerics}");
        let mut favourites: Vec<usize> = logits.chunks_exact(vocab_size).map(largest).collect();
        for row in logits.chunks_exact(vocab_size) {
            let mean = row.iter().sum::<f32>() / vocab_size as f32;
            let variance = row.iter().map(|logit| (logit - mean).powi(2)).sum::<f32>() / vocab_size as f32;
            assert!((1.0..16.0).contains(&variance), "{numerics}: variance {variance}");
        }
        favourites.sort_unstable();
        favourites.dedup();
        assert!(favourites.len() > 200, "{numerics}: {} of 300", favourites.len());
    }
}

/// Early tokens matter late: a cache that gave the wrong rows would be noticed.
#[test]
fn logits_depend_on_distant_tokens() {
    for numerics in Numerics::ALL {
        let model = Model::load(Synthetic::tiny_checkpoint(), numerics).unwrap();
        let vocab_size = model.config().vocab_size;
        let mut ids: Vec<u32> = (0..300).map(|i| (i * 37 + i * i) % vocab_size as u32).collect();
        let before = logits(&model, &ids);
        ids[10] += 1;
        let after = logits(&model, &ids);
        let last = 299 * vocab_size..;
        assert_ne!(before[last.clone()], after[last], "{numerics}");
    }
}

#[test]
fn a_vocabulary_without_room_for_bytes_has_no_tokenizer() {
    let checkpoint = Synthetic::new(ODD, 1).unwrap().checkpoint().unwrap();
    assert_eq!(&*checkpoint.tokenizer_json().unwrap(), b"");
    let model = Model::load(checkpoint, Numerics::Reference).unwrap();
    let logits = logits(&model, &[1, 2, 3, 39]);
    assert_eq!(logits.len(), 4 * 40);
}
