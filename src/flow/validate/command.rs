//! `validate`: validates the running server again.

use super::{
    Subject,
    generation::{self, Beside},
    reference::{Record, ReferenceFile},
};
use crate::{
    domain::{
        measure::USUAL_START_SPREAD,
        problem::Problem,
        profile::{Arrivals, Gates, secrets::SecretText},
        validation::report::Report,
    },
    flow::{context::Context, event::Observer, validate},
    host::{os::signals::Interrupt, vllm::api::Api},
};
use std::time::Duration;

/// The time for one request to a server without a profile: the default of profiles.
const REQUEST_PATIENCE: Duration = Duration::from_mins(5);

/// Validates the running server. Nothing is changed, whatever the result. These `arrivals` stand in for those of its profile.
pub fn validate(
    context: &Context,
    file: Option<&ReferenceFile>,
    arrivals: Option<Arrivals>,
) -> Result<Report, Problem> {
    let mut current = context.store.deployed()?;
    current.plan.gates.arrivals = arrivals.or(current.plan.gates.arrivals.take());
    let whose = generation::whose(context, &current)?;
    generation::report(
        &context.store,
        &current.plan,
        current.id,
        whose,
        Beside { live: None, file },
        &context.interrupt,
        &*context.observer,
    )
}

/// A server, which need not be ours.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// The address: `http://HOST:PORT`.
    pub(crate) url: String,
    /// The name of the model in requests; by default the first that it serves.
    pub(crate) model: Option<String>,
    /// The API key, if it wants one.
    pub(crate) key: Option<SecretText>,
    /// The gates.
    pub(crate) gates: Gates,
}

/// Validates any server of the API, without a profile.
pub(crate) fn validate_at(
    server: &Server,
    file: Option<&ReferenceFile>,
    interrupt: &Interrupt,
    observer: &dyn Observer,
) -> Result<Report, Problem> {
    let api = Api::on(&server.url, server.model.as_deref().unwrap_or_default(), REQUEST_PATIENCE)?
        .with_key(server.key.clone());
    let validation = async {
        let api = if server.model.is_some() {
            api
        } else {
            let first = api.models().await.ok().and_then(|models| models.data.into_iter().next());
            // Where none is named, the validation's own check says what is wrong.
            api.with_model(&first.map(|model| model.id).unwrap_or_default())
        };
        let record = file.map(|file| file.record(None));
        let subject = Subject {
            generation: None,
            name: api.model(),
            gates: &server.gates,
            argv: None,
            start_spread: USUAL_START_SPREAD,
            weights: None,
            reference: record.as_ref().and_then(Record::reference),
        };
        validate::validate(&api, subject, None, None, observer).await
    };
    interrupt.drive(validation)
}
