//! Sends requests at a rate of their own, whatever the server makes of them.

use super::{
    Validation,
    speed::{Prompting, heard_to_the_end, millis},
};
use crate::{
    domain::{
        api::openai::Request,
        conformance::{Known, Violation},
        measure::{
            Sample,
            prompts::{PromptSource, SHORT},
        },
        profile::Arrivals,
        validation::sweep::arrivals::{OpenLoop, schedule},
    },
    flow::event::Event,
    host::vllm::api::{Api, first_completion},
};
use futures_util::future::join_all;
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

/// Streams that are warmed up before.
const WARMUPS: u32 = 4;
/// Tokens of a warm-up.
const WARMUP_TOKENS: u32 = 16;

impl Validation<'_> {
    /// Measures requests at this rate. That some are refused or late counts against the share of good ones; a server that
    /// does not answer afterwards fails.
    pub(super) async fn arrivals(&mut self, known: &Known, wanted: &Arrivals) -> Option<OpenLoop> {
        let count = wanted.requests();
        self.observer.see(Event::Stage(format!(
            "measure {count} requests at {} a second, for {:.0} s",
            wanted.rate,
            f64::from(count) / wanted.rate
        )));
        let began = Instant::now();
        let tokens = self.subject.gates.output_tokens;
        let measured = open_loop(self.api, self.prompting(known), wanted, tokens).await;
        if let Some(failure) = &measured.failure {
            self.observer.see(Event::Warning(format!(
                "{} of {count} requests were not answered, as the first: {failure}",
                measured.failed
            )));
        }
        match first_completion(self.api).await {
            Ok(_) => Some(measured),
            Err(fault) => {
                self.fail("arrivals", began, &Violation::Fault(fault));
                None
            }
        }
    }
}

async fn open_loop(api: &Api, prompting: Prompting, wanted: &Arrivals, tokens: u32) -> OpenLoop {
    api.connect(WARMUPS).await;
    let warmups = (0..WARMUPS).map(|number| {
        prompting.request(&format!("arriving-warm-up-{number}"), SHORT, tokens.min(WARMUP_TOKENS))
    });
    let warmups: Vec<Request> = warmups.collect();
    // One that is not answered shows in the requests that follow.
    let _warm = join_all(warmups.iter().map(|request| api.stream(request))).await;
    let times = schedule(wanted, PromptSource::NOW);
    let requests: Vec<(Duration, Request)> = times
        .into_iter()
        .enumerate()
        .map(|(number, at)| (at, prompting.request(&format!("arrival-{number}"), SHORT, tokens)))
        .collect();
    let began = Instant::now();
    let answers = join_all(requests.iter().map(|(at, request)| one(api, request, began, *at))).await;
    let late = answers.iter().map(|(late, _)| *late).fold(0.0, f64::max);
    let (samples, failures): (Vec<_>, Vec<_>) =
        answers.into_iter().map(|(_, answer)| answer).partition(Result::is_ok);
    let samples: Vec<Sample> = samples.into_iter().flatten().collect();
    let failures: Vec<String> =
        failures.into_iter().filter_map(Result::err).map(|why| why.to_string()).collect();
    OpenLoop::of(wanted, samples, &failures, late)
}

/// Makes a request at its time. Returns how much later it was sent, milliseconds, and what came of it.
async fn one(api: &Api, request: &Request, began: Instant, at: Duration) -> (f64, Result<Sample, Violation>) {
    sleep_until((began + at).into()).await;
    let sent = began.elapsed();
    let answer = async {
        let sample = heard_to_the_end(request, &api.stream(request).await?)?;
        Ok(Sample { began_ms: millis(sent), ..sample })
    };
    (millis(sent.saturating_sub(at)), answer.await)
}
