//! A state is its pages and its live state: restored, replayed and forked states go on as a cold run does, bit for bit.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{MODELS, continue_with, load};
use fathom_checkpoint::Checkpoint;
use fathom_kernels::team::Team;
use fathom_model::{ForwardError, Model, Numerics, Part, RestoreError, State, Want};
use proptest::prelude::*;

fn ids(model: &Model, tokens: usize) -> Vec<u32> {
    let vocab = model.config().vocab_size as u32;
    (0..tokens as u32)
        .map(|i| (i * 7919 + i / 7 + 2) % vocab)
        .collect()
}

/// Appends without asking for logits, in chunks.
fn append(model: &Model, state: &mut State, ids: &[u32], chunk: usize) {
    let (mut team, mut workspace) = (Team::new(2), model.new_workspace(chunk));
    for chunk in ids.chunks(chunk) {
        let logits = model.forward(&mut team, &mut workspace, state, chunk, Want::Nothing);
        assert_eq!(logits.map(<[f32]>::len), Ok(0));
    }
}

fn state_of(model: &Model, ids: &[u32], chunk: usize) -> State {
    let mut state = model.new_state();
    append(model, &mut state, ids, chunk);
    state
}

fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
    assert_eq!(found.len(), expected.len(), "{what}");
    let differs = found.iter().zip(expected).position(|pair| !same(pair));
    assert_eq!(differs, None, "{what}: first differing logit");
}

fn built_in(numerics: Numerics) -> Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model");
    Model::load(Checkpoint::open(&dir).expect("checkpoint"), numerics).expect("model")
}

fn every_model() -> impl Iterator<Item = (String, Model)> {
    Numerics::ALL.into_iter().flat_map(|numerics| {
        let named = MODELS.map(|name| (format!("{name} {numerics}"), load(name, numerics)));
        named
            .into_iter()
            .chain([(format!("built-in {numerics}"), built_in(numerics))])
    })
}

/// Lengths at which something begins or ends: nothing, windows, open compressor windows, pages.
fn lengths(model: &Model) -> Vec<usize> {
    let (page, window) = (model.page_tokens(), model.config().sliding_window);
    let mut lengths: Vec<usize> = [0, 4, 6, 8, window, page, 2 * page, 3 * page]
        .into_iter()
        .flat_map(|n: usize| [n.saturating_sub(1), n, n + 1])
        .chain([page / 2 + 3, 2 * page + 77])
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

#[test]
fn a_restored_state_goes_on_as_a_cold_run_does() {
    for (name, model) in every_model() {
        let lengths = lengths(&model);
        let vocab = model.config().vocab_size;
        let ids = ids(&model, lengths[lengths.len() - 1] + 9);
        let cold = common::logits(&model, &ids, &[256], 2);
        let mut growing = model.new_state();
        for &len in &lengths {
            let next = &ids[growing.len()..len];
            append(&model, &mut growing, next, 50);
            let live = growing.live().expect("exact");
            assert_eq!(live.len(), model.live_bytes(len), "{name} {len}");
            assert_eq!(growing.pages().len(), len / model.page_tokens(), "{name} {len}");
            assert!(
                growing
                    .pages()
                    .iter()
                    .all(|page| page.len() == model.page_bytes())
            );
            let mut state = model.restore(len, growing.pages(), &live).expect("restore");
            assert_eq!((state.len(), state.known()), (len, len), "{name}");
            assert_eq!(state.kv_bytes(), growing.kv_bytes(), "{name} {len}");
            assert_eq!(state.live(), Some(live), "{name} {len}");
            let found = continue_with(&model, &mut state, &ids[len..len + 9], &[1, 6], 1);
            assert_same(
                &found,
                &cold[len * vocab..(len + 9) * vocab],
                &format!("{name} at {len}"),
            );
        }
    }
}

/// What a state saves depends on its tokens alone.
#[test]
fn equal_tokens_save_equal_bytes_whatever_the_chunks() {
    for (name, model) in every_model() {
        let ids = ids(&model, 2 * model.page_tokens() + 61);
        let saved = |chunk| {
            let state = state_of(&model, &ids, chunk);
            (state.pages().to_vec(), state.live())
        };
        assert!(saved(1) == saved(200), "{name}");
    }
}

#[test]
fn a_replayed_state_goes_on_as_a_cold_run_does() {
    for (name, model) in every_model() {
        let page = model.page_tokens();
        let vocab = model.config().vocab_size;
        let ids = ids(&model, 4 * page + 10);
        let cold = common::logits(&model, &ids, &[256], 2);
        let whole = state_of(&model, &ids, 256);
        for count in 0..=4 {
            let pages = &whole.pages()[..count];
            let (known, what) = (count * page, format!("{name} from {count} pages"));
            for chunk in [7, 64, 512] {
                let mut state = model.replay(pages).expect("replay");
                let start = state.len();
                assert!(start == 0 || known - start >= model.replay_tokens(), "{what}");
                assert!(start.is_multiple_of(page) && known - start < model.replay_tokens() + page);
                assert_eq!((state.known(), state.pages().len()), (known, count), "{what}");
                if chunk < 512 {
                    append(&model, &mut state, &ids[start..known], chunk);
                    let exact = state_of(&model, &ids[..known], 100);
                    assert!(state.live() == exact.live(), "{what}: the live state");
                }
                // The last of the chunks begins before the end of the pages, and ends behind it.
                let (mut team, mut workspace) = (Team::new(2), model.new_workspace(ids.len()));
                let to = known + 3;
                let last = model.forward(
                    &mut team,
                    &mut workspace,
                    &mut state,
                    &ids[if chunk < 512 { known } else { start }..to],
                    Want::Last,
                );
                assert_same(last.expect("forward"), &cold[(to - 1) * vocab..to * vocab], &what);
                let found = continue_with(&model, &mut state, &ids[to..to + 7], &[1, 3], 1);
                assert_same(&found, &cold[to * vocab..(to + 7) * vocab], &what);
                let shared = state.pages().iter().zip(pages).filter(|(a, b)| Arc::ptr_eq(a, b));
                assert_eq!(shared.count(), count, "{what}: pages are read and not written");
            }
        }
    }
}

/// Windows of every length that makes a replay begin one page earlier, or not.
#[test]
fn a_replay_is_exact_for_any_window() {
    for window in [1, 2, 3, 43, 44, 45, 86, 87, 300] {
        let copy = common::copy_of("mini-fp4");
        common::edit_config(copy.path(), |config| config["sliding_window"] = window.into());
        let checkpoint = Checkpoint::open(copy.path()).expect("checkpoint");
        let model = Model::load(checkpoint, Numerics::Exact).expect("model");
        let known = 4 * model.page_tokens();
        let ids = ids(&model, known + 6);
        let mut cold = state_of(&model, &ids[..known], 256);
        let mut state = model.replay(cold.pages()).expect("replay");
        let start = state.len();
        append(&model, &mut state, &ids[start..known], 90);
        assert!(state.live() == cold.live(), "window of {window}");
        let expected = continue_with(&model, &mut cold, &ids[known..], &[6], 1);
        let found = continue_with(&model, &mut state, &ids[known..], &[6], 1);
        assert_same(&found, &expected, &format!("window of {window}"));
    }
}

/// Other sequences in the same steps, one of them replayed too.
#[test]
fn a_replay_in_company_is_exact() {
    for numerics in Numerics::ALL {
        let model = load("mini-sparse", numerics);
        let page = model.page_tokens();
        let ids = ids(&model, 3 * page);
        let turned: Vec<u32> = ids.iter().rev().copied().collect();
        let vocab = model.config().vocab_size;
        let (cold, turned_cold) = (
            common::logits(&model, &ids, &[256], 2),
            common::logits(&model, &turned, &[256], 2),
        );
        let whole = state_of(&model, &ids, 256);
        let mut replayed = model.replay(&whole.pages()[..2]).expect("replay");
        let mut other = state_of(&model, &turned[..5], 5);
        let (mut team, mut workspace) = (Team::new(2), model.new_workspace(64));
        let mut done = replayed.len();
        while done < 2 * page + 40 {
            let tokens = &ids[done..done + 40];
            let end = done + 40;
            let (at, want) = (
                other.len(),
                if end > 2 * page { Want::Last } else { Want::Nothing },
            );
            let mut parts = [
                Part {
                    state: &mut other,
                    tokens: &turned[at..=at],
                    want: Want::Last,
                },
                Part {
                    state: &mut replayed,
                    tokens,
                    want,
                },
            ];
            let logits = model
                .forward_parts(&mut team, &mut workspace, &mut parts)
                .expect("forward");
            let what = format!("{numerics} to {end}");
            assert_same(
                &logits[..vocab],
                &turned_cold[at * vocab..(at + 1) * vocab],
                &what,
            );
            if want == Want::Last {
                assert_same(&logits[vocab..], &cold[(end - 1) * vocab..end * vocab], &what);
            }
            done = end;
        }
    }
}

/// Restored states share pages with their fork and with who gave them, until they diverge.
#[test]
fn a_restored_fork_diverges_and_disturbs_nobody() {
    for (name, model) in every_model() {
        let (page, vocab) = (model.page_tokens(), model.config().vocab_size);
        let ids = ids(&model, 2 * page + 40);
        let len = page + page / 2 + 1;
        let saved = state_of(&model, &ids[..len], 256);
        let live = saved.live().expect("exact");
        let pages: Vec<Vec<u8>> = saved.pages().iter().map(|page| page.to_vec()).collect();
        let mut state = model.restore(len, saved.pages(), &live).expect("restore");
        let mut fork = state.clone();
        let other: Vec<u32> = ids[len..].iter().rev().copied().collect();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for (our, their) in ids[len..].chunks(13).zip(other.chunks(13)) {
            ours.extend(continue_with(&model, &mut state, our, &[13], 1));
            theirs.extend(continue_with(&model, &mut fork, their, &[5], 2));
        }
        let cold = |tail: &[u32]| {
            let all = [&ids[..len], tail].concat();
            common::logits(&model, &all, &[256], 2)[len * vocab..].to_vec()
        };
        assert_same(&ours, &cold(&ids[len..]), &name);
        assert_same(&theirs, &cold(&other), &format!("{name} fork"));
        assert!(
            saved
                .pages()
                .iter()
                .zip(&pages)
                .all(|(page, before)| **page == **before)
        );
        assert_eq!(saved.live(), Some(live), "{name}");
        // The first page is one for all; those completed since are their own (if there is anything in them).
        assert!(Arc::ptr_eq(&state.pages()[0], &fork.pages()[0]));
        assert!(model.page_bytes() == 0 || !Arc::ptr_eq(&state.pages()[1], &fork.pages()[1]));
        let equal: Arc<[u8]> = Arc::from(&*state.pages()[1]);
        state.share_page(1, Arc::clone(&equal));
        state.share_page(7, Arc::clone(&equal));
        assert!(Arc::ptr_eq(&state.pages()[1], &equal));
    }
}

#[test]
fn logits_of_replayed_positions_are_refused() {
    let model = load("mini-hybrid", Numerics::Reference);
    let page = model.page_tokens();
    let ids = ids(&model, 3 * page);
    let whole = state_of(&model, &ids, 256);
    let mut state = model.replay(&whole.pages()[..2]).expect("replay");
    let (start, known) = (state.len(), 2 * page);
    assert!(start < known && state.live().is_none());
    let (mut team, mut workspace) = (Team::new(1), model.new_workspace(3 * page));
    let mut forward = |state: &mut State, to: usize, want| {
        let tokens = &ids[state.len()..to];
        model
            .forward(&mut team, &mut workspace, state, tokens, want)
            .map(<[f32]>::len)
    };
    for (to, want, position) in [
        (start + 1, Want::Last, start),
        (known, Want::Last, known - 1),
        (known, Want::All, start),
        (known + 1, Want::All, start),
    ] {
        let error = ForwardError::Replaying { position, known };
        assert_eq!(forward(&mut state, to, want), Err(error.clone()));
        assert!(error.to_string().contains(&known.to_string()));
        assert_eq!(state.len(), start, "as it was");
    }
    assert!(matches!(
        model.graft(&state, 2 * known, 1).map(|_| ()),
        Err(fathom_model::GraftError::State(ForwardError::Replaying { .. }))
    ));
    let vocab = model.config().vocab_size;
    assert_eq!(forward(&mut state, known, Want::Nothing), Ok(0));
    assert_eq!(forward(&mut state, known + 3, Want::All), Ok(3 * vocab));
}

#[test]
fn what_cannot_be_a_state_is_refused_with_both_sizes() {
    let model = load("mini-hybrid", Numerics::Reference);
    let (page, bytes, max) = (
        model.page_tokens(),
        model.page_bytes(),
        model.config().max_position_embeddings,
    );
    let ids = ids(&model, 2 * page + 5);
    let state = state_of(&model, &ids, 256);
    let (pages, live) = (state.pages(), state.live().expect("exact"));
    let refused = |len, pages: &[Arc<[u8]>], live: &[u8]| {
        let error = model.restore(len, pages, live).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("given") || error.to_string().contains("bytes"));
        error
    };
    let (len, expected) = (2 * page + 5, live.len());
    assert_eq!(
        refused(len, &pages[..1], &live),
        RestoreError::Pages {
            len,
            expected: 2,
            found: 1
        }
    );
    for found in [0, expected - 1] {
        assert_eq!(
            refused(len, pages, &live[..found]),
            RestoreError::LiveSize { len, expected, found }
        );
    }
    let short: [Arc<[u8]>; 2] = [Arc::clone(&pages[0]), Arc::from(&pages[1][1..])];
    let error = RestoreError::PageSize {
        index: 1,
        expected: bytes,
        found: bytes - 1,
    };
    assert_eq!(refused(len, &short, &live), error);
    assert_eq!(model.replay(&short).map(|_| ()), Err(error));
    let error = RestoreError::TooLong { len: max + 1, max };
    assert!(model.restore(max + 1, pages, &live).map(|_| ()) == Err(error));
    assert!(model.restore(usize::MAX, &[], &[]).is_err());
    let many = vec![Arc::clone(&pages[0]); max / page + 1];
    assert!(matches!(
        model.replay(&many).map(|_| ()),
        Err(RestoreError::TooLong { .. })
    ));
}

#[test]
fn a_broken_state_saves_nothing() {
    let copy = common::copy_of("mini-hybrid");
    let checkpoint = Checkpoint::open(copy.path()).expect("checkpoint");
    let model = Model::load(checkpoint, Numerics::Exact).expect("model");
    let mut state = state_of(&model, &ids(&model, 3), 3);
    let mut live = state.live().expect("exact");
    live.fill(0xFF);
    state = model.restore(3, state.pages(), &live).expect("restore");
    let (mut team, mut workspace) = (Team::new(1), model.new_workspace(1));
    let error = model.forward(&mut team, &mut workspace, &mut state, &[2], Want::Last);
    assert!(matches!(error, Err(ForwardError::NotFinite { .. })));
    assert_eq!(state.live(), None);
}

/// Whether states can be exchanged.
#[test]
fn identities_differ_with_all_that_makes_bits() {
    let mut seen = Vec::new();
    for (name, model) in every_model() {
        assert_eq!(model.identity(), model.identity(), "{name}");
        assert!(!seen.contains(&model.identity()), "{name}");
        seen.push(model.identity());
    }
    let copy = common::copy_of("mini-bf16");
    let identity = || {
        let checkpoint = Checkpoint::open(copy.path()).expect("checkpoint");
        Model::load(checkpoint, Numerics::Exact)
            .expect("model")
            .identity()
    };
    let first = identity();
    assert_eq!(identity(), first);
    common::edit_config(copy.path(), |config| config["routed_scaling_factor"] = 2.5.into());
    let edited = identity();
    assert_ne!(edited, first);
    let weights = copy.path().join("model.safetensors");
    let modified = std::fs::metadata(&weights)
        .and_then(|file| file.modified())
        .expect("time");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).expect("weights");
    let file = std::fs::File::options()
        .write(true)
        .open(&weights)
        .expect("weights");
    file.set_modified(modified).expect("time");
    assert_ne!(identity(), edited, "contents count");
    let turned = identity();
    file.set_modified(modified + std::time::Duration::from_secs(1))
        .expect("time");
    assert_ne!(identity(), turned, "the time of the last change counts");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    /// Any bytes of the right sizes are taken, and computed with: to logits, or to a plain error.
    #[test]
    fn any_bytes_do_no_harm(
        which in 0..MODELS.len(),
        numerics in 0..Numerics::ALL.len(),
        len in 0usize..400,
        seed: u64,
        mask: u8,
    ) {
        let model = load(MODELS[which], Numerics::ALL[numerics]);
        let mut random = seed;
        let mut bytes = |n: usize| -> Vec<u8> {
            let mut next = || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 56) as u8 & mask
            };
            (0..n).map(|_| next()).collect()
        };
        let pages: Vec<Arc<[u8]>> =
            (0..len / model.page_tokens()).map(|_| Arc::from(bytes(model.page_bytes()))).collect();
        let live = bytes(model.live_bytes(len));
        let mut state = model.restore(len, &pages, &live).expect("the right sizes");
        prop_assert_eq!(state.live(), Some(live));
        let (mut team, mut workspace) = (Team::new(2), model.new_workspace(9));
        for chunk in ids(&model, 12).chunks(9) {
            if model.forward(&mut team, &mut workspace, &mut state, chunk, Want::All).is_err() {
                break;
            }
        }
        let mut state = model.replay(&pages).expect("the right sizes");
        let _ = model.forward(&mut team, &mut workspace, &mut state, &[2, 3, 4], Want::Nothing);
    }

    #[test]
    fn any_sizes_are_refused_or_taken(len: usize, page in 0usize..3000, count in 0usize..4, live in 0usize..3000) {
        let model = load("mini-hybrid", Numerics::Reference);
        let pages: Vec<Arc<[u8]>> = (0..count).map(|_| Arc::from(vec![0; page])).collect();
        for len in [len, len % 600] {
            let fits = len / model.page_tokens() == count
                && (count == 0 || page == model.page_bytes())
                && len <= model.config().max_position_embeddings
                && live == model.live_bytes(len);
            prop_assert_eq!(model.restore(len, &pages, &vec![0; live]).is_ok(), fits);
        }
    }
}
