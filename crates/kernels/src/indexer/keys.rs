//! Keys as integers.

use super::codes::{Kernel, MAX_EXPONENT, MAX_WIDTH, MAX_WORDS, MIN_EXPONENT, OFFSET, have_integers, power};
use crate::formats::e2m1::GROUP;
use crate::matmul;
use crate::pages::PagedRows;
use crate::rows::RowFormat;

/// Keys of a block.
pub(super) const KEYS: usize = 64;

/// Keys of a block that lie one after the other in memory, at least.
pub(super) const PART: usize = 16;
const PARTS: usize = KEYS / PART;

/// Keys ahead whose places in memory are looked up.
const PLACES_AHEAD: usize = 3 * KEYS;

/// Bytes of the widest key that has an integer form.
const MAX_BYTES: usize = MAX_WIDTH / 2 + MAX_WIDTH / GROUP;

/// Largest distance of a key's group exponents.
const MAX_SHIFT: u8 = 3;

/// E2M1 codes as integers, plus 16 to be positive.
pub(super) const TABLE: [u8; 16] = [16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4];

/// [`KEYS`] keys as unsigned integers, transposed: a word of each key, then the next word of each.
///
/// Of every eight elements, the first word has those with an even index and the second the others, as the nibbles of
/// four bytes lie.
#[repr(C, align(64))]
pub(super) struct KeyBlock {
    pub(super) codes: [[u32; KEYS]; MAX_WORDS],
    /// The power of two of a key's integers.
    pub(super) scales: [f32; KEYS],
    /// A bit for each key without an integer form; its codes and scale are meaningless.
    pub(super) irregular: u64,
}

impl KeyBlock {
    pub(super) fn new() -> Self {
        Self {
            codes: [[0; KEYS]; MAX_WORDS],
            scales: [0.0; KEYS],
            irregular: 0,
        }
    }

    /// Takes [`KEYS`] keys from `first` on, a multiple of them. Where there are fewer, the rest is any keys. Asks meanwhile
    /// for the keys after these to be brought into the cache.
    pub(super) fn load(&mut self, kernel: Kernel, keys: PagedRows<'_>, first: usize) {
        let (width, bytes) = (keys.format().width(), keys.format().bytes());
        look_up(keys, first + PLACES_AHEAD);
        if keys.rows_per_page().is_multiple_of(PART) {
            let (parts, next) = (parts(keys, first), parts(keys, first + KEYS));
            self.load_parts(kernel, &PackedKeys::new(parts, next, width));
        } else {
            let mut copy = [0; KEYS * MAX_BYTES];
            let seen = first..keys.len().min(first + KEYS);
            for (index, row) in seen.zip(copy.chunks_exact_mut(bytes)) {
                row.copy_from_slice(keys.packed(index));
            }
            let parts = std::array::from_fn(|part| &copy[part * PART * bytes..][..PART * bytes]);
            self.load_parts(kernel, &PackedKeys::new(parts, [&[]; PARTS], width));
        }
    }

    fn load_parts(&mut self, kernel: Kernel, rows: &PackedKeys<'_>) {
        match kernel {
            // SAFETY: `Kernel::of` found AVX-512 with VNNI.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => unsafe { super::avx512::load(self, rows) },
            // SAFETY: `Kernel::of` found AVX2.
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni | Kernel::Avx2 => unsafe { super::avx2::load(self, rows) },
            Kernel::Scalar => self.load_scalar(rows),
        }
    }

    fn load_scalar(&mut self, rows: &PackedKeys<'_>) {
        self.irregular = 0;
        for key in 0..KEYS {
            let (codes, exponents) = rows.key(key);
            let lowest = exponents.into_iter().fold(u8::MAX, u8::min);
            let regular = exponents.iter().all(|e| e - lowest <= MAX_SHIFT)
                && (MIN_EXPONENT..=MAX_EXPONENT).contains(&(lowest as u32));
            self.irregular |= (!regular as u64) << key;
            // Integers are twice the E2M1 values.
            self.scales[key] = power((lowest as u32).max(1) - 1);
            for (word, codes) in codes.chunks_exact(4).enumerate() {
                let shift = (exponents[word / 4] - lowest).min(MAX_SHIFT);
                let integers = |high: u32| {
                    u32::from_le_bytes(std::array::from_fn(|i| {
                        let value = TABLE[(codes[i] >> high & 15) as usize] as i32 - 16;
                        ((value << shift) + OFFSET) as u8
                    }))
                };
                self.codes[2 * word][key] = integers(0);
                self.codes[2 * word + 1][key] = integers(4);
            }
        }
    }
}

/// The [`PART`]s of [`KEYS`] keys from `first` on; in place of those that are not there, the last that is, or nothing.
fn parts(keys: PagedRows<'_>, first: usize) -> [&[u8]; PARTS] {
    let bytes = PART * keys.format().bytes();
    let mut parts = keys
        .runs(first..first + KEYS)
        .flat_map(|run| run.chunks_exact(bytes));
    let mut last = &[][..];
    std::array::from_fn(|_| {
        last = parts.next().unwrap_or(last);
        last
    })
}

/// Asks for the places of [`KEYS`] keys in memory to be looked up: lines that are asked for before their place is known
/// hold up everything after them.
fn look_up(keys: PagedRows<'_>, first: usize) {
    for run in keys.runs(first..first + KEYS) {
        matmul::prefetch(&run[..1]);
        matmul::prefetch(&run[run.len() - 1..]);
    }
}

/// [`KEYS`] packed rows in [`PART`]s, checked once.
pub(super) struct PackedKeys<'a> {
    parts: [&'a [u8]; PARTS],
    next: [&'a [u8]; PARTS],
    width: usize,
}

impl<'a> PackedKeys<'a> {
    /// Each part is [`PART`] rows. `next` are the keys after these.
    fn new(parts: [&'a [u8]; PARTS], next: [&'a [u8]; PARTS], width: usize) -> Self {
        let format = RowFormat::IndexKey { width };
        assert!(have_integers(format));
        let bytes = PART * format.bytes();
        assert!(parts.iter().all(|part| part.len() >= bytes));
        Self { parts, next, width }
    }

    /// Asks for a part of the keys after these. One at a time: the machine forgets what it is asked for too fast.
    #[inline]
    pub(super) fn prefetch_next(&self, part: usize) {
        matmul::prefetch(self.next[part]);
    }

    /// Row `first`, and as many rows of [`Self::stride`] bytes as there are to the next multiple of [`PART`].
    pub(super) fn from(&self, first: usize) -> *const u8 {
        self.parts[first / PART][first % PART * self.stride()..].as_ptr()
    }

    /// Bytes of a row: [`Self::groups`] times sixteen of codes, and as many of scales as there are groups.
    pub(super) fn stride(&self) -> usize {
        self.width / 2 + self.groups()
    }

    /// Groups of 32 elements, one to four.
    pub(super) fn groups(&self) -> usize {
        self.width / GROUP
    }

    /// Which of a row's last four bytes is each group's scale; what is missing from four groups repeats the last.
    pub(super) fn scale_order(&self) -> [u8; 4] {
        let first = 4 - self.groups() as u8;
        [0, 1, 2, 3].map(|group| (first + group).min(3))
    }

    /// A key's codes, and its groups' scale bytes.
    fn key(&self, key: usize) -> (&'a [u8], [u8; 4]) {
        let row = &self.parts[key / PART][key % PART * self.stride()..][..self.stride()];
        let last = &row[row.len() - 4..];
        (
            &row[..self.width / 2],
            self.scale_order().map(|i| last[i as usize]),
        )
    }
}
