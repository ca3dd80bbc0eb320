//! `logs`: the log of a generation's server, while it runs or after it has ended.

use super::history::history;
use crate::{
    domain::{
        activation::journal::{self, Period},
        generation_id::GenerationId,
        problem::{Kind, Problem},
    },
    flow::context::Context,
    host::systemd::service::Lines,
};

/// The source of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The service manager still has them.
    ServiceManager,
    /// This activation kept them as evidence.
    Kept(u64),
}

/// Passes on each line of a generation's log; by default of the current one.
pub fn logs(
    context: &mut Context,
    generation: Option<GenerationId>,
    wanted: Lines,
    said: &mut dyn FnMut(&str),
) -> Result<(GenerationId, Source), Problem> {
    let current = context.store.current()?;
    let id = match generation {
        Some(id) => id,
        None => context.store.deployed()?.id,
    };
    let plan = context.store.generation(id)?.plan;
    let recorded = history(context)?;
    let period = journal::served(recorded.iter().map(|recorded| recorded.journal.as_slice()), id);
    let serves = current == Some(id) && period.as_ref().is_none_or(|period| period.until.is_none());
    if serves {
        let period = period.unwrap_or_default();
        context.service_manager.observe(&plan.service).log(&period, wanted, said)?;
        return Ok((id, Source::ServiceManager));
    }
    if wanted == Lines::Follow {
        return Err(Problem::new(
            Kind::Usage,
            format!("generation {id} does not run: it will say nothing more"),
        )
        .help(format!("see what it said: `awqdeploy logs {id}`")));
    }
    let candidate = |to: GenerationId| to == id;
    let activation = recorded.iter().rfind(|recorded| recorded.last().is_some_and(|last| candidate(last.to)));
    if let Some(activation) = activation
        && let Some(log) = context.store.kept_log(activation.number)?
    {
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(wanted.at_most());
        lines[from..].iter().for_each(|line| said(line));
        return Ok((id, Source::Kept(activation.number)));
    }
    let Some(period) = period else {
        return Err(Problem::new(Kind::Usage, format!("generation {id} was never started"))
            .help("`awqdeploy history` lists all activations"));
    };
    let Period { from, until } = period;
    context.service_manager.observe(&plan.service).log(&Period { from, until }, wanted, said)?;
    Ok((id, Source::ServiceManager))
}
