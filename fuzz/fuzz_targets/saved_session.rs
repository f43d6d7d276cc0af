//! Any bytes as a saved session: refused, or as long as it says, with a state of the same file.

#![no_main]

use fathom_cache::saved::read;
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session");
    let mut file = bytes.to_vec();
    // Most inputs would fail at the header's checksum.
    if file.len() >= 128 && file[15] % 2 == 0 {
        file[..16].copy_from_slice(b"FATHOMST\x01\0\0\0\0\0\0\0");
        let sum = xxh3_64(&file[..120]);
        file[120..128].copy_from_slice(&sum.to_le_bytes());
    }
    std::fs::write(&path, &file).unwrap();
    if let Ok(saved) = read(&path) {
        let held = 4 * saved.tokens.len() + saved.user.len();
        let identity = saved.identity;
        let state = saved.state(&identity);
        let held = held + state.map_or(0, |s| s.live.len() + s.pages.iter().map(|page| page.len()).sum::<usize>());
        assert!(held < file.len());
    }
});
