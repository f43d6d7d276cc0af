//! Any bytes as a `model.safetensors.index.json`: refused, or no shard is outside the checkpoint's directory.

#![no_main]

use std::path::{Component, Path};

use fathom_checkpoint::Index;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let Ok(index) = Index::parse(json) else { return };
    for shard in index.weight_map.values() {
        let components: Vec<_> = Path::new(shard).components().collect();
        assert!(
            matches!(components.as_slice(), [Component::Normal(_)]),
            "{shard:?}"
        );
    }
});
