//! What a saved session's file holds beside tokens and state.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | number of logits, 0 or the vocabulary's size |
//! | 4 each | logits |
//! | 8 | number of earlier states |
//! | 16 each, and its bytes | position, number of bytes, the live state there |
//! | the rest | the caller's note |
//!
//! Numbers are little-endian.

use std::sync::Arc;

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Extra {
    /// Logits after the last token, if they are known.
    pub(super) logits: Vec<f32>,
    /// Live states at earlier positions.
    pub(super) earlier: Vec<(usize, Arc<[u8]>)>,
    pub(super) note: Vec<u8>,
}

impl Extra {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let put = |bytes: &mut Vec<u8>, number: usize| bytes.extend((number as u64).to_le_bytes());
        put(&mut bytes, self.logits.len());
        bytes.extend(self.logits.iter().flat_map(|logit| logit.to_le_bytes()));
        put(&mut bytes, self.earlier.len());
        for (position, live) in &self.earlier {
            put(&mut bytes, *position);
            put(&mut bytes, live.len());
            bytes.extend_from_slice(live);
        }
        bytes.extend_from_slice(&self.note);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` if it is something else. Nothing is larger than `bytes`.
    pub(super) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let count = number(&mut bytes)?;
        let logits = take(&mut bytes, count.checked_mul(4)?)?;
        let logits = logits
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| f32::from_le_bytes(bytes));
        let logits = logits.collect();
        let mut earlier = Vec::new();
        for _ in 0..number(&mut bytes)? {
            let (position, size) = (number(&mut bytes)?, number(&mut bytes)?);
            earlier.push((position, Arc::from(take(&mut bytes, size)?)));
        }
        Some(Self {
            logits,
            earlier,
            note: bytes.to_vec(),
        })
    }
}

fn number(bytes: &mut &[u8]) -> Option<usize> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    usize::try_from(u64::from_le_bytes(*number)).ok()
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_refused() {
        let extra = Extra {
            logits: vec![1.0, -0.5],
            earlier: vec![(7, Arc::from(&b"seven"[..])), (9, Arc::from(&b""[..]))],
            note: b"note".to_vec(),
        };
        let bytes = extra.to_bytes();
        assert_eq!(Extra::from_bytes(&bytes), Some(extra));
        let fixed = bytes.len() - b"note".len();
        for len in 0..fixed {
            assert_eq!(Extra::from_bytes(&bytes[..len]), None, "{len}");
        }
        assert_eq!(Extra::from_bytes(&[255; 64]), None);
        assert_eq!(Extra::from_bytes(&[0; 16]), Some(Extra::default()));
    }
}
