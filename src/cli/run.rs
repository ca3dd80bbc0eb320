//! Each command: calls its story, prints what it tells.

use super::{
    args::{Arguments, Command, Consent, Global, Validate},
    documents::{
        self, ActivationDocument, GenerationsDocument, LockDocument, PlanDocument, RecoveryDocument,
        StatusDocument, ValidationDocument, VerificationDocument,
    },
    evidence, generate, print, problem as errors,
    progress::Screen,
    rehearsal, render,
};
use crate::{
    domain::{
        activation::{End, GenerationId},
        facts::Facts,
        layout::Layout,
        problem::{Kind, Problem},
        profile::Gates,
        report::Verdict,
    },
    flow::{
        activate::Ended,
        check,
        deploy::deploy,
        event::Observer,
        lock,
        outcome::{Action, Outcome},
        prepare::{self, Prepared},
        profiles::Library,
        recover, rollback, status, supervise,
        world::{Engine, Keeper, World},
    },
    host::{engine, event_loop, fs, machine, signals::Interrupt, store::Store},
};
use dialoguer::Confirm;
use serde::Serialize;
use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

/// Where profiles are where there is no ./profiles.
const SYSTEM_PROFILES: &str = "/etc/awqdeploy";

/// Runs a command. Returns its exit status.
pub(crate) fn run(arguments: Arguments) -> Result<u8, Problem> {
    let Arguments { global, command } = arguments;
    let screen = Screen::new(global.progress);
    match command {
        Command::Plan { profile, facts } => plan(&global, &profile, facts.as_deref()),
        Command::Facts => facts(),
        Command::Deploy { profile, consent } => deploy_command(&global, &profile, &consent, &screen),
        Command::Rollback { target, consent } => rollback_command(&global, target, &consent, &screen),
        Command::Status => {
            let status = status::status(&mut reading_world(&global))?;
            let document = StatusDocument::of(global.root.clone(), status);
            show(&global, &document, render::status)
        }
        Command::Generations => {
            let document = GenerationsDocument::of(status::generations(&reading_world(&global))?);
            show(&global, &document, render::generations)
        }
        Command::Validate(request) => validate(&global, request, &screen),
        Command::Report { generation, html, markdown } => {
            evidence::report(&global, generation.map(GenerationId), html.as_deref(), markdown.as_deref())
        }
        Command::Compare { a, b } => evidence::compare(&global, [&a, &b]),
        Command::Verify { profile } => {
            let verified = check::verify(&interruptible(&global)?, profile.as_deref(), &screen)?;
            let document = VerificationDocument::of(&verified);
            show(&global, &document, render::verification)?;
            let whole = verified.differences.is_empty();
            Ok(if whole { 0 } else { errors::exit_code(Kind::Unverified) })
        }
        Command::Lock { profile, from } => {
            let locked = lock::lock(&interruptible(&global)?, &profile, from.as_deref(), &screen)?;
            let document = LockDocument::of(&profile, locked);
            show(&global, &document, |LockDocument { profile, digest, locked, .. }| {
                format!("{profile}: {} files locked as {}\n", locked.files.len(), digest.short())
            })
        }
        Command::Recover { boot } => recover_command(&global, boot, &screen),
        Command::Rehearse(request) => rehearsal::rehearse(&global, &request, &screen),
        Command::Completions { shell } => {
            print(&String::from_utf8_lossy(&generate::completions(shell)));
            Ok(0)
        }
        Command::Man => {
            let text = generate::manual().map_err(|e| Problem::doing("write the manual page", e))?;
            print(&String::from_utf8_lossy(&text));
            Ok(0)
        }
        Command::Supervise { die_with_parent } => {
            let parent =
                if die_with_parent { supervise::Parent::Followed } else { supervise::Parent::Ignored };
            let store = Store::new(layout(&global));
            event_loop()?.block_on(supervise::supervise(&store, parent)).map(|()| 0)
        }
        Command::Engine { arguments } => {
            let options = engine::Options::from_arguments(&arguments, |name| std::env::var(name).ok())?;
            event_loop()?.block_on(engine::run(options)).map(|()| 0)
        }
    }
}

fn plan(global: &Global, profile: &str, facts: Option<&Path>) -> Result<u8, Problem> {
    let world = world(global)?;
    let facts = match facts {
        Some(path) => read_facts(path)?,
        None => world.facts.clone(),
    };
    let planned = prepare::plan(&world, profile, &facts)?;
    let refusal = planned.as_ref().err().cloned();
    let document = PlanDocument::of(profile, planned);
    show(global, &document, render::plan)?;
    match refusal {
        None => Ok(0),
        // The document has said it all.
        Some(_) if global.json => Ok(errors::exit_code(Kind::Refused)),
        Some(refusal) => Err(refusal.into()),
    }
}

fn validate(global: &Global, request: Validate, screen: &Screen) -> Result<u8, Problem> {
    let interrupt = Interrupt::listen()?;
    let report = match &request.url {
        None => check::validate(&World { interrupt, ..reading_world(global) }, screen)?,
        Some(url) => {
            let gates = Gates {
                min_decode_tokens_per_second: request.min_decode_tokens_per_second,
                min_known_answers: request.min_known_answers,
                ..Gates::default()
            };
            let key = std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty());
            let server = check::Server { url: url.clone(), model: request.model, key, gates };
            check::validate_at(&server, &interrupt, screen)?
        }
    };
    screen.clear();
    let document = ValidationDocument::of(report, request.url);
    show(global, &document, render::validation)?;
    Ok(if document.verdict == Verdict::Pass { 0 } else { 6 })
}

fn facts() -> Result<u8, Problem> {
    let text =
        serde_json::to_string_pretty(&machine::facts()?).map_err(|e| Problem::doing("print the facts", e))?;
    print(&text);
    Ok(0)
}

/// The facts of a host, as `awqdeploy facts` printed them.
pub(super) fn read_facts(path: &Path) -> Result<Facts, Problem> {
    let text = fs::read(path)?
        .ok_or_else(|| Problem::new(Kind::Usage, format!("there is no file `{}`", path.display())))?;
    serde_json::from_str(&text).map_err(|e| {
        Problem::new(Kind::Usage, format!("`{}` does not hold a host's facts", path.display()))
            .because(e)
            .help("`awqdeploy facts > FILE` on that host writes them")
    })
}

fn deploy_command(global: &Global, profile: &str, consent: &Consent, screen: &Screen) -> Result<u8, Problem> {
    let done = (|| {
        let mut world = world(global)?;
        let prepared = prepare::prepare(&world, profile)?;
        if !global.json || consent.dry_run {
            show_prepared(global, &prepared)?;
        }
        if consent.dry_run {
            return Ok(None);
        }
        agree(consent, &format!("Deploy {profile}?"))?;
        deploy(&mut world, &prepared, screen).map(Some)
    })();
    screen.clear();
    conclude(global, Action::Deploy, profile, done)
}

fn rollback_command(
    global: &Global,
    target: Option<String>,
    consent: &Consent,
    screen: &Screen,
) -> Result<u8, Problem> {
    let target = match target {
        None => rollback::Target::Previous,
        Some(text) => match text.parse() {
            Ok(id) => rollback::Target::Generation(GenerationId(id)),
            Err(_) => rollback::Target::Profile(text),
        },
    };
    let mut world = interruptible(global)?;
    let to = rollback::find(&world.store, &target)?;
    let profile = to.plan.profile.clone();
    let question = format!("Roll back to {profile} (generation {})?", to.id);
    let done = (|| {
        if consent.dry_run {
            let document = PlanDocument::of(&profile, Ok(to.plan.clone()));
            show(global, &document, render::plan)?;
            return Ok(None);
        }
        agree(consent, &question)?;
        rollback::rollback(&mut world, &target, screen).map(Some)
    })();
    screen.clear();
    conclude(global, Action::Rollback, &profile, done)
}

fn recover_command(global: &Global, boot: bool, screen: &dyn Observer) -> Result<u8, Problem> {
    let mut world = reading_world(global);
    let ended = if boot {
        recover::recover_at_boot(&mut world, screen)?
    } else {
        recover::recover(&mut world, screen)?
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
    Ok(if matches!(end, Some(End::Stuck { .. })) { errors::exit_code(Kind::Stuck) } else { 0 })
}

/// Prints how it ended. What never became an activation is a document too, so that scripts need one form only.
fn conclude(
    global: &Global,
    action: Action,
    profile: &str,
    done: Result<Option<Outcome>, Problem>,
) -> Result<u8, Problem> {
    match done {
        Ok(None) => Ok(0),
        Ok(Some(outcome)) => {
            let document = ActivationDocument::of(&outcome);
            show(global, &document, render::activation)?;
            Ok(document.exit_code)
        }
        Err(problem) if global.json && problem.kind != Kind::Unexpected => {
            let code = errors::exit_code(problem.kind);
            let why = errors::one_line(&problem);
            let document = ActivationDocument::refused(action, profile, code, why, problem.help);
            show(global, &document, render::activation)?;
            Ok(code)
        }
        Err(problem) => Err(problem),
    }
}

/// Shows a plan, and what it changes in what serves.
fn show_prepared(global: &Global, prepared: &Prepared) -> Result<(), Problem> {
    let plan = &prepared.plan;
    let document = PlanDocument::of(&plan.profile, Ok(plan.clone()));
    show(global, &document, |document| {
        let shown = render::plan(document);
        match &prepared.current {
            None => shown + "nothing is deployed yet\n",
            Some(current) if current.plan == *plan => shown + "this is what is deployed already\n",
            Some(current) => {
                let head = format!("changes from generation {} ({})\n", current.id, current.plan.profile);
                let (old, new) = (render::command(&current.plan.serve), render::command(&plan.serve));
                shown + &head + &render::difference(&old, &new)
            }
        }
    })?;
    Ok(())
}

/// Asks a person at a terminal; anybody else must have said `--yes`.
fn agree(consent: &Consent, question: &str) -> Result<(), Problem> {
    if consent.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(
            Problem::new(Kind::Usage, "nobody is there to ask").help("say `--yes` to go on without asking")
        );
    }
    let not_agreed = Problem::new(Kind::Interrupted, "not agreed; nothing was changed");
    match Confirm::new().with_prompt(question).default(false).interact() {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_agreed),
        Err(dialoguer::Error::IO(e)) if e.kind() == std::io::ErrorKind::Interrupted => {
            // The question hid the cursor, and Ctrl-C left it so.
            let _closed = dialoguer::console::Term::stderr().show_cursor();
            Err(not_agreed)
        }
        Err(e) => Err(Problem::doing("ask", e)),
    }
}

pub(super) fn show<D: Serialize>(
    global: &Global,
    document: &D,
    text: impl FnOnce(&D) -> String,
) -> Result<u8, Problem> {
    if global.json {
        let json = serde_json::to_string_pretty(document).map_err(|e| Problem::doing("print JSON", e))?;
        print(&json);
    } else {
        let text = text(document);
        if !text.is_empty() {
            print(&text);
        }
    }
    Ok(0)
}

fn layout(global: &Global) -> Layout {
    // Units and links outlive the directory that this was called from.
    Layout::new(std::path::absolute(&global.root).unwrap_or_else(|_| global.root.clone()))
}

/// The host as it is, asked for everything that a plan needs.
fn world(global: &Global) -> Result<World, Problem> {
    let binary = std::env::current_exe().map_err(|e| Problem::doing("find this program's own file", e))?;
    Ok(World { facts: machine::facts()?, binary, ..interruptible(global)? })
}

/// The same for a long story, which a signal ends at a good place.
fn interruptible(global: &Global) -> Result<World, Problem> {
    Ok(World { interrupt: Interrupt::listen()?, ..reading_world(global) })
}

/// The host for a story that only reads, or that has decided everything before: nothing is asked of it.
pub(super) fn reading_world(global: &Global) -> World {
    World {
        store: Store::new(layout(global)),
        library: library(global),
        facts: Facts::default(),
        engine: Engine::Locked,
        interrupt: Interrupt::default(),
        binary: PathBuf::new(),
        keeper: Keeper::Systemd,
    }
}

pub(super) fn library(global: &Global) -> Library {
    let here = Path::new("profiles");
    match &global.profiles {
        Some(folder) => Library::at(folder.clone()),
        None if here.is_dir() => Library::at(here.to_owned()),
        None => Library::at(SYSTEM_PROFILES.into()),
    }
}
