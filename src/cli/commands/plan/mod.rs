//! `plan`, `facts` and `doctor`.

pub(super) mod init;
pub(super) mod units;

use crate::{
    cli::{
        args::{Global, PlanRequest},
        context::{self, layout, planning, read_facts},
        documents::{DoctorDocument, FactsDocument, PlanDocument},
        output::show,
        render,
        terminal::print_json,
    },
    domain::{exit_status::ExitStatus, planning::preflight::doctor, problem::Problem},
    flow::{
        context::Context,
        plan::{self, Decision, Weights},
    },
    host::{checkpoint::Presence, machine, os::trust, runtimes, vllm::link_probe},
};
use std::path::Path;

pub(crate) fn plan(global: &Global, request: &PlanRequest) -> Result<ExitStatus, Problem> {
    let PlanRequest { profile, facts, checkpoint, headers_only, ask_engine, estimate } = request;
    let presence = if *headers_only { Presence::Headers } else { Presence::Whole };
    let weights = checkpoint.as_deref().map_or(Weights::Known, |dir| Weights::In(dir, presence));
    let context = Context { estimates: (*estimate).into(), ..planning(global, facts.as_deref())? };
    let decide = if *ask_engine { plan::plan_with_consent } else { plan::plan };
    show_plan(global, profile, decide(&context, profile, weights)?)
}

fn show_plan(global: &Global, profile: &str, decision: Decision) -> Result<ExitStatus, Problem> {
    let refusal = decision.planned.as_ref().err().cloned();
    let document = PlanDocument {
        engine: decision.engine,
        readiness: Some(decision.readiness),
        ..PlanDocument::of(profile, decision.planned)
    };
    show(global, &document, render::plan::plan)?;
    match refusal {
        None => Ok(ExitStatus::Done),
        // The document says everything.
        Some(_) if global.json => Ok(ExitStatus::Refused),
        Some(refusal) => Err(refusal.into()),
    }
}

pub(crate) fn doctor(global: &Global, facts: Option<&Path>) -> Result<ExitStatus, Problem> {
    let own = || machine::facts(layout(global).scope());
    let findings = doctor::examine(&facts.map_or_else(own, read_facts)?);
    let code = if doctor::is_fatal(&findings) { ExitStatus::Refused } else { ExitStatus::Done };
    let document = DoctorDocument { schema: "awqdeploy/doctor/v1", findings };
    show(global, &document, |document| match document.findings.as_slice() {
        [] => "nothing is known to be wrong with this host\n".to_owned(),
        findings => render::plan::findings(findings),
    })?;
    Ok(code)
}

pub(crate) fn facts(global: &Global, probe: Option<&str>) -> Result<ExitStatus, Problem> {
    let mut facts = context::context(global)?.facts()?.clone();
    if let Some(python) = probe {
        let python = match python {
            "" => runtimes::any_python(&layout(global))?,
            python => python.to_owned(),
        };
        trust::believe_interpreter(Path::new(&python))?;
        facts = facts.with_rates(&link_probe::rates(&python, &layout(global))?)?;
    }
    let document = FactsDocument::of(facts);
    print_json(&document)?;
    Ok(ExitStatus::Done)
}
