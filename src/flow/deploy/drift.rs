//! What somebody changed by hand in what was deployed.

use crate::{
    domain::{generation::Generation, problem::Problem, service::unit},
    flow::context::World,
};
use std::path::PathBuf;

/// A unit whose text is no longer what was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drift {
    /// Its file.
    pub(crate) path: PathBuf,
    /// What was installed.
    pub(crate) installed: String,
    /// What is there now.
    pub(crate) found: String,
}

/// Every unit of what is current whose file was changed since. The next activation writes them anew.
pub(crate) fn drift(world: &mut World) -> Result<Vec<Drift>, Problem> {
    let Some(Generation { plan, .. }) = world.store.current_generation()? else {
        return Ok(Vec::new());
    };
    let units = world.store.units(&plan)?;
    let mut services = world.service_manager.observe(&plan.service);
    let mut drifted = Vec::new();
    for unit in units {
        // Of one that is gone nothing is overwritten, and one of somebody else's making is refused.
        match services.installed(&unit.name)? {
            Some((path, found)) if found != unit.text && unit::is_ours(&found) => {
                drifted.push(Drift { path, installed: unit.text, found });
            }
            _ => {}
        }
    }
    Ok(drifted)
}
