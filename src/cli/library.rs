//! Which folder the profiles are taken from, and how that is said.

use super::{
    args::{Command, Global},
    progress::Screen,
};
use crate::{
    domain::{problem::Problem, store::trust::Owner},
    host::{os::trust, profiles::ProfileLibrary},
};
use std::path::PathBuf;

/// In the working directory.
const HERE: &str = "profiles";

/// The profiles that a command reads.
pub(super) fn library(global: &Global) -> ProfileLibrary {
    ProfileLibrary::at(folder(global))
}

/// Where they are: as said, else in the working directory, else in their own place. Root's own place comes first:
/// what lies where root happens to work is rarely root's.
pub(super) fn folder(global: &Global) -> PathBuf {
    if let Some(said) = &global.profiles {
        return said.clone();
    }
    let (here, own) = (PathBuf::from(HERE), global.own_profiles());
    let order = if trust::is_root() { [&own, &here] } else { [&here, &own] };
    order.into_iter().find(|folder| folder.is_dir()).unwrap_or(&own).clone()
}

/// Says which folder is taken where nobody said it, and whose it is where it is neither root's nor ours.
///
/// # Errors
/// Where root is not to believe it.
pub(super) fn announce(global: &Global, command: &Command, screen: &Screen) -> Result<(), Problem> {
    if !command.reads_profiles() {
        return Ok(());
    }
    let folder = folder(global);
    let whose = trust::believe_as_root(&folder)?;
    let shown = std::path::absolute(&folder).unwrap_or(folder);
    let shown = shown.display();
    match whose {
        Some(Owner::Callers { caller }) => {
            screen
                .remark(format!("profiles of `{shown}`, which user {caller}, who called `sudo`, can change"));
        }
        Some(Owner::Own) if global.profiles.is_none() => screen.remark(format!("profiles of `{shown}`")),
        Some(Owner::Own) | None => {}
    }
    Ok(())
}
