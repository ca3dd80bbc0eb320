//! Compares the running server with the one that should run: asks the service manager and the process itself,
//! never the records alone.

use super::{context::Context, event::Event};
use crate::domain::{
    activation::running::{Remedy, Runs},
    problem::Problem,
};

/// The running server. Unknown where nobody can be asked.
pub(super) fn runs(context: &mut Context, service: &str) -> Runs {
    let layout = context.layout().clone();
    context.service_manager.observe(service).runs(&layout).unwrap_or(Runs::Unknown)
}

/// The remedy for a wrong running server, if it is wrong.
pub(super) fn remedy(context: &mut Context, service: &str) -> Result<Option<Remedy>, Problem> {
    let runs = runs(context, service);
    Ok(runs.remedy(context.store.current()?, &context.store.returnable()?))
}

/// Warns of a wrong running server. Returns whether it is wrong.
pub(super) fn warn(context: &mut Context, service: &str) -> Result<bool, Problem> {
    let current = context.store.current()?;
    let Some(other) = runs(context, service).other_than(current) else { return Ok(false) };
    let should =
        current.map_or("nothing should".to_owned(), |current| format!("generation {current} should"));
    context.tell(Event::Warning(format!("generation {other} runs, and {should}")));
    Ok(true)
}
