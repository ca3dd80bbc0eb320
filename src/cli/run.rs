//! Each command: calls its story, prints what it tells.

use super::{
    adopt, apply,
    args::{Arguments, Command, Consent, Global, Insistence, Validate},
    documents::{
        self, ActivationDocument, CollectDocument, DoctorDocument, FactsDocument, GenerationsDocument,
        PlanDocument, RecoveryDocument, StatusDocument, ValidationDocument,
    },
    evidence, generate, history as told,
    ink::{inked, print, print_json},
    lookup, planned, problem as errors,
    progress::Screen,
    rehearsal, render, schema, service, shelf, supply, units,
    verified::{self, VerifyDocument},
};
use crate::{
    domain::{
        activation::End,
        doctor,
        facts::Facts,
        generation_id::GenerationId,
        layout::Layout,
        problem::{Kind, Problem},
        profile::Gates,
        report::Verdict,
        secrets::SecretText,
    },
    flow::{
        check,
        collect::{self, Mode},
        conduct::Part,
        deploy::deploy,
        drift::{self, Drift},
        event::{Event, Observer},
        experience, export, follow, history,
        outcome::{Action, Ended, Outcome},
        prepare::{self, Decision, Prepared, Waiver, Weights},
        recover, rollback, status,
        verify::{self, Damaged, Which},
        world::{Carrier, Engine, Keeper, World},
    },
    host::{
        checkpoint::Presence, engine, event_loop, fs, hub::Reach, link_probe, machine, repair::PieceSource,
        runtimes, signals::Interrupt, store::Store, trust,
    },
};
use dialoguer::Confirm;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    io::IsTerminal,
    path::{Path, PathBuf},
};

/// Runs a command. Returns its exit status.
pub(crate) fn run(arguments: Arguments) -> Result<u8, Problem> {
    let Arguments { global, command } = arguments;
    let screen = Screen::new(global.progress);
    shelf::announce(&global, &command, &screen)?;
    match command {
        Command::Plan { profile, facts, checkpoint, headers_only, ask_engine } => {
            let presence = if headers_only { Presence::Headers } else { Presence::Whole };
            let weights = checkpoint.as_deref().map_or(Weights::Known, |dir| Weights::In(dir, presence));
            let world = interruptible(&global)?;
            let facts = facts_of(&global, facts.as_deref())?;
            let decide = if ask_engine { prepare::plan_with_consent } else { prepare::plan };
            show_plan(&global, &profile, decide(&world, &profile, &facts, weights)?)
        }
        Command::Facts { probe } => facts(&global, probe.as_deref()),
        Command::Doctor { facts } => doctor_command(&global, facts.as_deref()),
        Command::Deploy { profile, consent, insistence } => {
            deploy_command(&global, &profile, &consent, &insistence, &screen)
        }
        Command::Apply(request) => apply::apply(&global, request, &screen),
        Command::Adopt(request) => adopt::adopt(&global, request, &screen),
        Command::Rollback { target, consent } => rollback_command(&global, target, &consent, &screen),
        Command::Status => {
            let status = status::status(&mut reading_world(&global))?;
            let document = StatusDocument::of(global.root(), status);
            show(&global, &document, render::status)
        }
        Command::Generations => {
            let document = GenerationsDocument::of(status::generations(&reading_world(&global))?);
            show(&global, &document, render::generations)
        }
        Command::History => {
            let history = history::history(&reading_world(&global))?;
            show(&global, &told::HistoryDocument::of(&history), told::history)
        }
        Command::Why { generation } => {
            let why = history::why(&reading_world(&global), generation.map(GenerationId), &screen)?;
            show(&global, &told::WhyDocument::of(why), told::why)
        }
        Command::Logs(request) => lookup::logs(&global, &request),
        Command::Diff { a, b } => lookup::diff(&global, [&a, &b]),
        Command::Validate(request) => validate(&global, request, &screen),
        Command::Report(request) => evidence::report(&global, &request),
        Command::Compare { a, b } => evidence::compare(&global, [&a, &b], &screen),
        Command::Verify { profile, all, repair } => {
            let world = interruptible(&global)?;
            let hub = if repair { supply::pieces(&world, profile.as_deref(), &screen) } else { None };
            let which = match profile {
                Some(profile) => Which::Profile(profile),
                None if all => Which::All,
                None => Which::Current,
            };
            let hub = hub.as_ref().map(|hub| hub as &dyn PieceSource);
            let damaged = if repair { Damaged::Repaired(hub.as_slice()) } else { Damaged::Told };
            let verified = verify::verify(&world, &which, damaged, &screen)?;
            show(&global, &VerifyDocument::of(&verified), verified::verification)?;
            Ok(if verified.is_clean() { 0 } else { errors::exit_code(Kind::Unverified) })
        }
        Command::Collect { dry_run } => {
            let mode = if dry_run { Mode::Look } else { Mode::Free };
            let collected = collect::collect(&reading_world(&global), mode)?;
            show(&global, &CollectDocument::of(collected, mode), render::collection)
        }
        Command::Pin { generation } => {
            collect::pin(&reading_world(&global), GenerationId(generation)).map(|()| 0)
        }
        Command::Unpin { generation } => {
            collect::unpin(&reading_world(&global), GenerationId(generation)).map(|()| 0)
        }
        Command::Export { profile, folder } => {
            let files = export::export(&interruptible(&global)?, &profile, &folder, &screen)?;
            print(&format!("{profile}: {files} files in {}\n", folder.display()));
            Ok(0)
        }
        Command::Lock(request) => supply::lock(&global, &request, &screen),
        Command::Fetch { profile, offline } => {
            let reach = if offline { Reach::Offline } else { Reach::Online };
            supply::fetch(&global, &profile, reach, &screen)
        }
        Command::Recover { boot } => recover_command(&global, boot, &screen),
        Command::Rehearse(request) => rehearsal::rehearse(&global, &request, &screen),
        Command::Completions { shell } => {
            print(&String::from_utf8_lossy(&generate::completions(shell)));
            Ok(0)
        }
        Command::Schema { document } => schema::schema(document.as_deref()),
        Command::Units(request) => units::units(&global, &request),
        Command::Man => manual(),
        Command::Watch => watch_command(&global, follow::watch, &screen),
        Command::Cancel => watch_command(&global, follow::cancel, &screen),
        Command::Activate { number, rest } => {
            service::activate(&global, number, if rest { Part::Rest } else { Part::Whole }, &screen)
        }
        Command::Tally { what } => service::tally(&global, what),
        Command::Fallback => service::fallback(&global, &screen),
        Command::Supervise { owner } => service::supervise(&global, owner),
        Command::Engine { arguments } => {
            let options = engine::Options::from_arguments(&arguments, |name| std::env::var(name).ok())?;
            event_loop()?.block_on(engine::run(options)).map(|()| 0)
        }
    }
}

fn manual() -> Result<u8, Problem> {
    let text = generate::manual().map_err(|e| Problem::doing("write the manual page", e))?;
    print(&String::from_utf8_lossy(&text));
    Ok(0)
}

fn show_plan(global: &Global, profile: &str, decision: Decision) -> Result<u8, Problem> {
    let refusal = decision.planned.as_ref().err().cloned();
    let document = PlanDocument { engine: decision.engine, ..PlanDocument::of(profile, decision.planned) };
    show(global, &document, planned::plan)?;
    match refusal {
        None => Ok(0),
        // The document has said it all.
        Some(_) if global.json => Ok(errors::exit_code(Kind::Refused)),
        Some(refusal) => Err(refusal.into()),
    }
}

fn doctor_command(global: &Global, facts: Option<&Path>) -> Result<u8, Problem> {
    let own = || machine::facts(layout(global).scope());
    let findings = doctor::examine(&facts.map_or_else(own, read_facts)?);
    let code = if doctor::is_fatal(&findings) { errors::exit_code(Kind::Refused) } else { 0 };
    let document = DoctorDocument { schema: "awqdeploy/doctor/v1", findings };
    show(global, &document, |document| match document.findings.as_slice() {
        [] => "nothing is known to be wrong with this host\n".to_owned(),
        findings => planned::findings(findings),
    })?;
    Ok(code)
}

/// The facts in this file, or this host's.
pub(super) fn facts_of(global: &Global, path: Option<&Path>) -> Result<Facts, Problem> {
    path.map_or_else(|| own_facts(global), read_facts)
}

/// This host's facts, and what its generations have shown.
fn own_facts(global: &Global) -> Result<Facts, Problem> {
    Ok(Facts {
        experience: experience::of(&Store::new(layout(global)))?,
        ..machine::facts(layout(global).scope())?
    })
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
            let key = key.map(|key| SecretText::of(&key)).transpose().map_err(|fault| {
                Problem::new(Kind::Usage, format!("the variable `OPENAI_API_KEY` {fault}"))
            })?;
            let server = check::Server { url: url.clone(), model: request.model, key, gates };
            check::validate_at(&server, &interrupt, screen)?
        }
    };
    screen.clear();
    let document = ValidationDocument::of(report, request.url);
    show(global, &document, render::validation)?;
    Ok(if document.verdict == Verdict::Pass { 0 } else { 6 })
}

fn facts(global: &Global, probe: Option<&str>) -> Result<u8, Problem> {
    let mut facts = own_facts(global)?;
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
    Ok(0)
}

/// The facts of a host, as `awqdeploy facts` printed them.
pub(super) fn read_facts(path: &Path) -> Result<Facts, Problem> {
    let text = fs::read(path)?.ok_or_else(|| {
        Problem::new(Kind::Usage, format!("there is no file `{}`", path.display()))
            .help("`awqdeploy facts > FILE` writes it, on the host that is to be planned for")
    })?;
    Facts::parse(&text)
        .map_err(|problem| Problem { what: format!("`{}`: {}", path.display(), problem.what), ..problem })
}

fn deploy_command(
    global: &Global,
    profile: &str,
    consent: &Consent,
    insistence: &Insistence,
    screen: &Screen,
) -> Result<u8, Problem> {
    let done = (|| {
        let mut world = world(global)?;
        let mut prepared = prepare::prepare(&world, profile)?;
        prepared.waived = waived(insistence);
        if !global.json || consent.dry_run {
            show_prepared(global, &prepared)?;
        }
        warn_of_drift(&mut world, screen)?;
        if consent.dry_run {
            return Ok(None);
        }
        agree(consent, &format!("Deploy {profile}?"))?;
        deploy(&mut world, &prepared, screen).map(Some)
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
    // Nothing is asked of the host: whatever is wrong with it, one can go back.
    let mut world = World { binary: own_file()?, ..interruptible(global)? };
    let to = rollback::find(&world.store, &target)?;
    let profile = to.plan.profile.clone();
    let question = format!("Roll back to {profile} (generation {})?", to.id);
    let done = (|| {
        if consent.dry_run {
            let document = PlanDocument::of(&profile, Ok(to.plan.clone()));
            show(global, &document, planned::plan)?;
            return Ok(None);
        }
        warn_of_drift(&mut world, screen)?;
        agree(consent, &question)?;
        rollback::rollback(&mut world, &target, screen).map(Some)
    })();
    screen.clear();
    conclude(global, Action::Rollback, &profile, done)
}

/// Follows an activation; its exit status becomes this process's.
fn watch_command(
    global: &Global,
    story: impl FnOnce(&World, &dyn Observer) -> Result<Outcome, Problem>,
    screen: &Screen,
) -> Result<u8, Problem> {
    let outcome = story(&interruptible(global)?, screen)?;
    screen.clear();
    conclude(global, outcome.action, &outcome.profile.clone(), Ok(Some(outcome)))
}

/// What a person wrote into a unit is shown before it is overwritten.
fn warn_of_drift(world: &mut World, screen: &Screen) -> Result<(), Problem> {
    for Drift { path, installed, found } in drift::drift(world)? {
        let changes = render::changes(&installed, &found);
        let path = path.display();
        screen.see(Event::Warning(format!(
            "`{path}` was changed by hand, which is lost with this:\n{changes}"
        )));
    }
    Ok(())
}

fn recover_command(global: &Global, boot: bool, screen: &dyn Observer) -> Result<u8, Problem> {
    let ended = if boot {
        recover::recover_at_boot(&mut World { binary: own_file()?, ..reading_world(global) }, screen)?
    } else {
        recover::recover(&mut World { binary: own_file()?, ..interruptible(global)? }, screen)?
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
pub(super) fn conclude(
    global: &Global,
    action: Action,
    profile: &str,
    done: Result<Option<Outcome>, Problem>,
) -> Result<u8, Problem> {
    match done {
        Ok(None) => Ok(0),
        Ok(Some(outcome)) => {
            let document = ActivationDocument::of(&outcome);
            show(global, &document, |document| render::activation(document) + &render::evidence(document))?;
            Ok(document.exit_code)
        }
        Err(problem) if global.json && problem.kind != Kind::Unexpected => {
            let code = errors::exit_code(problem.kind);
            let why = problem.in_one_line();
            let document = ActivationDocument::refused(action, profile, code, why, problem.help);
            show(global, &document, render::activation)?;
            Ok(code)
        }
        Err(problem) => Err(problem),
    }
}

/// Shows a plan, and what it changes in what serves.
pub(super) fn show_prepared(global: &Global, prepared: &Prepared) -> Result<(), Problem> {
    let plan = &prepared.plan;
    let document = PlanDocument::of(&plan.profile, Ok(plan.clone()));
    show(global, &document, |document| {
        let shown = planned::plan(document);
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
    match Confirm::new().with_prompt(inked(question)).default(false).interact() {
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
        print_json(document)?;
    } else {
        let text = text(document);
        if !text.is_empty() {
            print(&text);
        }
    }
    Ok(0)
}

pub(super) fn layout(global: &Global) -> Layout {
    // Units and links outlive the directory that this was called from.
    let root = global.root();
    Layout::new(std::path::absolute(&root).unwrap_or(root)).under(global.scope())
}

/// The host as it is, asked for everything that a plan needs.
pub(super) fn world(global: &Global) -> Result<World, Problem> {
    Ok(World { facts: own_facts(global)?, binary: own_file()?, ..interruptible(global)? })
}

pub(super) fn own_file() -> Result<PathBuf, Problem> {
    std::env::current_exe().map_err(|e| Problem::doing("find this program's own file", e))
}

/// The same for a long story, which a signal ends at a good place.
pub(super) fn interruptible(global: &Global) -> Result<World, Problem> {
    Ok(World { interrupt: Interrupt::listen()?, ..reading_world(global) })
}

/// The host for a story that only reads, or that has decided everything before: nothing is asked of it.
pub(super) fn reading_world(global: &Global) -> World {
    World {
        store: Store::new(layout(global)),
        library: shelf::library(global),
        facts: Facts::default(),
        engine: global.runtimes.clone().map_or(Engine::Locked, Engine::Built),
        interrupt: Interrupt::default(),
        binary: PathBuf::new(),
        keeper: Keeper::Systemd(global.scope()),
        carrier: Carrier::ServiceManager,
    }
}
