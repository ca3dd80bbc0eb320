//! Checks the rollback target before anything is stopped.

use crate::{
    domain::{
        generation::Generation,
        generation_id::GenerationId,
        planning::host_changed,
        problem::{Kind, Problem},
    },
    flow::{
        activation::ending::return_to,
        context::Context,
        event::Event,
        models::verify_at_start::{Known, check_model, verify_runtime},
    },
    host::{
        os::{parallel, secrets, signals::Interrupt},
        runtimes::needs,
        store::{Store, StoreWriter, hash_cache::HashCache, hashing},
    },
};
use std::path::Path;

/// Verifies the rollback target, if there is one.
pub(super) fn verify_target(context: &Context, writer: &StoreWriter<'_>) -> Result<(), Problem> {
    let store = writer.store();
    let Some(target) = return_to(store, None)? else {
        return Ok(());
    };
    let target = store.generation(target)?;
    let possible = whole(context, writer, &target)
        .and_then(|()| host_changed::still_fits(&target.plan, context.facts()?).map_err(Problem::from));
    possible.map_err(|problem| no_rollback(&target, &problem))
}

/// Checks that everything a generation runs is there, as it was recorded and locked.
pub(super) fn whole(
    context: &Context,
    writer: &StoreWriter<'_>,
    generation: &Generation,
) -> Result<(), Problem> {
    let plan = &generation.plan;
    let engine = plan.serve.argv.first().map(Path::new);
    let own = writer.store().layout().generation(generation.id).join("awqdeploy");
    for path in [Some(plan.model.path.as_path()), engine, Some(own.as_path())].into_iter().flatten() {
        if !path.exists() {
            return Err(Problem::new(
                Kind::Unverified,
                format!("generation {} needs `{}`, which is gone", generation.id, path.display()),
            )
            .help(format!("deploy it anew: `awqdeploy deploy {}`", plan.profile)));
        }
    }
    as_adopted(writer.store(), generation.id, &context.interrupt)?;
    secrets::verify(&plan.secrets)?;
    needs::verify(&plan.runtime.needs, &plan.serve.env)?;
    writer.store().intact(generation.id)?;
    context.tell(Event::Stage(format!("verify vLLM {} of generation {}", plan.runtime.vllm, generation.id)));
    let see = &mut |done, of| context.tell(Event::Progress { done, of });
    let proved = verify_runtime(writer.store(), &plan.runtime, Known::Stored, &context.interrupt, see)?;
    writer.note_trees(&proved.noted)?;
    for folder in proved.unrecorded {
        context.tell(Event::Warning(format!(
            "nobody knows whether `{}` is as it was installed: an earlier awqdeploy kept no record of it",
            folder.display()
        )));
    }
    context.tell(Event::Stage(format!("verify the files of `{}`", plan.model.repo)));
    let checked = check_model(
        writer.store(),
        &plan.model,
        HashCache::default(),
        &context.interrupt,
        &mut |done, of| {
            context.tell(Event::Progress { done, of });
        },
    )?;
    writer.note(&checked.lock, &checked.found)?;
    checked.judged().map(drop)
}

/// Files that an adopted command line names are as they were.
fn as_adopted(store: &Store, id: GenerationId, interrupt: &Interrupt) -> Result<(), Problem> {
    let files = store.adopted(id)?.map(|adopted| adopted.files).unwrap_or_default();
    let files: Vec<_> = files.into_iter().collect();
    let differs = parallel::each(&files, interrupt, &mut |_| (), |(path, digest), worker| {
        Ok(!path.is_file() || hashing::whole(path, worker)?.1 != *digest)
    })?;
    let Some(((path, _), _)) = files.iter().zip(differs).find(|(_, differs)| *differs) else { return Ok(()) };
    let what = format!("`{}` is not what it was when generation {id} was adopted", path.display());
    Err(Problem::new(Kind::Unverified, what).help("put the file back as it was"))
}

fn no_rollback(target: &Generation, problem: &Problem) -> Problem {
    if problem.kind == Kind::Interrupted {
        return Problem::new(Kind::Interrupted, problem.what.clone());
    }
    let why = problem.in_one_line();
    Problem::new(
        Kind::Refused,
        format!("there is no rollback to generation {} ({}): {why}", target.id, target.plan.profile),
    )
    .help(match &problem.help {
        Some(help) => format!("{help}; or go on without one: `--no-way-back`"),
        None => "go on without one: `--no-way-back`".to_owned(),
    })
}
