//! Writes unit files: into a plain folder, or beside `/etc/systemd/system` where NixOS declares its contents.
//!
//! On NixOS a unit is what the system's configuration declares. awqdeploy's module declares ours, and says
//! that they are wanted at boot. A unit that differs from the declared one (after a rollback, say) goes to
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

/// The suffix of an adopted unit's file once ours has its place. systemd reads no such file.
const BY_HAND: &str = ".by-hand";

/// The folder for units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitFolder {
    /// A plain folder.
    Plain(PathBuf),
    /// Units that NixOS declares, and the folder of those that deviate.
    Declared {
        /// The read-only folder of declared units.
        declared: PathBuf,
        /// The folder that systemd reads first.
        control: PathBuf,
    },
}

impl UnitFolder {
    /// The folder at `units`, or `control` where that is in the Nix store.
    pub fn at(units: &Path, control: &Path) -> Self {
        match StorePath::behind(units) {
            Some(_) => Self::Declared { declared: units.to_owned(), control: control.to_owned() },
            None => Self::Plain(units.to_owned()),
        }
    }

    /// A problem if one of these units is somebody else's, or boot would not start it. Changes nothing.
    ///
    /// # Errors
    /// [`Kind::Refused`].
    pub fn claim(&self, units: &[Unit]) -> Result<(), Problem> {
        for folder in self.all() {
            for unit in units {
                let path = folder.join(&unit.name);
                if text(&path)?.is_some_and(|found| !unit::is_ours(&found) && !is_adopted(unit, &found)) {
                    return Err(foreign(&path));
                }
            }
        }
        match self {
            Self::Declared { declared, .. } => units.iter().try_for_each(|unit| wanted(declared, unit)),
            Self::Plain(_) => Ok(()),
        }
    }

    /// The file of this unit that placing it would overwrite, and its text. A declared unit is never
    /// overwritten.
    pub(crate) fn found(&self, unit: &str) -> Result<Option<(PathBuf, String)>, Problem> {
        let (Self::Plain(folder) | Self::Declared { control: folder, .. }) = self;
        let path = folder.join(unit);
        Ok(text(&path)?.map(|text| (path, text)))
    }

    /// Writes these units. Returns whether anything changed.
    pub fn place(&self, units: &[Unit]) -> Result<bool, Problem> {
        let mut changed = false;
        for unit in units {
            let Unit { name, text, .. } = unit;
            let (folder, wanted) = match self {
                Self::Plain(folder) => (folder, true),
                Self::Declared { declared, control } => {
                    (control, self::text(&declared.join(name))?.as_ref() != Some(text))
                }
            };
            let path = folder.join(name);
            let found = self::text(&path)?;
            if wanted && found.as_ref() != Some(text) {
                if found.is_some_and(|found| is_adopted(unit, &found)) {
                    // In the same folder: it may hold secrets, and keeps its mode.
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

    /// Whether systemd has to be told which units boot starts. On NixOS the configuration does that.
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

/// The text of a unit's file. One that is damaged is another than ours, and is written anew.
fn text(path: &Path) -> Result<Option<String>, Problem> {
    fs::read_damaged(path)
}

/// Whether this unit may replace this text of somebody else's.
fn is_adopted(unit: &Unit, found: &str) -> bool {
    unit.replaces == Some(Sha256Digest::of(found))
}

/// A problem with a unit that boot would not start.
fn wanted(declared: &Path, unit: &Unit) -> Result<(), Problem> {
    if declared.join("multi-user.target.wants").join(&unit.name).symlink_metadata().is_ok() {
        return Ok(());
    }
    let what = format!("NixOS keeps `{}` read-only, and does not start `{}`", declared.display(), unit.name);
    Err(Problem::new(Kind::Refused, what).help(
        "import awqdeploy's module, set `services.awqdeploy` with a profile of this service, and `nixos-rebuild switch`",
    ))
}

/// The problem of a person's own unit. It is not overwritten: it may be the only record of their server.
fn foreign(path: &Path) -> Problem {
    Problem::new(Kind::Refused, format!("`{}` was not made by awqdeploy", path.display()))
        .help(
            "keep it as the rollback target with `awqdeploy adopt UNIT`; or stop and disable it and move its file away; or give \
             the profiles another `service`",
        )
}
