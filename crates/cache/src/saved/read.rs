//! Reading a saved session back.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    FIRST_PAGE_PART, HEADER, LIVE_PART, LoadError, MAGIC, SUM, TOKENS_PART, USER_PART, VERSION, part_sum,
};
use crate::Payload;
use crate::le::{array, u32_at, u64_at};

/// A saved session whose state has not been read yet.
#[derive(Debug)]
pub struct Saved {
    /// The model and numerics that computed it.
    pub identity: [u8; 32],
    /// All its token ids.
    pub tokens: Vec<u32>,
    /// What the user kept with it.
    pub user: Vec<u8>,
    /// When it was written, Unix seconds.
    pub written: u64,
    rest: Rest,
}

/// The state of a session after all its tokens.
#[derive(Debug)]
pub struct SavedState {
    /// Its complete pages.
    pub pages: Vec<Payload>,
    /// The rest.
    pub live: Vec<u8>,
}

/// The file behind the ids.
#[derive(Debug)]
struct Rest {
    path: PathBuf,
    file: File,
    sum: u64,
    pages: u64,
    page_bytes: u64,
    live: u64,
}

/// Reads all but the state of the session in `path`. Memory and time are bounded by the file's size.
pub fn read(path: &Path) -> Result<Saved, LoadError> {
    let failed = |error: io::Error| LoadError::Read {
        path: path.to_owned(),
        error,
    };
    let mut file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    let mut header = Vec::with_capacity(HEADER);
    (&mut file)
        .take(HEADER as u64)
        .read_to_end(&mut header)
        .map_err(failed)?;
    if !header.starts_with(MAGIC) {
        return Err(LoadError::Foreign {
            path: path.to_owned(),
        });
    }
    let length = |expected: u64| LoadError::Length {
        path: path.to_owned(),
        expected,
        found,
    };
    if header.len() < HEADER {
        return Err(length(HEADER as u64));
    }
    let version = u32_at(&header, 8);
    if version != VERSION {
        return Err(LoadError::Version {
            path: path.to_owned(),
            expected: VERSION,
            found: version,
        });
    }
    let sum = u64_at(&header, 120);
    if sum != xxh3_64(&header[..120]) {
        return Err(LoadError::Damaged {
            path: path.to_owned(),
            part: "header".to_owned(),
        });
    }
    let [tokens, pages, page_bytes, live, user, written] =
        std::array::from_fn(|i| u64_at(&header, 48 + 8 * i));
    // Whoever computes checksums may write any number: sums saturate, and nothing is allocated before they fit the file.
    let expected = [
        HEADER as u64,
        user.saturating_add(SUM as u64),
        tokens.saturating_mul(4).saturating_add(SUM as u64),
        live.saturating_add(SUM as u64),
        pages.saturating_mul(page_bytes.saturating_add(SUM as u64)),
    ]
    .into_iter()
    .fold(0, u64::saturating_add);
    if expected != found {
        return Err(length(expected));
    }
    let mut rest = Rest {
        path: path.to_owned(),
        file,
        sum,
        pages,
        page_bytes,
        live,
    };
    let user = rest.part(USER_PART, user, || "user data".to_owned())?;
    let ids = rest.part(TOKENS_PART, 4 * tokens, || "token ids".to_owned())?;
    Ok(Saved {
        identity: array(&header[16..48]),
        tokens: ids
            .chunks_exact(4)
            .map(|id| u32::from_le_bytes(array(id)))
            .collect(),
        user,
        written,
        rest,
    })
}

impl Saved {
    /// Reads the state, which only the model of `identity` can go on with.
    pub fn state(mut self, identity: &[u8; 32]) -> Result<SavedState, LoadError> {
        if self.identity != *identity {
            return Err(LoadError::OtherModel {
                path: self.rest.path,
                expected: *identity,
                found: self.identity,
            });
        }
        let live = self
            .rest
            .part(LIVE_PART, self.rest.live, || "live state".to_owned())?;
        let pages = (0..self.rest.pages)
            .map(|page| {
                let bytes = self.rest.part(FIRST_PAGE_PART + page, self.rest.page_bytes, || {
                    format!("page {page}")
                })?;
                Ok(Payload::from(bytes))
            })
            .collect::<Result<_, LoadError>>()?;
        Ok(SavedState { pages, live })
    }
}

impl Rest {
    /// The next part of the file.
    fn part(&mut self, part: u64, bytes: u64, name: impl FnOnce() -> String) -> Result<Vec<u8>, LoadError> {
        let mut read = Vec::with_capacity(bytes as usize + SUM);
        let result = (&mut self.file).take(bytes + SUM as u64).read_to_end(&mut read);
        if let Err(error) = result {
            return Err(LoadError::Read {
                path: self.path.clone(),
                error,
            });
        }
        // Shorter only if the file shrank meanwhile.
        let sound = read.len() as u64 == bytes + SUM as u64 && {
            let (content, sum) = read.split_at(bytes as usize);
            part_sum(self.sum, part, content) == *sum
        };
        if !sound {
            return Err(LoadError::Damaged {
                path: self.path.clone(),
                part: name(),
            });
        }
        read.truncate(bytes as usize);
        Ok(read)
    }
}
