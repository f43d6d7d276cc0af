//! Directories that have to be written to.

use std::path::Path;

/// Why files cannot be made in `dir`, which holds `what`; a directory that is not there yet must be possible to make.
pub(super) fn problem(dir: &Path, what: &str) -> Option<String> {
    let there = dir
        .ancestors()
        .find(|dir| dir.as_os_str().is_empty() || dir.exists())?;
    let there = if there.as_os_str().is_empty() {
        Path::new(".")
    } else {
        there
    };
    let error = if there.is_dir() {
        tempfile::tempfile_in(there).err()?.to_string()
    } else {
        format!("{} is no directory", there.display())
    };
    Some(format!(
        "cannot write {what} to {}: {error}. Choose another directory, or give this user the right to write there",
        dir.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_yet_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(problem(dir.path(), "states"), None);
        assert_eq!(problem(&dir.path().join("a/b"), "states"), None);
        assert_eq!(problem(Path::new("not-there"), "states"), None);
        std::fs::write(dir.path().join("file"), "").unwrap();
        let problem = problem(&dir.path().join("file/b"), "states").unwrap();
        assert!(
            problem.contains("file is no directory. Choose another"),
            "{problem}"
        );
        // Nothing is left behind.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
