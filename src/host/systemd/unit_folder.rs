//! Where unit files go: into a plain folder, or beside `/etc/systemd/system` where NixOS declares what is in it.
//!
//! On NixOS a unit is what the system's configuration declares. awqdeploy's module declares ours, and says that they are
//! wanted at boot. Where what shall run has another text than what is declared (after a rollback, say), the text goes to
//! `system.control`, which systemd reads first and a reboot keeps; once both agree again it is removed.

use crate::{
    domain::{
        digest::Sha256Digest,
        problem::{Kind, Problem},
        service::unit::{self, Unit},
    },
    host::{os::fs, store::nix_store::StorePath},
};
use std::path::{Path, PathBuf};

/// What the name of an adopted unit's file ends in once ours has its place. systemd reads no such file.
const BY_HAND: &str = ".by-hand";

/// The folder that units are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitFolder {
    /// A plain folder.
    Plain(PathBuf),
    /// Units that NixOS declares, and the folder of those that deviate.
    Declared {
        /// Read-only.
        declared: PathBuf,
        /// Read first.
        control: PathBuf,
    },
}

impl UnitFolder {
    /// The folder at `units`, with `control` to go to where that is in the Nix store.
    pub fn at(units: &Path, control: &Path) -> Self {
        match StorePath::behind(units) {
            Some(_) => Self::Declared { declared: units.to_owned(), control: control.to_owned() },
            None => Self::Plain(units.to_owned()),
        }
    }

    /// A problem if one of these units is somebody else's, or cannot be started at boot. Changes nothing.
    ///
    /// # Errors
    /// [`Kind::Refused`].
    pub fn claim(&self, units: &[Unit]) -> Result<(), Problem> {
        for folder in self.all() {
            for unit in units {
                let path = folder.join(&unit.name);
                if fs::read(&path)?.is_some_and(|found| !unit::is_ours(&found) && !is_adopted(unit, &found)) {
                    return Err(foreign(&path));
                }
            }
        }
        match self {
            Self::Declared { declared, .. } => units.iter().try_for_each(|unit| wanted(declared, unit)),
            Self::Plain(_) => Ok(()),
        }
    }

    /// The file of this unit that placing it would overwrite, and its text. What NixOS declares is never overwritten.
    pub(crate) fn found(&self, unit: &str) -> Result<Option<(PathBuf, String)>, Problem> {
        let (Self::Plain(folder) | Self::Declared { control: folder, .. }) = self;
        let path = folder.join(unit);
        Ok(fs::read(&path)?.map(|text| (path, text)))
    }

    /// Writes these units. Returns whether anything changed.
    pub fn place(&self, units: &[Unit]) -> Result<bool, Problem> {
        let mut changed = false;
        for unit in units {
            let Unit { name, text, .. } = unit;
            let (folder, wanted) = match self {
                Self::Plain(folder) => (folder, true),
                Self::Declared { declared, control } => {
                    (control, fs::read(&declared.join(name))?.as_ref() != Some(text))
                }
            };
            let path = folder.join(name);
            let found = fs::read(&path)?;
            if wanted && found.as_ref() != Some(text) {
                if found.is_some_and(|found| is_adopted(unit, &found)) {
                    // Nowhere else: it may hold secrets, and keeps its mode.
                    let aside = folder.join(format!("{name}{BY_HAND}"));
                    fs::remove(&aside)?;
                    fs::link(&path, &aside)?;
                }
                fs::make_directory(folder)?;
                fs::write(&path, text)?;
                changed = true;
            } else if !wanted && found.is_some() {
                fs::remove(&path)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Whether systemd has to be told which units boot starts: NixOS declares that.
    pub fn enables(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn all(&self) -> Vec<&Path> {
        match self {
            Self::Plain(folder) => vec![folder],
            Self::Declared { declared, control } => vec![declared, control],
        }
    }
}

/// Whether this text of somebody else's is the one that this unit may replace.
fn is_adopted(unit: &Unit, found: &str) -> bool {
    unit.replaces == Some(Sha256Digest::of(found))
}

/// A unit that boot would not start is no deployment.
fn wanted(declared: &Path, unit: &Unit) -> Result<(), Problem> {
    if declared.join("multi-user.target.wants").join(&unit.name).symlink_metadata().is_ok() {
        return Ok(());
    }
    let what = format!("NixOS keeps `{}` read-only, and does not start `{}`", declared.display(), unit.name);
    Err(Problem::new(Kind::Refused, what).help(
        "import awqdeploy's module, set `services.awqdeploy` with a profile of this service, and `nixos-rebuild switch`",
    ))
}

/// A person's own unit is not overwritten: it may be the only record of how they served until now.
fn foreign(path: &Path) -> Problem {
    Problem::new(Kind::Refused, format!("`{}` was not made by awqdeploy", path.display()))
        .help(
            "keep it as the way back with `awqdeploy adopt UNIT`; or stop and disable it and move its file away; or give \
             the profiles another `service`",
        )
}
