//! Is this generation well? Asks its API everything that its gates want to know, and judges the answers.

mod smoke;
mod speed;

use crate::{
    domain::{
        activation::GenerationId,
        openai::{Fault, Request},
        plan::Plan,
        profile::Gates,
        questions::{self, QUESTIONS},
        report::{Check, Checked, KnownAnswers, Report, Throughput},
        stats::rates,
        verdict::{Basis, Evidence, judge},
    },
    flow::event::{Event, Observer},
    host::serving::Api,
};
use smoke::Smoke;
use std::{fmt, time::Instant};

/// Why a check failed: a fault of the answer, or an answer that says the wrong thing.
#[derive(Debug)]
enum Miss {
    Fault(Fault),
    Wrong(String),
}

impl Miss {
    /// Whether the checks that are left would only fail, or wait, alike.
    fn is_fatal(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.is_fatal())
    }
}

impl From<Fault> for Miss {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

/// What is validated, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The generation. Absent for a server that is none of ours.
    pub generation: Option<GenerationId>,
    /// Its profile, or what else to call it.
    pub name: &'a str,
    /// What it must show.
    pub gates: &'a Gates,
    /// The words that the engine was started with, where they are known: what it serves must be among
    /// them.
    pub argv: Option<&'a [String]>,
}

impl<'a> Subject<'a> {
    /// A generation of ours.
    pub fn generation(generation: GenerationId, plan: &'a Plan) -> Self {
        Self {
            generation: Some(generation),
            name: &plan.profile,
            gates: &plan.gates,
            argv: Some(&plan.serve.argv),
        }
    }
}

/// A validation under way.
struct Validation<'a> {
    api: &'a Api,
    subject: Subject<'a>,
    observer: &'a dyn Observer,
    checks: Vec<Check>,
}

/// Validates the `subject`, which answers at `api`, and compares it with `basis`.
///
/// A server that fails is an expected outcome, so this always ends in a report. No request waits longer
/// than the API's timeout, and what makes further requests pointless ends the validation: a dead server
/// is judged at once, one that hangs after a single timeout.
pub async fn validate(
    api: &Api,
    subject: Subject<'_>,
    basis: Option<Basis<'_>>,
    observer: &dyn Observer,
) -> Report {
    let mut validation = Validation { api, subject, observer, checks: Vec::new() };
    validation.smoke().await;
    let known_answers = validation.known_answers().await;
    let throughput = validation.throughput(basis).await;
    let gates = subject.gates;
    let judgement = judge(Evidence {
        gates,
        checks: &validation.checks,
        known_answers,
        throughput: throughput.as_ref(),
        basis,
    });
    if let (Some(wanted), Some(_), None) = (&gates.baseline, &throughput, &judgement.comparison) {
        validation.observer.see(Event::Warning(format!(
            "not compared with `{}`, which has no passed validation yet",
            wanted.profile
        )));
    }
    Report {
        generation: subject.generation,
        profile: subject.name.to_owned(),
        at: jiff::Timestamp::now(),
        checks: validation.checks,
        known_answers,
        throughput,
        comparison: judgement.comparison,
        failures: judgement.failures,
        doubts: judgement.doubts,
    }
}

/// Measures one stream of a server that serves now, for later comparison. Nothing else is asked of it.
pub async fn measure(api: &Api, subject: Subject<'_>, observer: &dyn Observer) -> Result<Report, String> {
    let samples =
        speed::measure(api, subject.gates, None, observer).await.map_err(|miss| miss.to_string())?;
    Ok(Report {
        generation: subject.generation,
        profile: subject.name.to_owned(),
        at: jiff::Timestamp::now(),
        checks: Vec::new(),
        known_answers: None,
        throughput: Throughput::of(&samples),
        comparison: None,
        failures: Vec::new(),
        doubts: Vec::new(),
    })
}

impl Validation<'_> {
    async fn smoke(&mut self) {
        for smoke in Smoke::ALL {
            let began = Instant::now();
            let result = smoke.run(self.api, self.subject).await;
            self.record(smoke.name(), began, result.as_ref().err());
            if let Err(miss) = result
                && (smoke.is_essential() || miss.is_fatal())
            {
                return;
            }
        }
    }

    /// Asks the questions with known answers, if a gate is on them and nothing failed before.
    async fn known_answers(&mut self) -> Option<KnownAnswers> {
        self.subject.gates.min_known_answers?;
        if self.has_failed() {
            return None;
        }
        let began = Instant::now();
        let mut answers = KnownAnswers { right: 0, asked: 0, version: questions::VERSION };
        for question in &QUESTIONS {
            let request = Request::chat(question.ask, questions::MAX_TOKENS);
            match self.api.answer(&request).await {
                Ok(answer) => {
                    answers.asked += 1;
                    answers.right += u32::from(question.is_answered_by(&answer.text));
                }
                Err(fault) => {
                    self.record("known-answers", began, Some(&fault.into()));
                    return None;
                }
            }
        }
        Some(answers)
    }

    /// Measures one stream, if nothing failed before.
    async fn throughput(&mut self, basis: Option<Basis<'_>>) -> Option<Throughput> {
        if self.has_failed() {
            return None;
        }
        let began = Instant::now();
        let gates = self.subject.gates;
        let theirs = basis.and_then(|basis| rates(&basis.throughput(gates)?.samples));
        let measured = speed::measure(self.api, gates, theirs.as_deref(), self.observer).await;
        match measured {
            Ok(samples) => Throughput::of(&samples),
            Err(miss) => {
                self.record("throughput", began, Some(&miss));
                None
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.checks.iter().any(Check::failed)
    }

    fn record(&mut self, name: &str, began: Instant, miss: Option<&Miss>) {
        let check = Check {
            name: name.to_owned(),
            verdict: if miss.is_some() { Checked::Fail } else { Checked::Pass },
            detail: miss.map(Miss::to_string),
            ms: began.elapsed().as_secs_f64() * 1000.0,
        };
        self.observer.see(Event::Checked(check.clone()));
        self.checks.push(check);
    }
}
