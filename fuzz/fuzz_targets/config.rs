//! Any bytes as a `config.json`: refused, or the relations the model relies on hold, no size overflows, and a
//! record of quantisation survives being written.

#![no_main]

use fathom_checkpoint::budget::{KvBytes, RowBytes, decode_cache_bytes, pending_bytes, workspace_bytes};
use fathom_checkpoint::{Config, Quantization};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let Ok(config) = Config::from_json(json) else {
        return;
    };
    assert!(!config.layers.is_empty());
    assert!(config.num_attention_heads.is_multiple_of(config.o_groups));
    assert!(config.qk_rope_head_dim.is_multiple_of(2) && config.qk_rope_head_dim <= config.head_dim);
    assert!(config.num_experts_per_tok <= config.n_routed_experts);
    let depth = config.max_position_embeddings as u64;
    for rows in [RowBytes::packed(&config), RowBytes::float32(&config)] {
        KvBytes::at(&config, rows, depth).total();
        decode_cache_bytes(&config, rows, depth);
    }
    pending_bytes(&config);
    workspace_bytes(&config, 4096);
    if let Some(quantization) = config.quantization {
        let mut written = config.raw.clone();
        written[Quantization::KEY] = quantization.to_json();
        let read = Config::from_json(written.to_string().as_bytes()).expect("what was read can be written");
        assert_eq!(read.quantization, Some(quantization));
    }
});
