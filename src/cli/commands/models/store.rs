//! `verify`, `gc`, `pin`, `unpin` and `export`: the store.

use super::pieces;
use crate::{
    cli::{
        args::{Global, VerifyRequest},
        context::{context, on_screen},
        documents::{
            CollectDocument,
            models::verify::{VerifyDocument, verification},
        },
        output::show,
        progress::Screen,
        render,
        terminal::print,
    },
    domain::{exit_status::ExitStatus, generation_id::GenerationId, problem::Problem},
    flow::{
        gc::{self, Mode, collect},
        models::{
            export,
            verify::{self, Damaged, Which},
        },
    },
    host::models::{Exported, Sharing, peer::Peer, repair::PieceSource},
};
use std::{path::Path, rc::Rc};

pub(crate) fn verify(
    global: &Global,
    request: VerifyRequest,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    let VerifyRequest { profile, all, repair, from } = request;
    let peers = from.iter().map(|from| Peer::of(from)).collect::<Result<Vec<_>, _>>()?;
    let context = on_screen(global, screen)?;
    let hub = if repair { pieces(&context, profile.as_deref(), screen) } else { None };
    let which = match profile {
        Some(profile) => Which::Profile(profile),
        None if all => Which::All,
        None => Which::Current,
    };
    let peers = peers.iter().map(|peer| peer as &dyn PieceSource);
    let sources: Vec<&dyn PieceSource> =
        peers.chain(hub.as_ref().map(|hub| hub as &dyn PieceSource)).collect();
    let damaged = if repair { Damaged::Repaired(&sources) } else { Damaged::Told };
    let verified = verify::verify(&context, &which, damaged)?;
    show(global, &VerifyDocument::of(&verified), verification)?;
    Ok(if verified.is_clean() { ExitStatus::Done } else { ExitStatus::Unverified })
}

pub(crate) fn gc(global: &Global, dry_run: bool) -> Result<ExitStatus, Problem> {
    let mode = if dry_run { Mode::Look } else { Mode::Free };
    let collected = collect(&context(global)?, mode)?;
    show(global, &CollectDocument::of(collected, mode), render::collection)
}

pub(crate) fn pin(global: &Global, generation: u64) -> Result<ExitStatus, Problem> {
    gc::pin(&context(global)?, GenerationId(generation)).map(|()| ExitStatus::Done)
}

pub(crate) fn unpin(global: &Global, generation: u64) -> Result<ExitStatus, Problem> {
    gc::unpin(&context(global)?, GenerationId(generation)).map(|()| ExitStatus::Done)
}

pub(crate) fn export(
    global: &Global,
    profile: &str,
    folder: &Path,
    sharing: Sharing,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    let exported = export::export(&on_screen(global, screen)?, profile, folder, sharing)?;
    let Exported { folder, files, shared } = exported;
    print(&format!("{profile}: {files} files in {}\n", folder.display()));
    if shared > 0 {
        print(&format!(
            "{shared} of them are the store's own files: what is written to one damages the store; `--copy` copies\n"
        ));
    }
    Ok(ExitStatus::Done)
}
