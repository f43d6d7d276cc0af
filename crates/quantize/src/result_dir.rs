//! The result's directory: under a temporary name until everything in it is complete.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fathom_checkpoint::{Checkpoint, INDEX_FILE, Quantization};
use tempfile::TempDir;

use crate::error::QuantizeError;

const CONFIG_FILE: &str = "config.json";

/// Files beside the weights that are larger are not part of a checkpoint.
const SIDE_FILE_BYTES_MAX: u64 = 256 << 20;

/// A directory that will be called `path`. Dropped before [`finish`](Self::finish), it goes without a trace.
pub struct ResultDir {
    dir: TempDir,
    path: PathBuf,
}

impl ResultDir {
    /// Makes one beside `path`, which must not exist or be an empty directory, if `needed` bytes fit there.
    pub fn create(path: &Path, needed: u64) -> Result<Self, QuantizeError> {
        let exists = || QuantizeError::Exists {
            path: path.to_owned(),
        };
        match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => return Err(exists()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Err(exists()),
            Err(source) => return Err(QuantizeError::io(path)(source)),
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        if !parent.is_dir() || path.file_name().is_none() {
            return Err(QuantizeError::NoParent {
                path: path.to_owned(),
                parent: parent.to_owned(),
            });
        }
        if let Some(available) = free_bytes(parent)
            && available < needed
        {
            return Err(QuantizeError::DiskFull {
                path: path.to_owned(),
                needed,
                available,
            });
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".fathom-quantize-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // What any new directory gets, before the user's mask; temporary ones are private otherwise.
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        let dir = builder.tempdir_in(parent).map_err(QuantizeError::io(parent))?;
        Ok(Self {
            dir,
            path: path.to_owned(),
        })
    }

    /// Where the files go for now.
    pub fn temporary_path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes the configuration, with a record of the quantisation, and copies every file that is neither weights nor
    /// hidden: tokenizer, generation settings, licence, and the encoder that tells releases apart.
    pub fn write_side_files(
        &self,
        source: &Checkpoint,
        quantization: Quantization,
    ) -> Result<(), QuantizeError> {
        let mut config = source.config().raw.clone();
        config[Quantization::KEY] = Quantization {
            profile: Some(source.profile().name),
            ..quantization
        }
        .to_json();
        self.write(CONFIG_FILE, &format!("{config:#}\n"))?;
        let Some(from) = source.directory() else {
            return Ok(());
        };
        self.copy_files(from, Path::new(""))?;
        let encoding = Path::new("encoding");
        if from.join(encoding).is_dir() {
            let to = self.dir.path().join(encoding);
            fs::create_dir(&to).map_err(QuantizeError::io(&to))?;
            self.copy_files(from, encoding)?;
        }
        Ok(())
    }

    fn copy_files(&self, from: &Path, below: &Path) -> Result<(), QuantizeError> {
        let dir = from.join(below);
        for entry in fs::read_dir(&dir).map_err(QuantizeError::io(&dir))? {
            let entry = entry.map_err(QuantizeError::io(&dir))?;
            let path = entry.path();
            // Following links: caches of model hubs consist of them.
            let metadata = fs::metadata(&path).map_err(QuantizeError::io(&path))?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            let is_weights = path
                .extension()
                .is_some_and(|extension| extension == "safetensors");
            let is_ours = text == CONFIG_FILE || text == INDEX_FILE || text.starts_with("fathom-quantize.");
            let is_side_file = metadata.is_file() && metadata.len() <= SIDE_FILE_BYTES_MAX;
            if is_side_file && !is_weights && !is_ours && !text.starts_with('.') {
                let to = self.dir.path().join(below).join(&name);
                fs::copy(&path, &to).map_err(QuantizeError::io(&to))?;
            }
        }
        Ok(())
    }

    /// Writes a small file.
    pub fn write(&self, name: &str, text: &str) -> Result<(), QuantizeError> {
        let path = self.dir.path().join(name);
        fs::write(&path, text).map_err(QuantizeError::io(path))
    }

    /// Gives the directory its name.
    pub fn finish(self) -> Result<(), QuantizeError> {
        // Fails if anything appeared there meanwhile; an empty directory is replaced.
        match fs::remove_dir(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => return Err(QuantizeError::Exists { path: self.path }),
        }
        fs::rename(self.dir.path(), &self.path).map_err(QuantizeError::io(&self.path))?;
        // Its name is gone: nothing to clean up.
        let _ = self.dir.keep();
        Ok(())
    }
}

/// Free bytes for ordinary users where `dir` lies; `None` where the system does not tell.
fn free_bytes(dir: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let stat = rustix::fs::statvfs(dir).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = dir;
        None
    }
}
