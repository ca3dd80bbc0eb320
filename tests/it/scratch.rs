//! Folders that tests work in. They lie below `target/`: a test leaves nothing anywhere else.

use std::{
    io::{self, Write as _},
    path::Path,
    sync::Once,
};
use tempfile::TempDir;

/// Where they lie.
pub(crate) const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

/// A folder that goes with what is returned.
pub(crate) fn tempdir() -> io::Result<TempDir> {
    static ONCE: Once = Once::new();
    // What the library makes by itself goes there, too.
    ONCE.call_once(|| drop(tempfile::env::override_temp_dir(Path::new(SCRATCH))));
    tempfile::tempdir()
}

/// Says that a test tests nothing here, and why, whatever the harness keeps back. Where `AWQDEPLOY_NOTHING_SKIPPED` is
/// set, as CI does, that is a failure.
pub(crate) fn skipped(why: &str) {
    let _closed = writeln!(io::stderr(), "SKIPPED: {why}");
    assert!(std::env::var_os("AWQDEPLOY_NOTHING_SKIPPED").is_none(), "skipped: {why}");
}
