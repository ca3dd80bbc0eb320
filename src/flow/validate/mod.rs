//! Is this generation well? Asks its API everything that its gates want to know, and judges the answers.

mod smoke;
mod speed;

use crate::{
    domain::{
        activation::GenerationId,
        openai::{Fault, Request},
        plan::Plan,
        questions::{self, QUESTIONS},
        report::{Check, KnownAnswers, Report, Throughput},
        verdict::{Evidence, judge},
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

/// A validation under way.
struct Validation<'a> {
    api: &'a Api,
    plan: &'a Plan,
    observer: &'a dyn Observer,
    checks: Vec<Check>,
}

/// Validates the running `generation`, which `plan` describes, and compares it with `baseline`, the last
/// report of the profile that its gates name.
///
/// A server that fails is an expected outcome, so this always ends in a report. No request waits longer
/// than the plan's `timeouts.request`, and what makes further requests pointless ends the validation:
/// a dead server is judged at once, one that hangs after a single timeout.
pub async fn validate(
    api: &Api,
    plan: &Plan,
    generation: GenerationId,
    baseline: Option<&Report>,
    observer: &dyn Observer,
) -> Report {
    let mut validation = Validation { api, plan, observer, checks: Vec::new() };
    validation.smoke().await;
    let known_answers = validation.known_answers().await;
    let throughput = validation.throughput().await;
    let verdict = judge(Evidence {
        gates: &plan.gates,
        checks: &validation.checks,
        known_answers,
        throughput: throughput.as_ref(),
        baseline,
    });
    if let (Some(wanted), Some(_), None) = (&plan.gates.baseline, &throughput, &verdict.comparison) {
        validation.observer.see(Event::Warning(format!(
            "not compared with `{}`, which has no passed validation yet",
            wanted.profile
        )));
    }
    Report {
        generation,
        profile: plan.profile.clone(),
        at: jiff::Timestamp::now(),
        checks: validation.checks,
        known_answers,
        throughput,
        comparison: verdict.comparison,
        failures: verdict.failures,
        findings: Vec::new(),
        actual: None,
    }
}

impl Validation<'_> {
    async fn smoke(&mut self) {
        for smoke in Smoke::ALL {
            let began = Instant::now();
            let result = smoke.run(self.api, self.plan).await;
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
        self.plan.gates.min_known_answers?;
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
    async fn throughput(&mut self) -> Option<Throughput> {
        if self.has_failed() {
            return None;
        }
        let began = Instant::now();
        let measured = speed::measure(self.api, &self.plan.gates, self.observer).await;
        match measured {
            Ok(samples) => Throughput::of(&samples),
            Err(miss) => {
                self.record("throughput", began, Some(&miss));
                None
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.checks.iter().any(|check| check.failure.is_some())
    }

    fn record(&mut self, name: &str, began: Instant, miss: Option<&Miss>) {
        let check = Check {
            name: name.to_owned(),
            failure: miss.map(Miss::to_string),
            ms: began.elapsed().as_secs_f64() * 1000.0,
        };
        self.observer.see(Event::Checked(check.clone()));
        self.checks.push(check);
    }
}
