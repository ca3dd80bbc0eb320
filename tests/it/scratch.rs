//! Folders that tests work in. They lie below `target/`: a test leaves nothing anywhere else.

use std::{io, path::Path, sync::Once};
use tempfile::TempDir;

/// Where they lie.
pub(crate) const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

/// A folder that goes with what is returned.
pub(crate) fn tempdir() -> io::Result<TempDir> {
    static ONCE: Once = Once::new();
    // The folders that the library makes by itself go there, too.
    ONCE.call_once(|| drop(tempfile::env::override_temp_dir(Path::new(SCRATCH))));
    tempfile::tempdir()
}
