//! `validate`: checks whether the running server answers as it should.

use crate::{
    cli::{
        args::{Global, Validate},
        context::context,
        documents::ValidationDocument,
        output::show,
        progress::Screen,
        render,
    },
    domain::{
        exit_status::ExitStatus,
        problem::{Kind, Problem},
        profile::{Arrivals, Gates, QualityLimits, secrets::SecretText},
        validation::report::Verdict,
    },
    flow::{
        context::Context,
        validate::{command, reference::ReferenceFile},
    },
    host::os::signals::Interrupt,
};
use std::rc::Rc;

pub(super) fn validate(
    global: &Global,
    request: Validate,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    let interrupt = Interrupt::listen()?;
    let file = request.reference.as_deref().map(ReferenceFile::read).transpose()?;
    let arrivals = request.arrivals().map(Arrivals::checked).transpose()?;
    let report = match &request.url {
        None => {
            let context = Context { interrupt, ..context(global)?.observed_by(screen.clone()) };
            command::validate(&context, file.as_ref(), arrivals)?
        }
        Some(url) => {
            let gates = Gates {
                min_decode_tokens_per_second: request.min_decode_tokens_per_second,
                min_known_answers: request.min_known_answers,
                quality: QualityLimits { max_divergence: request.max_divergence, ..QualityLimits::default() },
                arrivals,
                ..Gates::default()
            };
            let key = std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty());
            let key = key.map(|key| SecretText::of(&key)).transpose().map_err(|fault| {
                Problem::new(Kind::Usage, format!("the variable `OPENAI_API_KEY` {fault}"))
            })?;
            let server = command::Server { url: url.clone(), model: request.model, key, gates };
            command::validate_at(&server, file.as_ref(), &interrupt, &**screen)?
        }
    };
    screen.clear();
    let document = ValidationDocument::of(report, request.url);
    show(global, &document, render::validation)?;
    Ok(if document.verdict == Verdict::Pass { ExitStatus::Done } else { ExitStatus::Failed })
}
