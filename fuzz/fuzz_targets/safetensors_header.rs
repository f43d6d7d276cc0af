//! Any bytes as a safetensors file: refused, or every tensor is inside the file, and the `safetensors` crate agrees
//! with every one of them.

#![no_main]

use fathom_checkpoint::Header;
use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;

fuzz_target!(|file: &[u8]| {
    let Ok(header) = Header::parse(file) else { return };
    let theirs = SafeTensors::deserialize(file).expect("accepted here, so a valid file");
    assert_eq!(theirs.len(), header.tensors.len());
    for (name, info) in &header.tensors {
        let bytes = file.get(info.range.clone()).expect("inside the file");
        let view = theirs.tensor(name).expect("found by both");
        assert_eq!(view.data(), bytes);
        assert_eq!(view.shape(), info.shape);
    }
});
