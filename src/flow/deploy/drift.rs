//! Finds what somebody changed by hand in a deployment.

use crate::{
    domain::{generation::Generation, problem::Problem, service::unit},
    flow::context::Context,
};
use std::path::PathBuf;

/// A unit whose text is no longer what was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drift {
    /// The path of the file.
    pub(crate) path: PathBuf,
    /// The installed text.
    pub(crate) installed: String,
    /// The present text.
    pub(crate) found: String,
}

/// The units of the current generation whose files were changed. The next activation writes them anew.
pub(crate) fn drift(context: &mut Context) -> Result<Vec<Drift>, Problem> {
    let Some(Generation { plan, .. }) = context.store.current_generation()? else {
        return Ok(Vec::new());
    };
    let units = context.store.units(&plan)?;
    let mut services = context.service_manager.observe(&plan.service);
    let mut drifted = Vec::new();
    for unit in units {
        // A file that is gone is not overwritten, and a unit of somebody else is refused.
        match services.installed(&unit.name)? {
            Some((path, found)) if found != unit.text && unit::is_ours(&found) => {
                drifted.push(Drift { path, installed: unit.text, found });
            }
            _ => {}
        }
    }
    Ok(drifted)
}
