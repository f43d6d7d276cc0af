//! Standard output, and output files.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use tempfile::NamedTempFile;

/// Writes a whole report.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A file in the directory of `path`, to be renamed once it is complete: nobody ever sees half a result.
pub(crate) fn create_beside(path: &Path) -> anyhow::Result<NamedTempFile<File>> {
    if let Ok(metadata) = std::fs::metadata(path) {
        ensure!(
            metadata.is_file(),
            "{} exists and is no ordinary file; choose another output",
            path.display()
        );
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    ensure!(
        parent.is_dir(),
        "cannot write {}: {} is no directory. Create it first",
        path.display(),
        parent.display()
    );
    let mut builder = tempfile::Builder::new();
    builder.prefix(".fathom-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // What any new file gets, before the user's mask; temporary files are private otherwise.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(parent).with_context(|| {
        format!(
            "cannot write to {}, the directory of the output file",
            parent.display()
        )
    })
}
