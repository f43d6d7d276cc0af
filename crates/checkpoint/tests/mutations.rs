//! Random damage to headers, configurations and indices: an answer or an error, never a panic.

mod support;

use fathom_checkpoint::{Config, Header, Index};
use proptest::prelude::*;
use safetensors::SafeTensors;
use support::{official_tensors, safetensors, tiny_config};

/// Overwrites, inserts, deletes or repeats bytes.
fn mutate(bytes: &mut Vec<u8>, edits: &[(u16, u8, u8)]) {
    for &(position, value, kind) in edits {
        if bytes.is_empty() {
            return;
        }
        let at = position as usize % bytes.len();
        match kind % 5 {
            0 => bytes[at] = value,
            1 => bytes.insert(at, value),
            2 => drop(bytes.remove(at)),
            // Digits and brackets find their way into sizes, offsets and nesting more often than random bytes do.
            3 => bytes[at] = b"0123456789[]{},:\"-.e"[value as usize % 20],
            _ => bytes.extend_from_within(at..(at + value as usize).min(bytes.len())),
        }
    }
}

fn edits() -> impl Strategy<Value = Vec<(u16, u8, u8)>> {
    prop::collection::vec(any::<(u16, u8, u8)>(), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_headers_never_panic(edits in edits()) {
        let mut tensors = official_tensors(&tiny_config());
        tensors.retain(|name, _| name.starts_with("layers.1.attn."));
        let mut file = safetensors(&tensors);
        mutate(&mut file, &edits);
        check_header(&file);
    }

    #[test]
    fn random_files_never_panic(mut file in prop::collection::vec(any::<u8>(), 0..64), length in 0_u64..80) {
        check_header(&file);
        if file.len() >= 8 {
            file[..8].copy_from_slice(&length.to_le_bytes());
            check_header(&file);
        }
    }

    #[test]
    fn damaged_configurations_never_panic(edits in edits()) {
        let mut json = tiny_config().to_string().into_bytes();
        mutate(&mut json, &edits);
        if let Ok(config) = Config::from_json(&json) {
            prop_assert!(config.num_attention_heads.is_multiple_of(config.o_groups));
            prop_assert!(config.num_experts_per_tok <= config.n_routed_experts);
            prop_assert!(!config.layers.is_empty());
        }
    }

    #[test]
    fn damaged_indices_never_panic(edits in edits()) {
        let index = r#"{"metadata":{"total_size":123},"weight_map":{"a.weight":"x.safetensors","b":"y.safetensors"}}"#;
        let mut json = index.as_bytes().to_vec();
        mutate(&mut json, &edits);
        if let Ok(index) = Index::parse(&json) {
            prop_assert!(index.weight_map.values().all(|shard| !shard.contains('/')));
        }
    }
}

/// What is accepted keeps its promises, and the `safetensors` crate accepts it too.
fn check_header(file: &[u8]) {
    let Ok(header) = Header::parse(file) else { return };
    for (name, info) in &header.tensors {
        let bytes = file
            .get(info.range.clone())
            .unwrap_or_else(|| panic!("{name} is outside the file"));
        assert_eq!(
            bytes.len(),
            info.shape.iter().product::<usize>() * info.dtype.size(),
            "{name}"
        );
    }
    let theirs = SafeTensors::deserialize(file).expect("what we accept is a valid safetensors file");
    assert_eq!(theirs.len(), header.tensors.len());
}
