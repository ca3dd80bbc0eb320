//! `rehearse`: prints the rehearsal.

use crate::{
    cli::{
        args::{Global, Rehearse, Story as Kind},
        context,
        documents::{
            ActivationDocument,
            rehearsal::{ActDocument, RehearsalDocument},
        },
        library,
        progress::Screen,
        render,
        terminal::{BAD, BOLD, GOOD, print, print_json, print_wrapped},
    },
    domain::{exit_status::ExitStatus, machine::facts::Facts, problem::Problem},
    flow::{
        activation::outcome::Action,
        busy::Busy,
        event::Observer,
        rehearse::{self, Act, Candidate, RehearsalFault, Request, Story},
    },
    host::{os::signals::Interrupt, profiles::ProfileLibrary},
};
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    rc::Rc,
};

/// Runs a rehearsal and prints it. The exit status tells whether it ended as it should.
pub(crate) fn rehearse(
    global: &Global,
    request: &Rehearse,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    if request.list_faults {
        let mut list = String::new();
        for fault in RehearsalFault::all() {
            let _ = writeln!(list, "{:<14} {}", fault.to_string(), fault.about());
        }
        print(&list);
        return Ok(ExitStatus::Done);
    }
    let fault = request.fault.as_deref().map(str::parse::<RehearsalFault>).transpose()?;
    let facts = match &request.facts {
        Some(path) => context::read_facts(path)?,
        None => {
            serde_json::from_str(Facts::EXAMPLE).map_err(|e| Problem::doing("read the example's facts", e))?
        }
    };
    // The shipped profiles are in the program: nothing need be installed.
    let library = library_of(global, request);
    let binary = std::env::current_exe().map_err(|e| Problem::doing("find this program's own file", e))?;
    let story = rehearse::rehearse(
        &Request {
            from: request.from.clone(),
            to: match request.story {
                Kind::Migration => Candidate::Named(request.to.clone()),
                Kind::Upgrade => Candidate::Upgraded,
            },
            fault,
            facts,
            estimates: request.estimate.into(),
            library,
            binary,
            interrupt: Interrupt::listen()?,
            keep: request.keep.as_deref().map(absolute).transpose()?,
        },
        &(screen.clone() as Rc<dyn Observer>),
    )?;
    screen.clear();
    let busy = story.busy;
    let document = tell(story, fault);
    if global.json {
        print_json(&document)?;
    } else {
        print_wrapped(&shown(&document, request.story, busy));
    }
    Ok(match (document.interrupted, document.as_it_should) {
        (true, _) => ExitStatus::Interrupted,
        (false, true) => ExitStatus::Done,
        (false, false) => ExitStatus::Unexpected,
    })
}

/// As said; else the folder that others take, if it has both; else those that came with the program.
fn library_of(global: &Global, request: &Rehearse) -> ProfileLibrary {
    let found = library::library(global);
    let names = found.names().unwrap_or_default();
    let has = |wanted: &String| names.contains(wanted) || wanted.contains('/');
    if global.profiles.is_some()
        || (has(&request.from) && (request.story == Kind::Upgrade || has(&request.to)))
    {
        found
    } else {
        ProfileLibrary::embedded()
    }
}

fn tell(story: Story, fault: Option<RehearsalFault>) -> RehearsalDocument {
    RehearsalDocument {
        schema: "awqdeploy/rehearsal/v1",
        acts: story.acts.into_iter().map(act).collect(),
        serving: story.serving,
        fault: fault.map(|fault| fault.to_string()),
        as_it_should: story.as_it_should,
        interrupted: story.interrupted,
    }
}

fn act(Act { profile, outcome, took }: Act) -> ActDocument {
    let activation = match outcome {
        Ok(outcome) => ActivationDocument::of(&outcome),
        Err(problem) => {
            let (code, why) = (problem.kind.into(), problem.in_one_line());
            ActivationDocument::refused(Action::Deploy, &profile, code, why, problem.help)
        }
    };
    ActDocument { activation, seconds: took.as_secs_f64() }
}

fn shown(document: &RehearsalDocument, story: Kind, busy: Option<Busy>) -> String {
    let mut out =
        format!("\n{BOLD}What happened{BOLD:#} (embedded engine and supervisor; no GPU was used)\n");
    for (number, act) in document.acts.iter().enumerate() {
        let _ = write!(out, "{}. {}", number + 1, render::activation(&act.activation));
        let _ = writeln!(out, "   exit status {}, after {:.1} s", act.activation.exit_code, act.seconds);
    }
    let change = match story {
        Kind::Migration => "migration",
        Kind::Upgrade => "upgrade",
    };
    let serving = document.serving.as_deref().unwrap_or("nothing");
    let _ = match (document.as_it_should, &document.fault) {
        (true, None) => writeln!(out, "{GOOD}{serving} serves{GOOD:#}: the {change} works."),
        (true, Some(fault)) => writeln!(
            out,
            "{GOOD}{serving} serves{GOOD:#}: with the fault `{fault}` the {change} rolls back safely."
        ),
        (false, _) if document.interrupted => {
            writeln!(out, "{BAD}{serving} serves{BAD:#}: the rehearsal was interrupted.")
        }
        // The shipped profiles notice every fault. A person's own may not, and the rehearsal shows it.
        (false, Some(fault)) if document.acts.last().is_some_and(|act| act.activation.end == "committed") => {
            writeln!(
                out,
                "{BAD}{serving} serves{BAD:#}: its profile's `[validation]` does not notice the fault `{fault}`."
            )
        }
        (false, _) if busy.is_some() => writeln!(
            out,
            "{BAD}{serving} serves{BAD:#}: this host is too busy to tell how the story ends: {}. Try again when it is \
             calmer.",
            busy.map_or_else(String::new, |busy| busy.to_string())
        ),
        (false, _) => writeln!(out, "{BAD}{serving} serves: this is not how the story should end.{BAD:#}"),
    };
    out
}

/// The absolute path, for a link to a kept folder.
fn absolute(path: &Path) -> Result<PathBuf, Problem> {
    std::path::absolute(path).map_err(|e| Problem::doing(format_args!("find `{}`", path.display()), e))
}
