//! The commands: each calls its story, and prints the result.

mod adopt;
pub(crate) mod deploy;
mod generate;
pub(crate) mod inspect;
mod models;
mod plan;
mod rehearse;
mod validate;

use super::{
    args::{Arguments, Command},
    documents::schema,
    library,
    progress::{Screen, Verbosity},
};
use crate::{
    domain::{exit_status::ExitStatus, problem::Problem},
    flow::activation::follow,
    host::models::Sharing,
};
use std::rc::Rc;

/// Runs a command. Returns its exit status.
pub(crate) fn run(arguments: Arguments) -> Result<ExitStatus, Problem> {
    let Arguments { global, command } = arguments;
    let verbosity = if global.verbose { Verbosity::Each } else { Verbosity::Short };
    let screen = Rc::new(Screen::new(global.progress, verbosity));
    library::announce(&global, &command, &screen)?;
    match command {
        Command::Init(request) => plan::init::init(&global, &request, &screen),
        Command::Plan(request) => plan::plan(&global, &request),
        Command::Facts { probe } => plan::facts(&global, probe.as_deref()),
        Command::Doctor { facts } => plan::doctor(&global, facts.as_deref()),
        Command::Profiles => inspect::profiles::profiles(&global),
        Command::Deploy { profile, consent, insistence } => {
            deploy::deploy(&global, &profile, &consent, &insistence, &screen)
        }
        Command::Apply(request) => deploy::apply::apply(&global, request, &screen),
        Command::Adopt(request) => adopt::adopt(&global, request, &screen),
        Command::Rollback { target, consent } => deploy::rollback(&global, target, &consent, &screen),
        Command::Status => inspect::status(&global),
        Command::Generations => inspect::generations(&global),
        Command::History => inspect::history(&global),
        Command::Why { generation } => inspect::why(&global, generation, &screen),
        Command::Logs(request) => inspect::lookup::logs(&global, &request),
        Command::Diff { a, b } => inspect::lookup::diff(&global, [&a, &b]),
        Command::Validate(request) => validate::validate(&global, request, &screen),
        Command::Report(request) => inspect::evidence::report(&global, &request),
        Command::Compare { a, b } => inspect::evidence::compare(&global, [&a, &b], &screen),
        Command::Verify(request) => models::store::verify(&global, request, &screen),
        Command::Gc { dry_run } => models::store::gc(&global, dry_run),
        Command::Pin { generation } => models::store::pin(&global, generation),
        Command::Unpin { generation } => models::store::unpin(&global, generation),
        Command::Export { profile, folder, copy } => {
            let sharing = if copy { Sharing::Never } else { Sharing::WithStore };
            models::store::export(&global, &profile, &folder, sharing, &screen)
        }
        Command::Lock(request) => models::lock(&global, &request, &screen),
        Command::Fetch { profile, offline, download } => {
            models::fetch(&global, &profile, offline, download, &screen)
        }
        Command::Recover { boot } => deploy::recover(&global, boot, &screen),
        Command::Rehearse(request) => rehearse::rehearse(&global, &request, &screen),
        Command::Completions { shell } => {
            generate::completions(shell);
            Ok(ExitStatus::Done)
        }
        Command::Schema { document } => schema::schema(document.as_deref()),
        Command::Units(request) => plan::units::units(&global, &request),
        Command::Man => generate::manual(),
        Command::Follow => deploy::follow(&global, follow::follow_newest, &screen),
        Command::Cancel => deploy::follow(&global, follow::cancel, &screen),
        Command::Activate { number, rest } => deploy::service::activate(&global, number, rest, &screen),
        Command::Tally { what } => deploy::service::tally(&global, what),
        Command::Fallback => deploy::service::fallback(&global, &screen),
        Command::Supervise { owner } => deploy::service::supervise(&global, owner),
        Command::Engine { arguments } => deploy::service::engine(&arguments),
    }
}
