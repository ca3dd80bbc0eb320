//! The commands: each calls its story, and prints the result.

mod adopt;
mod apply;
pub(crate) mod deploy;
mod evidence;
mod generate;
mod history;
mod init;
mod inspect;
mod lookup;
mod models;
mod plan;
mod profiles;
mod rehearse;
mod service;
mod store;
mod units;
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

/// Runs a command. Returns its exit status.
pub(crate) fn run(arguments: Arguments) -> Result<ExitStatus, Problem> {
    let Arguments { global, command } = arguments;
    let screen =
        Screen::new(global.progress, if global.verbose { Verbosity::Each } else { Verbosity::Short });
    library::announce(&global, &command, &screen)?;
    match command {
        Command::Init(request) => init::init(&global, &request, &screen),
        Command::Plan(request) => plan::plan(&global, &request),
        Command::Facts { probe } => plan::facts(&global, probe.as_deref()),
        Command::Doctor { facts } => plan::doctor(&global, facts.as_deref()),
        Command::Profiles => profiles::profiles(&global),
        Command::Deploy { profile: Some(profile), consent, insistence } => {
            deploy::deploy(&global, &profile, &consent, &insistence, &screen)
        }
        Command::Deploy { profile: None, .. } => Err(profiles::none_named(&global, "deploy")),
        Command::Apply(request) => apply::apply(&global, request, &screen),
        Command::Adopt(request) => adopt::adopt(&global, request, &screen),
        Command::Rollback { target, consent } => deploy::rollback(&global, target, &consent, &screen),
        Command::Status => inspect::status(&global),
        Command::Generations => inspect::generations(&global),
        Command::History => inspect::history(&global),
        Command::Why { generation } => inspect::why(&global, generation, &screen),
        Command::Logs(request) => lookup::logs(&global, &request),
        Command::Diff { a, b } => lookup::diff(&global, [&a, &b]),
        Command::Validate(request) => validate::validate(&global, request, &screen),
        Command::Report(request) => evidence::report(&global, &request),
        Command::Compare { a, b } => evidence::compare(&global, [&a, &b], &screen),
        Command::Verify(request) => store::verify(&global, request, &screen),
        Command::Gc { dry_run } => store::gc(&global, dry_run),
        Command::Pin { generation } => store::pin(&global, generation),
        Command::Unpin { generation } => store::unpin(&global, generation),
        Command::Export { profile, folder, copy } => {
            let sharing = if copy { Sharing::Never } else { Sharing::WithStore };
            store::export(&global, &profile, &folder, sharing, &screen)
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
        Command::Units(request) => units::units(&global, &request),
        Command::Man => generate::manual(),
        Command::Follow => deploy::follow(&global, follow::follow_newest, &screen),
        Command::Cancel => deploy::follow(&global, follow::cancel, &screen),
        Command::Activate { number, rest } => service::activate(&global, number, rest, &screen),
        Command::Tally { what } => service::tally(&global, what),
        Command::Fallback => service::fallback(&global, &screen),
        Command::Supervise { owner } => service::supervise(&global, owner),
        Command::Engine { arguments } => service::engine(&arguments),
    }
}
