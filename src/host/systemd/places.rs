//! The folders in which a service manager looks for units.

use super::{transport::Persistence, unit_folder::UnitFolder};
use crate::domain::{
    problem::{Kind, Problem},
    store::layout::Scope,
};
use rustix::{
    fs::{Access, access},
    io::Errno,
};
use std::{
    env,
    path::{Path, PathBuf},
};

/// The folders of unit files; these win over those of the distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The folder that a boot keeps.
    pub(super) lasting: PathBuf,
    /// The folder that a boot forgets.
    pub(super) runtime: PathBuf,
    /// The folder that a boot keeps and systemd reads first: for units that NixOS declares otherwise.
    pub(super) control: PathBuf,
}

impl Places {
    /// The folders by `systemd.unit(5)`.
    pub(super) fn of(scope: Scope) -> Self {
        match scope {
            Scope::System => Self {
                lasting: "/etc/systemd/system".into(),
                runtime: "/run/systemd/system".into(),
                control: "/etc/systemd/system.control".into(),
            },
            Scope::User => Self {
                lasting: configuration().join("systemd/user"),
                runtime: runtime().unwrap_or_default().join("systemd/user"),
                control: configuration().join("systemd/user.control"),
            },
        }
    }
}

impl Places {
    /// The folder for units: the lasting one, unless it is read-only. In the Nix store it always is, and boot
    /// starts what NixOS declares there.
    pub(super) fn writable(&self) -> (UnitFolder, Persistence) {
        match UnitFolder::at(&self.lasting, &self.control) {
            declared @ UnitFolder::Declared { .. } => (declared, Persistence::Always),
            plain @ UnitFolder::Plain(_) => match access(&self.lasting, Access::WRITE_OK) {
                Err(Errno::ROFS) => (UnitFolder::Plain(self.runtime.clone()), Persistence::UntilBoot),
                // Other faults show when the folder is written to.
                _ => (plain, Persistence::Always),
            },
        }
    }
}

/// `$XDG_CONFIG_HOME`.
fn configuration() -> PathBuf {
    let home = || env::home_dir().unwrap_or_default().join(".config");
    absolute("XDG_CONFIG_HOME").unwrap_or_else(home)
}

/// `$XDG_RUNTIME_DIR`.
pub(super) fn runtime() -> Option<PathBuf> {
    absolute("XDG_RUNTIME_DIR")
}

/// A variable of the XDG base directories; by their specification a relative path counts as none.
fn absolute(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// A problem where this user has no service manager.
pub(super) fn user_manager_runs() -> Result<(), Problem> {
    let runs = runtime().is_some_and(|folder| Path::new(&folder).join("systemd").is_dir());
    if runs {
        return Ok(());
    }
    Err(Problem::new(Kind::Usage, "this user has no service manager that runs").help(
        "log in as that user itself (`su` and `sudo` start none), or as root `loginctl enable-linger USER`; \
         `XDG_RUNTIME_DIR` must name its folder",
    ))
}
