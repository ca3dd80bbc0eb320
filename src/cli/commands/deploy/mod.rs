//! `deploy`, `rollback`, `follow`, `cancel` and `recover`.

pub(super) mod apply;
pub(super) mod service;

use crate::{
    cli::{
        args::{Consent, Global, Insistence},
        context::{context, on_screen},
        documents::{self, ActivationDocument, PlanDocument, RecoveryDocument},
        output::{agree, show},
        progress::Screen,
        render,
    },
    domain::{
        activation::machine::End,
        exit_status::ExitStatus,
        generation_id::GenerationId,
        problem::{Kind, Problem},
    },
    flow::{
        activation::{
            outcome::{Action, Ended, Outcome},
            recover,
        },
        context::Context,
        deploy::{
            self,
            drift::{self, Drift},
            rollback,
        },
        event::{Event, Observer},
        plan::{self, Prepared, Waiver},
    },
};
use std::{collections::BTreeSet, rc::Rc};

pub(crate) fn deploy(
    global: &Global,
    profile: &str,
    consent: &Consent,
    insistence: &Insistence,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    let done = (|| {
        let mut context = Context { estimates: insistence.estimate.into(), ..on_screen(global, screen)? };
        let mut prepared = plan::prepare(&context, profile)?;
        prepared.waived = waived(insistence);
        if !global.json || consent.dry_run {
            show_prepared(global, &prepared)?;
        }
        warn_of_drift(&mut context, screen)?;
        if consent.dry_run {
            return Ok(None);
        }
        agree(consent, &format!("Deploy {profile}?"))?;
        deploy::deploy(&mut context, &prepared).map(Some)
    })();
    screen.clear();
    conclude(global, Action::Deploy, profile, done)
}

fn waived(insistence: &Insistence) -> BTreeSet<Waiver> {
    [(insistence.retry, Waiver::Retry), (insistence.no_way_back, Waiver::NoWayBack)]
        .into_iter()
        .filter_map(|(waived, waiver)| waived.then_some(waiver))
        .collect()
}

pub(crate) fn rollback(
    global: &Global,
    target: Option<String>,
    consent: &Consent,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    let target = match target {
        None => rollback::Target::Previous,
        Some(text) => match text.parse() {
            Ok(id) => rollback::Target::Generation(GenerationId(id)),
            Err(_) => rollback::Target::Profile(text),
        },
    };
    // The host is not checked: a rollback must work whatever is wrong with it.
    let mut context = on_screen(global, screen)?;
    let to = rollback::find(&context.store, &target)?;
    let profile = to.plan.profile.clone();
    let question = format!("Roll back to {profile} (generation {})?", to.id);
    let done = (|| {
        if consent.dry_run {
            let document = PlanDocument::of(&profile, Ok(to.plan.clone()));
            show(global, &document, render::plan::plan)?;
            return Ok(None);
        }
        warn_of_drift(&mut context, screen)?;
        agree(consent, &question)?;
        rollback::rollback(&mut context, &target).map(Some)
    })();
    screen.clear();
    conclude(global, Action::Rollback, &profile, done)
}

/// Follows an activation; its exit status becomes this process's.
pub(crate) fn follow(
    global: &Global,
    story: impl FnOnce(&Context) -> Result<Outcome, Problem>,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    let outcome = story(&on_screen(global, screen)?)?;
    screen.clear();
    conclude(global, outcome.action, &outcome.profile.clone(), Ok(Some(outcome)))
}

/// Shows what a person wrote into a unit before it is overwritten.
fn warn_of_drift(context: &mut Context, screen: &Rc<Screen>) -> Result<(), Problem> {
    for Drift { path, installed, found } in drift::drift(context)? {
        let changes = render::changes(&installed, &found);
        let path = path.display();
        screen.see(Event::Warning(format!(
            "`{path}` was changed by hand, which is lost with this:\n{changes}"
        )));
    }
    Ok(())
}

pub(crate) fn recover(global: &Global, boot: bool, screen: &Rc<Screen>) -> Result<ExitStatus, Problem> {
    let ended = if boot {
        recover::recover_at_boot(&mut context(global)?.observed_by(screen.clone()))?
    } else {
        recover::recover(&mut on_screen(global, screen)?)?
    };
    let end = ended.as_ref().map(|ended| &ended.end);
    let document = RecoveryDocument {
        schema: "awqdeploy/recovery/v1",
        activation: ended.as_ref().map(|ended| ended.number),
        end: end.map(End::name),
        why: end.and_then(documents::why),
    };
    show(global, &document, |document| match (&ended, &document.why) {
        (None, _) => "there is nothing to recover\n".to_owned(),
        (Some(Ended { number, .. }), why) => {
            let why = why.as_deref().unwrap_or_default();
            format!("activation {number}: {} ({why})\n", document.end.unwrap_or_default())
        }
    })?;
    Ok(if matches!(end, Some(End::Stuck { .. })) { ExitStatus::Stuck } else { ExitStatus::Done })
}

/// Prints how it ended. A deployment without an activation prints a document too, so that scripts need one
/// form only.
pub(crate) fn conclude(
    global: &Global,
    action: Action,
    profile: &str,
    done: Result<Option<Outcome>, Problem>,
) -> Result<ExitStatus, Problem> {
    match done {
        Ok(None) => Ok(ExitStatus::Done),
        Ok(Some(outcome)) => {
            let document = ActivationDocument::of(&outcome);
            show(global, &document, |document| render::activation(document) + &render::evidence(document))?;
            Ok(outcome.conclusion().into())
        }
        Err(problem) if global.json && problem.kind != Kind::Unexpected => {
            let status = ExitStatus::from(problem.kind);
            let why = problem.in_one_line();
            let document = ActivationDocument::refused(action, profile, status, why, problem.help);
            show(global, &document, render::activation)?;
            Ok(status)
        }
        Err(problem) => Err(problem),
    }
}

/// Shows a plan, and the changes from the running one.
pub(crate) fn show_prepared(global: &Global, prepared: &Prepared) -> Result<(), Problem> {
    let plan = &prepared.plan;
    let document = PlanDocument::of(&plan.profile, Ok(plan.clone()));
    show(global, &document, |document| {
        let shown = render::plan::plan(document);
        match &prepared.current {
            None => shown + "nothing is deployed yet\n",
            Some(current) if current.plan == *plan => shown + "this is what is deployed already\n",
            Some(current) => {
                let head = format!("changes from generation {} ({})\n", current.id, current.plan.profile);
                let (old, new) = (render::serve(&current.plan.serve), render::serve(&plan.serve));
                shown + &head + &render::difference(&old, &new)
            }
        }
    })?;
    Ok(())
}
