//! What happens to files when a process dies or a disk goes bad.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fathom_synthetic::Random;

/// Does something bad to one of the files in and below the directory. Says what.
pub(crate) fn damage(dir: &Path, random: &mut Random) -> io::Result<String> {
    let files = files(dir)?;
    let Some(path) = files.get(random.below(files.len())) else {
        return Ok("nothing to damage".to_owned());
    };
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut bytes = fs::read(path)?;
    let what = match random.below(6) {
        0 | 1 => {
            let len = random.below(bytes.len() + 1);
            bytes.truncate(len);
            fs::write(path, bytes)?;
            format!("cut to {len} bytes")
        }
        2 => {
            let count = random.between(1, 5);
            for _ in 0..count {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            fs::write(path, bytes)?;
            format!("{count} bits flipped")
        }
        // Blocks that never reached the disk read as zeros.
        3 => {
            let from = random.below(bytes.len());
            let len = random.below(8_192).min(bytes.len() - from);
            bytes[from..from + len].fill(0);
            fs::write(path, bytes)?;
            format!("{len} bytes zeroed at {from}")
        }
        4 => {
            let garbage: Vec<u8> = (0..random.between(1, 300))
                .map(|_| random.next_u64() as u8)
                .collect();
            OpenOptions::new().append(true).open(path)?.write_all(&garbage)?;
            format!("{} bytes of garbage appended", garbage.len())
        }
        _ => {
            fs::remove_file(path)?;
            "removed".to_owned()
        }
    };
    Ok(format!("{name} {what}"))
}

/// Segments of the cache and saved sessions, by name.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.append(&mut self::files(&path)?);
        } else if path.file_name().is_none_or(|name| name != "lock") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
