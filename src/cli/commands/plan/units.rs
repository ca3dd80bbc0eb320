//! `units`: prints a profile's systemd units, for installation by other means, as on NixOS.

use crate::{
    cli::{
        args::{Global, UnitsRequest},
        context::planning,
        documents::units::{UnitText, UnitsDocument},
        output::show,
    },
    domain::{exit_status::ExitStatus, planning::plan::Plan, problem::Problem},
    flow::{
        context::Context,
        plan::{self, Weights},
    },
    host::{checkpoint::Presence, os::fs},
};

/// Prints the units that a deployment would install, or writes them into a folder.
pub(crate) fn units(global: &Global, request: &UnitsRequest) -> Result<ExitStatus, Problem> {
    let UnitsRequest { profile, facts, checkpoint, headers_only, output, estimate } = request;
    let presence = if *headers_only { Presence::Headers } else { Presence::Whole };
    let weights = checkpoint.as_deref().map_or(Weights::Published, |folder| Weights::In(folder, presence));
    let context = Context { estimates: (*estimate).into(), ..planning(global, facts.as_deref())? };
    let plan: Plan = plan::plan(&context, profile, weights)?.planned?;
    let units = plan.units(context.layout());
    if let Some(folder) = output {
        fs::make_directory(folder)?;
        return units
            .iter()
            .try_for_each(|unit| fs::write_new(&folder.join(&unit.name), &unit.text))
            .map(|()| ExitStatus::Done);
    }
    let units = units.into_iter().map(|unit| UnitText { name: unit.name, text: unit.text }).collect();
    let document = UnitsDocument { schema: "awqdeploy/units/v1", profile: plan.profile, units };
    show(global, &document, |document| {
        let shown = |unit: &UnitText| format!("# {}\n{}", unit.name, unit.text);
        document.units.iter().map(shown).collect::<Vec<_>>().join("\n")
    })
}
