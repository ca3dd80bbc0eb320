//! Folders of half-made things.

use crate::host::os::fs;
use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

/// A directory of something half-made. Unless it was published it is removed when this is dropped: a copy
/// that ended on a full disk must not keep the disk full.
#[derive(Debug)]
pub struct StagingDir(PathBuf);

impl StagingDir {
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Deref for StagingDir {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        // A remainder is removed before the next attempt; there is nobody to tell now.
        let _left = fs::remove_tree(&self.0);
    }
}
