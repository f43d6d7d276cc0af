//! A bounded memory of what was evicted, so that a later miss can say so.

use crate::Key;

/// Fingerprints in a table where a newer one takes the place of an older one. It only explains: a wrong answer (two keys
/// with one fingerprint, or one that was overwritten) names the wrong reason for a miss and changes nothing else.
#[derive(Debug)]
pub(super) struct Evicted {
    slots: Box<[u64]>,
}

impl Evicted {
    /// A table that takes about 1/4096 of `ram_bytes`, between 512 bytes and 512 KiB.
    pub(super) fn new(ram_bytes: u64) -> Evicted {
        let slots = (ram_bytes / 4096 / 8).clamp(64, 1 << 16).next_power_of_two();
        Evicted {
            slots: vec![0; slots as usize].into(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        8 * self.slots.len() as u64
    }

    pub(super) fn remember(&mut self, key: &Key) {
        let print = fingerprint(key);
        let slot = self.slot(print);
        self.slots[slot] = print;
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        let print = fingerprint(key);
        self.slots[self.slot(print)] == print
    }

    fn slot(&self, print: u64) -> usize {
        // The low bit is used up by `fingerprint`.
        (print >> 1) as usize & (self.slots.len() - 1)
    }
}

/// 64 bits of a key, never 0, which marks an empty slot.
pub(super) fn fingerprint(key: &Key) -> u64 {
    u64::from_le_bytes([key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7]]) | 1
}
