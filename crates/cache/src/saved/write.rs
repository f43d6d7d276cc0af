//! Saving: into a temporary file beside the target, renamed once it is complete and on the medium.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::NamedTempFile;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    FIRST_PAGE_PART, HEADER, LIVE_PART, MAGIC, SaveError, TOKENS_PART, USER_PART, VERSION, part_sum,
};
use crate::Payload;

/// What makes up a session.
#[derive(Clone, Copy, Debug)]
pub struct ToSave<'a> {
    /// The model and numerics that computed it.
    pub identity: &'a [u8; 32],
    /// All its token ids.
    pub tokens: &'a [u32],
    /// Its complete pages, all of one length.
    pub pages: &'a [Payload],
    /// The rest of its state.
    pub live: &'a [u8],
    /// Whatever else the user keeps with it.
    pub user: &'a [u8],
}

/// Writes a session to `path`, replacing what is there. At no time is there half a file under that name; a new one can
/// be read by its owner alone.
pub fn write(path: &Path, session: &ToSave<'_>) -> Result<(), SaveError> {
    let expected = session.pages.first().map_or(0, |page| page.len());
    if let Some(index) = session.pages.iter().position(|page| page.len() != expected) {
        return Err(SaveError::PageSize {
            index,
            expected,
            found: session.pages[index].len(),
        });
    }
    write_file(path, session, expected).map_err(|error| SaveError::Write {
        path: path.to_owned(),
        error,
    })
}

fn write_file(path: &Path, session: &ToSave<'_>, page_bytes: usize) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = NamedTempFile::with_prefix_in(".fathom-", parent)?;
    let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());

    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..48].copy_from_slice(session.identity);
    let written = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs());
    let numbers = [
        session.tokens.len() as u64,
        session.pages.len() as u64,
        page_bytes as u64,
        session.live.len() as u64,
        session.user.len() as u64,
        written,
    ];
    for (place, number) in header[48..].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let sum = xxh3_64(&header[..120]);
    header[120..].copy_from_slice(&sum.to_le_bytes());
    out.write_all(&header)?;

    let tokens: Vec<u8> = session.tokens.iter().flat_map(|id| id.to_le_bytes()).collect();
    let small = [
        (USER_PART, session.user),
        (TOKENS_PART, &tokens),
        (LIVE_PART, session.live),
    ];
    let pages = session
        .pages
        .iter()
        .zip(FIRST_PAGE_PART..)
        .map(|(page, part)| (part, &**page));
    for (part, bytes) in small.into_iter().chain(pages) {
        out.write_all(bytes)?;
        out.write_all(&part_sum(sum, part, bytes))?;
    }
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The new name as well as the bytes; a file system that cannot do that loses nothing but the newest save.
    #[cfg(unix)]
    let _ = std::fs::File::open(parent).and_then(|parent| parent.sync_all());
    Ok(())
}
