//! `init`: the first command for a model.

use crate::{
    cli::{
        args::{Global, InitRequest},
        context::{interruptible, planning},
        documents::{
            PlanDocument,
            init::{InitDocument, ModelDocument},
        },
        library,
        output::{self, show},
        progress::Screen,
        render::{self, style},
        terminal::{BOLD, CARE, FAINT, GOOD},
    },
    domain::{
        exit_status::ExitStatus,
        problem::{Kind, Problem},
        profile::Profile,
    },
    flow::{
        adopt::{self, Questions},
        context::Context,
        init::{self, Baselines, Request},
    },
    host::os::trust,
};
use std::{fmt::Write as _, rc::Rc};

pub(crate) fn init(
    global: &Global,
    request: &InitRequest,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    if let Some(target) = &request.adopt {
        return adopted(global, request, target);
    }
    let context = planning(global, request.facts.as_deref())?.observed_by(screen.clone());
    let replaces = match (&request.migrate_to, &request.baseline) {
        (Some(_), Some(baseline)) => Some(baseline.clone()),
        (Some(_), None) => Some(baseline(global, &context)?),
        (None, _) => None,
    };
    let repo = match request.migrate_to.as_ref().or(request.model.as_ref()) {
        Some(repo) => repo.clone(),
        None => output::ask(global, "which model? OWNER/MODEL, as on the hub", no_model)?,
    };
    let wanted = Request { repo, from: request.from.clone(), name: request.name.clone(), replaces };
    let drafted = init::draft(&context, &wanted)?;
    screen.clear();
    let proposal = &drafted.proposal;
    let written = if request.dry_run {
        None
    } else {
        Some(init::save(&context, &drafted.name, &proposal.text, &proposal.profile)?)
    };
    let name = &drafted.name;
    let next = vec![
        call(global, Rights::OfFolder, &format!("lock {name}")),
        call(global, Rights::Root, &format!("deploy {name}")),
    ];
    show(global, &InitDocument::of(drafted, written, next), render)
}

/// The rights that a command needs.
#[derive(Clone, Copy)]
enum Rights {
    /// The right to write into the folder of profiles.
    OfFolder,
    /// The right to change services.
    Root,
}

/// A command line that finds this folder of profiles again, whoever runs it. `sudo` forgets variables, and
/// root looks elsewhere first.
fn call(global: &Global, rights: Rights, command: &str) -> String {
    let folder = library::folder(global);
    let own = folder == global.own_profiles();
    let scope = if global.user { " --user" } else { "" };
    let sudo = !global.user && !trust::is_root() && (own || matches!(rights, Rights::Root));
    let sudo = if sudo { "sudo " } else { "" };
    let whose = if own {
        String::new()
    } else {
        format!(" --profiles {}", style::shell_word(&folder.display().to_string()))
    };
    format!("{sudo}awqdeploy{scope}{whose} {command}")
}

fn no_model() -> Problem {
    Problem::new(Kind::Usage, "which model?")
        .help("name its repository on the hub: `awqdeploy init OWNER/MODEL`")
}

/// The profile that a migration starts from.
fn baseline(global: &Global, context: &Context) -> Result<String, Problem> {
    match init::baselines(context)? {
        Baselines::One(name) => Ok(name),
        Baselines::Several(names) => {
            output::choose(global, "which profile is to be replaced?", &names, init::several)
        }
    }
}

/// Makes the profile of a running server.
fn adopted(global: &Global, request: &InitRequest, target: &str) -> Result<ExitStatus, Problem> {
    let name = request.name.clone().unwrap_or_else(|| "adopted".to_owned());
    let context = interruptible(global)?;
    let wanted = adopt::Request {
        target: target.to_owned(),
        profile: name.clone(),
        service: "vllm".to_owned(),
        repo: request.model.clone(),
        vllm: request.vllm.clone(),
        questions: Questions::Asked,
    };
    let found = adopt::look(&context, wanted)?;
    let path = context.library.place(&name);
    let profile = Profile::parse(&name, &path, &found.profile)?;
    let written =
        if request.dry_run { Vec::new() } else { init::save(&context, &name, &found.profile, &profile)? };
    let document = InitDocument {
        schema: "awqdeploy/init/v1",
        dry_run: request.dry_run,
        path,
        written,
        text: found.profile,
        model: None,
        replaces: None,
        plan: None,
        notes: found.adopted.notes,
        next: vec![
            call(global, Rights::Root, &format!("adopt {} --profile {name}", style::shell_word(target))),
            call(global, Rights::OfFolder, "init --migrate-to OWNER/MODEL"),
        ],
        profile: name,
    };
    show(global, &document, render)
}

fn render(document: &InitDocument) -> String {
    let mut out = String::new();
    if let Some(ModelDocument { repo, architecture, quantization, bytes, read_from }) = &document.model {
        let stored = quantization
            .as_deref()
            .map_or_else(|| "not quantised".to_owned(), |method| format!("stored as {method}"));
        let bytes = bytes.map_or(String::new(), |bytes| format!(", {bytes} of weights"));
        let _ = writeln!(
            out,
            "{BOLD}{repo}{BOLD:#}: {architecture}, {stored}{bytes} {FAINT}(from {read_from}){FAINT:#}"
        );
    }
    for note in &document.notes {
        let _ = writeln!(out, "  {CARE}!{CARE:#} {note}");
    }
    if document.dry_run {
        let _ = writeln!(out, "{BOLD}would write{BOLD:#} {}\n", document.path.display());
        out.extend(
            document
                .text
                .lines()
                .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }),
        );
        out.push('\n');
    } else {
        for path in &document.written {
            let _ = writeln!(out, "{GOOD}wrote{GOOD:#} {}", path.display());
        }
    }
    if let Some(plan) = &document.plan {
        planned(&mut out, plan);
    }
    let _ = writeln!(out, "{BOLD}next{BOLD:#}");
    for command in &document.next {
        let _ = writeln!(out, "  {command}");
    }
    out
}

/// Prints the figures for a decision: the number of GPUs, the weights in RAM, the limits and the speed.
fn planned(out: &mut String, plan: &PlanDocument) {
    let _ = writeln!(out, "{BOLD}planned{BOLD:#}");
    if let Some(memory) = &plan.memory {
        let budget = &memory.budget;
        style::row(out, "tensor parallel", &budget.tensor_parallel_size.to_string());
        let offloaded = match budget.offloaded {
            offloaded if offloaded.is_zero() => "nothing: all weights are in VRAM".to_owned(),
            offloaded => format!("{offloaded} of weights for each GPU"),
        };
        style::row(out, "in RAM", &offloaded);
        if let Some(longest) = budget.longest_context {
            style::row(out, "longest context", &format!("{longest} tokens would fit"));
        }
    }
    if let Some(prediction) = &plan.prediction {
        render::plan::prediction(out, prediction);
    }
    out.push_str(&render::plan::findings(&plan.findings));
}
