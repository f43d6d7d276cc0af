//! The bytes of a segment file: encoding, decoding, and finding the records again.

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use super::Kind;
use super::file::PositionedFile;
use crate::le::{array, u32_at, u64_at};
use crate::{Key, page_key, snapshot_key};

/// The format that this build writes and reads.
pub(super) const VERSION: u32 = 1;
/// Segment headers and records begin at multiples of this, so that headers can be found again after damage.
pub(super) const ALIGN: u64 = 64;
pub(super) const SEGMENT_HEADER: usize = 128;
pub(super) const SEGMENT_MAGIC: &[u8; 8] = b"FATHOMSG";
const RECORD_MAGIC: &[u8; 8] = b"FATHOMRC";
/// Fixed part of a record's header, before the token ids.
const RECORD_FIXED: usize = 128;
const STAMP: usize = 16;
/// More ids than any page has: a length beyond it is damage.
pub(super) const TOKENS_MAX: usize = 1 << 14;
/// More bytes than any page or snapshot has.
pub(super) const PAYLOAD_MAX: u64 = 1 << 30;
/// Room for a model's name in a segment header.
pub(super) const LABEL_MAX: usize = 56;
/// What is read, and hashed while it is still in the cache, at a time.
const CHUNK: usize = 256 << 10;

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) identity: [u8; 32],
    pub(super) created: u64,
    pub(super) label: String,
}

/// Why a file is not a segment that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadSegment {
    Torn,
    Foreign,
    Version,
    Checksum,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.identity);
        bytes[48..56].copy_from_slice(&self.created.to_le_bytes());
        let label = cut(&self.label, LABEL_MAX).as_bytes();
        bytes[56..56 + label.len()].copy_from_slice(label);
        let sum = xxh3_64(&bytes[..120]);
        bytes[120..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `bytes`: the beginning of a file, shorter than a header only if the file is.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadSegment> {
        let magic = bytes.len().min(8);
        if bytes[..magic] != SEGMENT_MAGIC[..magic] {
            return Err(BadSegment::Foreign);
        }
        if bytes.len() < SEGMENT_HEADER {
            return Err(BadSegment::Torn);
        }
        // The version comes first: another one may well have another checksum.
        if u32_at(bytes, 8) != VERSION {
            return Err(BadSegment::Version);
        }
        if u64_at(bytes, 120) != xxh3_64(&bytes[..120]) {
            return Err(BadSegment::Checksum);
        }
        let label = &bytes[56..112];
        let end = label.iter().position(|&byte| byte == 0).unwrap_or(label.len());
        Ok(Self {
            identity: array(&bytes[16..48]),
            created: u64_at(bytes, 48),
            label: String::from_utf8_lossy(&label[..end]).into_owned(),
        })
    }
}

/// What a record's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) position: u64,
    pub(super) payload: u64,
    pub(super) created: u64,
    pub(super) key: Key,
    pub(super) parent: Key,
    pub(super) sum: u128,
    pub(super) tokens: Vec<u32>,
}

/// The part of a record that changes in place. It has a small checksum of its own; without it, the record counts as never
/// used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Counts uses across the directory: the larger, the more recent.
    pub(super) tick: u64,
    /// Unix seconds of the last use.
    pub(super) used: u32,
    pub(super) pinned: bool,
    pub(super) dropped: bool,
}

/// A tick beyond this is damage.
const TICK_MAX: u64 = 1 << 60;

impl Stamp {
    pub(super) fn encode(&self) -> [u8; STAMP] {
        let mut bytes = [0; STAMP];
        bytes[..8].copy_from_slice(&self.tick.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.used.to_le_bytes());
        bytes[12] = u8::from(self.pinned);
        bytes[13] = u8::from(self.dropped);
        let check = stamp_check(&bytes);
        bytes[14..].copy_from_slice(&check);
        bytes
    }

    /// A damaged stamp counts as never used.
    fn decode(bytes: &[u8]) -> Self {
        if bytes[14..STAMP] != stamp_check(bytes) {
            return Self::default();
        }
        Self {
            tick: Some(u64_at(bytes, 0))
                .filter(|&tick| tick < TICK_MAX)
                .unwrap_or(0),
            used: u32_at(bytes, 8),
            pinned: bytes[12] == 1,
            dropped: bytes[13] == 1,
        }
    }
}

/// What the last two bytes of a stamp must be.
fn stamp_check(bytes: &[u8]) -> [u8; 2] {
    (xxh3_64(&bytes[..STAMP - 2]) as u16).to_le_bytes()
}

impl Header {
    /// Where the stamp lies, from the beginning of the record.
    pub(super) fn stamp_at(&self) -> u64 {
        (RECORD_FIXED + 4 * self.tokens.len() + 8) as u64
    }

    /// Where the payload lies, from the beginning of the record.
    pub(super) fn payload_at(&self) -> u64 {
        payload_at(self.tokens.len())
    }

    /// Bytes of the whole record, padding included.
    pub(super) fn record_bytes(&self) -> u64 {
        self.payload_at() + self.payload.next_multiple_of(ALIGN)
    }

    /// Everything before the payload. The checksum is seeded with the model's identity: a record that was moved into
    /// another model's segment does not pass.
    pub(super) fn encode(&self, stamp: Stamp, identity: &[u8; 32]) -> Vec<u8> {
        let mut bytes = vec![0; self.payload_at() as usize];
        bytes[..8].copy_from_slice(RECORD_MAGIC);
        bytes[8] = match self.kind {
            Kind::Page => 1,
            Kind::Snapshot => 2,
        };
        bytes[16..20].copy_from_slice(&(self.tokens.len() as u32).to_le_bytes());
        bytes[24..32].copy_from_slice(&self.position.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.payload.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.key);
        bytes[80..112].copy_from_slice(&self.parent);
        bytes[112..128].copy_from_slice(&self.sum.to_le_bytes());
        let ids = bytes[RECORD_FIXED..].chunks_exact_mut(4);
        for (place, id) in ids.zip(&self.tokens) {
            place.copy_from_slice(&id.to_le_bytes());
        }
        let covered = RECORD_FIXED + 4 * self.tokens.len();
        let sum = xxh3_64_with_seed(&bytes[..covered], seed(identity));
        bytes[covered..covered + 8].copy_from_slice(&sum.to_le_bytes());
        bytes[covered + 8..covered + 8 + STAMP].copy_from_slice(&stamp.encode());
        bytes
    }

    /// The header at the beginning of `bytes`.
    fn decode(bytes: &[u8], identity: &[u8; 32]) -> Result<(Self, Stamp), BadRecord> {
        let magic = bytes.len().min(8);
        if bytes[..magic] != RECORD_MAGIC[..magic] {
            return Err(BadRecord::Damaged);
        }
        if bytes.len() < RECORD_FIXED {
            return Err(BadRecord::Short { needed: RECORD_FIXED });
        }
        let tokens = u32_at(bytes, 16) as usize;
        if tokens > TOKENS_MAX {
            return Err(BadRecord::Damaged);
        }
        let covered = RECORD_FIXED + 4 * tokens;
        let needed = covered + 8 + STAMP;
        if bytes.len() < needed {
            return Err(BadRecord::Short { needed });
        }
        let kind = match bytes[8] {
            1 => Kind::Page,
            2 => Kind::Snapshot,
            _ => return Err(BadRecord::Damaged),
        };
        let payload = u64_at(bytes, 32);
        if u64_at(bytes, covered) != xxh3_64_with_seed(&bytes[..covered], seed(identity)) || payload > 1 << 48
        {
            return Err(BadRecord::Damaged);
        }
        let header = Self {
            kind,
            position: u64_at(bytes, 24),
            payload,
            created: u64_at(bytes, 40),
            key: array(&bytes[48..80]),
            parent: array(&bytes[80..112]),
            sum: u128::from_le_bytes(array(&bytes[112..128])),
            tokens: bytes[RECORD_FIXED..covered]
                .chunks_exact(4)
                .map(|id| u32::from_le_bytes(array(id)))
                .collect(),
        };
        Ok((header, Stamp::decode(&bytes[covered + 8..])))
    }

    /// Whether the key is the one that the ids and the parent give.
    fn key_is_right(&self) -> bool {
        self.position >= self.tokens.len() as u64
            && self.key
                == match self.kind {
                    Kind::Page => page_key(&self.parent, &self.tokens),
                    Kind::Snapshot => snapshot_key(&self.parent, &self.tokens),
                }
    }
}

enum BadRecord {
    /// The bytes end before the header does.
    Short {
        needed: usize,
    },
    Damaged,
}

/// Where the payload of a record with so many ids lies.
fn payload_at(tokens: usize) -> u64 {
    ((RECORD_FIXED + 4 * tokens + 8 + STAMP) as u64).next_multiple_of(ALIGN)
}

/// The checksum of a payload. It is seeded with the record's key: a sound payload under another record's header does
/// not pass.
pub(super) fn payload_sum(key: &Key, payload: &[u8]) -> u128 {
    let mut hash = Xxh3::with_seed(seed(key));
    hash.update(payload);
    hash.digest128()
}

/// Reads a payload into `into`. `false`: its checksum is wrong.
pub(super) fn read_payload(
    file: &PositionedFile,
    at: u64,
    key: &Key,
    sum: u128,
    into: &mut [u8],
) -> std::io::Result<bool> {
    let mut hash = Xxh3::with_seed(seed(key));
    let mut at = at;
    // Hashed piece by piece while the processor's cache still holds it.
    for piece in into.chunks_mut(CHUNK) {
        file.read_exact_at(piece, at)?;
        hash.update(piece);
        at += piece.len() as u64;
    }
    Ok(hash.digest128() == sum)
}

/// A record as it was found in a segment.
pub(super) struct Found {
    pub(super) at: u64,
    pub(super) header: Header,
    pub(super) stamp: Stamp,
}

/// What walking through a segment found.
pub(super) struct Walk {
    pub(super) found: Vec<Found>,
    /// Records cut off by the end of the file, in their padding at least: 0 or 1.
    pub(super) torn: u64,
    /// Stretches with damaged headers.
    pub(super) damaged: u64,
    /// Headers that are sound but whose key does not follow from their ids.
    pub(super) misnamed: u64,
    /// The last record ends exactly where the file does: more may be appended.
    pub(super) clean: bool,
}

/// Finds the records of a segment of `len` bytes. Nothing in it is believed that a checksum does not cover.
pub(super) fn walk(file: &PositionedFile, len: u64, identity: &[u8; 32]) -> std::io::Result<Walk> {
    let mut walk = Walk {
        found: Vec::new(),
        torn: 0,
        damaged: 0,
        misnamed: 0,
        clean: false,
    };
    let mut window = Window::new(file, len);
    let mut at = SEGMENT_HEADER as u64;
    while at < len {
        let (header, stamp) = match window.header(at, identity)? {
            Ok(found) => found,
            Err(BadRecord::Short { .. }) => {
                // Cut off in its header, or a damaged length that reaches beyond the file.
                let Some(next) = window.next_header(at, identity)? else {
                    walk.torn += 1;
                    return Ok(walk);
                };
                walk.damaged += 1;
                at = next;
                continue;
            }
            Err(BadRecord::Damaged) => {
                walk.damaged += 1;
                match window.next_header(at, identity)? {
                    Some(next) => at = next,
                    None => return Ok(walk),
                }
                continue;
            }
        };
        if at + header.payload_at() + header.payload > len {
            walk.torn += 1;
            return Ok(walk);
        }
        let end = at + header.record_bytes();
        if header.key_is_right() {
            walk.found.push(Found { at, header, stamp });
        } else {
            walk.misnamed += 1;
        }
        at = end;
    }
    // Padding is written with its record: without it, the file was cut off there, whatever came after.
    walk.torn += u64::from(at > len);
    walk.clean = at == len && walk.damaged == 0;
    Ok(walk)
}

/// A stretch of a file in memory: headers are small and far apart, or (after damage) searched for everywhere.
struct Window<'a> {
    file: &'a PositionedFile,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

/// One read finds the header of a page of 128 tokens.
const HEADER_READ: usize = 704;

impl<'a> Window<'a> {
    fn new(file: &'a PositionedFile, len: u64) -> Self {
        Self {
            file,
            len,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// The file's bytes from `at`, `want` of them or as many as it has.
    fn bytes(&mut self, at: u64, want: usize, ahead: usize) -> std::io::Result<&[u8]> {
        let want = (want as u64).min(self.len - at) as usize;
        let held = self.start + self.bytes.len() as u64;
        if at < self.start || at + want as u64 > held {
            let read = (want.max(ahead) as u64).min(self.len - at) as usize;
            self.bytes.resize(read, 0);
            self.start = at;
            if let Err(error) = self.file.read_exact_at(&mut self.bytes, at) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let from = (at - self.start) as usize;
        Ok(&self.bytes[from..from + want])
    }

    fn header(
        &mut self,
        at: u64,
        identity: &[u8; 32],
    ) -> std::io::Result<Result<(Header, Stamp), BadRecord>> {
        let mut want = HEADER_READ;
        loop {
            let bytes = self.bytes(at, want, want)?;
            match Header::decode(bytes, identity) {
                Err(BadRecord::Short { needed }) if bytes.len() == want && needed > want => want = needed,
                other => return Ok(other),
            }
        }
    }

    /// The next sound header after `at`.
    fn next_header(&mut self, at: u64, identity: &[u8; 32]) -> std::io::Result<Option<u64>> {
        let mut at = (at + 1).next_multiple_of(ALIGN);
        while at < self.len {
            let bytes = self.bytes(at, ALIGN as usize, CHUNK)?;
            if bytes.starts_with(RECORD_MAGIC) && self.header(at, identity)?.is_ok() {
                return Ok(Some(at));
            }
            at += ALIGN;
        }
        Ok(None)
    }
}

fn seed(bytes: &[u8; 32]) -> u64 {
    u64_at(bytes, 0)
}

/// The longest beginning of `text` that takes at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
