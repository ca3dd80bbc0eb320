//! `apply`: prints what became of a declaration.

use crate::{
    cli::{
        args::{Apply, Global},
        context,
        documents::ActivationDocument,
        output,
        progress::Screen,
        render,
    },
    domain::{exit_status::ExitStatus, generation::declaration::Why, problem::Problem},
    flow::{
        activation::outcome::Action,
        context::Context,
        deploy::apply::{self, Applied, Declared},
        plan,
    },
};
use std::rc::Rc;

/// The status of a declaration that was rolled back, now or when it was tried.
const DOES_NOT_SERVE: ExitStatus = ExitStatus::Failed;

pub(crate) fn apply(global: &Global, request: Apply, screen: &Rc<Screen>) -> Result<ExitStatus, Problem> {
    let Apply { profile, fallback, units, estimate } = request;
    let declared = Declared { active: profile.clone(), fallback, units };
    let applied = (|| {
        let mut context = Context { estimates: estimate.into(), ..context::on_screen(global, screen)? };
        let prepare = |context: &_, name: &str| {
            let prepared = plan::prepare(context, name)?;
            if !global.json {
                super::show_prepared(global, &prepared)?;
            }
            Ok(prepared)
        };
        apply::apply(&mut context, &declared, &prepare)
    })();
    screen.clear();
    match applied {
        Ok(Applied::Deployed(outcome) | Applied::Unchanged(outcome)) => {
            super::conclude(global, Action::Deploy, &profile, Ok(Some(outcome)))
        }
        Ok(Applied::Stands(why)) => {
            let (why, help) = words(&profile, why);
            let document =
                ActivationDocument::refused(Action::Deploy, &profile, DOES_NOT_SERVE, why, Some(help));
            output::show(global, &document, render::activation)?;
            Ok(DOES_NOT_SERVE)
        }
        Err(problem) => super::conclude(global, Action::Deploy, &profile, Err(problem)),
    }
}

/// The reason in words, and the remedy.
fn words(profile: &str, why: Why) -> (String, String) {
    match why {
        Why::Failed(why) => (
            format!("`{profile}` was tried as it is declared, and was rolled back: {why}"),
            format!(
                "`awqdeploy why` has the evidence; declare something else, or try the same again: `awqdeploy deploy \
                 {profile} --retry`"
            ),
        ),
        Why::Replaced(serving) => (
            match serving {
                Some(serving) if serving == profile => {
                    format!("`{profile}` was deployed as it is declared, and another generation of it serves")
                }
                Some(serving) => format!("`{profile}` was deployed as it is declared, and `{serving}` serves"),
                None => format!("`{profile}` was deployed as it is declared, and nothing is deployed now"),
            },
            format!(
                "`awqdeploy history` tells what replaced it; declare the profile that serves, or deploy what is declared again: \
                 `awqdeploy deploy {profile}`"
            ),
        ),
        Why::HostWentDown => (
            format!("the host went down while `{profile}` was tried; it is not tried again at boot"),
            "`awqdeploy history` tells how far it was; the next `awqdeploy apply` tries it again, as the next switch of \
             the system does"
                .to_owned(),
        ),
    }
}
