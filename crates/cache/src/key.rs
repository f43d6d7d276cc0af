//! Names of pages and snapshots: a chain of hashes from the model's identity and the isolation id over all token ids.
//!
//! Equal keys mean equal model, equal isolation id and equal tokens up to the end of the record. The tree itself compares
//! token ids; keys are for records on disk, which have no other way to say where they belong.

/// A BLAKE3 hash that names a root, a page or a snapshot.
pub type Key = [u8; 32];

/// The key that a tree begins with.
pub fn root_key(identity: &[u8; 32], isolation: &str) -> Key {
    let mut hash = blake3::Hasher::new();
    hash.update(b"fathom root\0")
        .update(identity)
        .update(isolation.as_bytes());
    hash.finalize().into()
}

/// The key of the page with `ids` after the page (or root) `parent`.
pub fn page_key(parent: &Key, ids: &[u32]) -> Key {
    chain(b"fathom page\0", parent, ids)
}

/// The key of the snapshot `tail` tokens after the page (or root) `parent`; `tail` is shorter than a page.
pub fn snapshot_key(parent: &Key, tail: &[u32]) -> Key {
    chain(b"fathom snap\0", parent, tail)
}

fn chain(kind: &[u8; 12], parent: &Key, ids: &[u32]) -> Key {
    let mut hash = blake3::Hasher::new();
    hash.update(kind).update(parent);
    // In pieces through a small buffer: little-endian bytes without an allocation.
    let mut bytes = [0; 4 * 128];
    for ids in ids.chunks(128) {
        for (place, id) in bytes.chunks_exact_mut(4).zip(ids) {
            place.copy_from_slice(&id.to_le_bytes());
        }
        hash.update(&bytes[..4 * ids.len()]);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_every_part() {
        let root = root_key(&[1; 32], "a");
        let ids: Vec<u32> = (0..300).collect();
        let mut other = ids.clone();
        other[299] += 1;
        let keys = [
            root,
            root_key(&[2; 32], "a"),
            root_key(&[1; 32], "b"),
            page_key(&root, &ids),
            page_key(&root, &other),
            page_key(&root, &ids[..299]),
            page_key(&[0; 32], &ids),
            snapshot_key(&root, &ids),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[..i].iter().all(|b| a != b), "key {i} is not its own");
        }
    }

    #[test]
    fn chain_is_the_hash_of_the_parts_in_a_row() {
        let parent = [7; 32];
        let ids: Vec<u32> = (0..130).map(|i| i * 0x0101_0101).collect();
        let mut bytes = b"fathom page\0".to_vec();
        bytes.extend(parent);
        bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        assert_eq!(page_key(&parent, &ids), *blake3::hash(&bytes).as_bytes());
    }
}
