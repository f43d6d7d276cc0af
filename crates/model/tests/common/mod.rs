//! Fixtures: the mini checkpoints and the logits that outside implementations give for them.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::path::{Path, PathBuf};

use fathom_checkpoint::Checkpoint;
use fathom_kernels::team::Team;
use fathom_model::{Model, Numerics, State, Want};

/// Every mini checkpoint.
pub const MODELS: [&str; 8] = [
    "mini-bf16",
    "mini-fp4",
    "mini-fp8",
    "mini-heavy-first",
    "mini-hybrid",
    "mini-sparse",
    "mini-transformers",
    "mini-window",
];

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub fn directory(name: &str) -> PathBuf {
    fixtures().join(name)
}

pub fn load(name: &str, numerics: Numerics) -> Model {
    let checkpoint = Checkpoint::open(&directory(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    Model::load(checkpoint, numerics).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn words<const N: usize>(path: &Path) -> Vec<[u8; N]> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes.as_chunks::<N>().0.to_vec()
}

/// The golden prompt of a model.
pub fn ids(name: &str) -> Vec<u32> {
    let path = fixtures().join("goldens").join(name).join("ids.i32");
    words::<4>(&path).into_iter().map(u32::from_le_bytes).collect()
}

fn manifest(name: &str) -> serde_json::Value {
    let path = fixtures().join("goldens").join(name).join("manifest.json");
    let bytes = std::fs::read(path).expect("manifest");
    serde_json::from_slice(&bytes).expect("manifest")
}

/// How far the numpy reference moves from its golden when it accumulates in float32.
pub struct Yardstick {
    pub same_share: f64,
    pub kl_mean: f64,
}

pub fn float32_accumulation(name: &str) -> Yardstick {
    let manifest = manifest(name);
    let own = &manifest["logits"]["reference"]["float32_accumulation"];
    let number = |key: &str| own[key].as_f64().expect(key);
    Yardstick {
        same_share: number("same_share"),
        kl_mean: number("kl_mean"),
    }
}

/// Golden logits: the rows that were kept, and `[rows, vocab_size]` values.
pub fn goldens(name: &str, numerics: Numerics) -> (Vec<usize>, Vec<f32>) {
    let dir = fixtures().join("goldens").join(name);
    let manifest = manifest(name);
    let rows = manifest["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row.as_u64().expect("row") as usize);
    let values = words::<4>(&dir.join(format!("{numerics}.f32")));
    (
        rows.collect(),
        values.into_iter().map(f32::from_le_bytes).collect(),
    )
}

/// Logits of every position, the ids appended in chunks of the given sizes (the last repeated as needed).
pub fn logits(model: &Model, ids: &[u32], chunks: &[usize], threads: usize) -> Vec<f32> {
    continue_with(model, &mut model.new_state(), ids, chunks, threads)
}

/// As [`logits`], from a state.
pub fn continue_with(
    model: &Model,
    state: &mut State,
    ids: &[u32],
    chunks: &[usize],
    threads: usize,
) -> Vec<f32> {
    let mut team = Team::new(threads);
    let largest = chunks
        .iter()
        .copied()
        .max()
        .expect("a chunk size")
        .min(ids.len().max(1));
    let mut workspace = model.new_workspace(largest);
    let mut sizes = chunks
        .iter()
        .copied()
        .chain(std::iter::repeat(chunks[chunks.len() - 1]));
    let (mut rest, mut out) = (ids, Vec::new());
    while !rest.is_empty() {
        let size = sizes.next().expect("endless").min(rest.len());
        let (chunk, tail) = rest.split_at(size);
        let rows = model
            .forward(&mut team, &mut workspace, state, chunk, Want::All)
            .expect("forward");
        out.extend_from_slice(rows);
        rest = tail;
    }
    out
}

/// `rows` of `[_, vocab_size]`.
pub fn pick(logits: &[f32], vocab_size: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter()
        .flat_map(|&row| &logits[row * vocab_size..][..vocab_size])
        .copied()
        .collect()
}

/// Largest difference of each row.
pub fn row_differences(a: &[f32], b: &[f32], vocab_size: usize) -> Vec<f32> {
    assert_eq!(a.len(), b.len());
    let largest = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    a.chunks(vocab_size)
        .zip(b.chunks(vocab_size))
        .map(largest)
        .collect()
}

pub fn median(values: &[f32]) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted[sorted.len() / 2]
}

pub fn argmax(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// A copy of a fixture, to be edited.
pub fn copy_of(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("temporary directory");
    for entry in std::fs::read_dir(directory(name)).expect("fixture") {
        let entry = entry.expect("fixture");
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copy");
    }
    copy
}

/// Edits a checkpoint's configuration.
pub fn edit_config(dir: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).expect("config")).expect("config");
    edit(&mut config);
    std::fs::write(&path, config.to_string()).expect("config");
}
