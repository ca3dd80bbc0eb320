//! `verify`, `collect`, `pin`, `unpin` and `export`: what lies in the store.

use crate::{
    cli::{
        args::{Global, VerifyRequest},
        context::{interruptible, reading_world},
        documents::CollectDocument,
        ink::print,
        output::show,
        progress::Screen,
        render, supply,
        verified::{self, VerifyDocument},
    },
    domain::{exit_status::ExitStatus, generation_id::GenerationId, problem::Problem},
    flow::{
        collect::{self, Mode},
        export,
        verify::{self, Damaged, Which},
    },
    host::repair::PieceSource,
};
use std::path::Path;

pub(super) fn verify(
    global: &Global,
    request: VerifyRequest,
    screen: &Screen,
) -> Result<ExitStatus, Problem> {
    let VerifyRequest { profile, all, repair } = request;
    let world = interruptible(global)?;
    let hub = if repair { supply::pieces(&world, profile.as_deref(), screen) } else { None };
    let which = match profile {
        Some(profile) => Which::Profile(profile),
        None if all => Which::All,
        None => Which::Current,
    };
    let hub = hub.as_ref().map(|hub| hub as &dyn PieceSource);
    let damaged = if repair { Damaged::Repaired(hub.as_slice()) } else { Damaged::Told };
    let verified = verify::verify(&world, &which, damaged, screen)?;
    show(global, &VerifyDocument::of(&verified), verified::verification)?;
    Ok(if verified.is_clean() { ExitStatus::Done } else { ExitStatus::Unverified })
}

pub(super) fn collect(global: &Global, dry_run: bool) -> Result<ExitStatus, Problem> {
    let mode = if dry_run { Mode::Look } else { Mode::Free };
    let collected = collect::collect(&reading_world(global), mode)?;
    show(global, &CollectDocument::of(collected, mode), render::collection)
}

pub(super) fn pin(global: &Global, generation: u64) -> Result<ExitStatus, Problem> {
    collect::pin(&reading_world(global), GenerationId(generation)).map(|()| ExitStatus::Done)
}

pub(super) fn unpin(global: &Global, generation: u64) -> Result<ExitStatus, Problem> {
    collect::unpin(&reading_world(global), GenerationId(generation)).map(|()| ExitStatus::Done)
}

pub(super) fn export(
    global: &Global,
    profile: &str,
    folder: &Path,
    screen: &Screen,
) -> Result<ExitStatus, Problem> {
    let files = export::export(&interruptible(global)?, profile, folder, screen)?;
    print(&format!("{profile}: {files} files in {}\n", folder.display()));
    Ok(ExitStatus::Done)
}
