//! Which systemd a test boots.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// The exit status of a script that cannot bring what it is to bring.
const CANNOT_BE_HAD: i32 = 77;

/// Which systemd a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Systemd {
    /// This machine's own.
    Own,
    /// That of Debian trixie, with its root: 257.
    Trixie,
}

impl Systemd {
    /// The options of the harness that boot it; nothing where it cannot be had.
    pub(crate) fn options(self) -> Option<Vec<(&'static str, String)>> {
        if self == Self::Own {
            return Some(Vec::new());
        }
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(repository.join("tests/systemd/get-systemd"))
            .arg(repository.join("target/systemd-257"))
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/systemd/get-systemd starts");
        if output.status.code() == Some(CANNOT_BE_HAD) {
            return None;
        }
        assert!(output.status.success(), "tests/systemd/get-systemd failed: {}", output.status);
        let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        // From this version on systemd refuses to boot on control groups of the first kind.
        Some(vec![("--root", root), ("--cgroup", "unified".to_owned())])
    }
}
