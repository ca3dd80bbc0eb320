//! `status`, `generations`, `history` and `why`: prints the present state and its past.

pub(super) mod evidence;
pub(super) mod lookup;
pub(crate) mod profiles;
mod told;

use crate::{
    cli::{
        args::Global,
        context::context,
        documents::{
            GenerationsDocument, StatusDocument,
            history::{HistoryDocument, WhyDocument},
        },
        output::show,
        progress::Screen,
        render,
    },
    domain::{exit_status::ExitStatus, generation_id::GenerationId, problem::Problem},
    flow::inspect::{history, status},
};
use std::rc::Rc;

pub(crate) fn status(global: &Global) -> Result<ExitStatus, Problem> {
    let status = status::status(&mut context(global)?)?;
    show(global, &StatusDocument::of(global.root(), status), render::status)
}

pub(crate) fn generations(global: &Global) -> Result<ExitStatus, Problem> {
    let document = GenerationsDocument::of(status::generations(&context(global)?)?);
    show(global, &document, render::generations)
}

pub(crate) fn history(global: &Global) -> Result<ExitStatus, Problem> {
    let context = context(global)?;
    let history = history::history(&context)?;
    show(global, &HistoryDocument::of(&history, &history::profiles(&context)?), told::history)
}

pub(crate) fn why(
    global: &Global,
    generation: Option<u64>,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    let context = context(global)?.observed_by(screen.clone());
    let why = history::why(&context, generation.map(GenerationId))?;
    show(global, &WhyDocument::of(why, &history::profiles(&context)?), told::why)
}
