//! Validates a generation: asks its API everything that its gates need, and judges the answers.

mod arrivals;
pub mod command;
mod conformance;
mod connections;
mod deep;
pub mod generation;
mod others;
mod quality;
pub mod reference;
mod speed;
mod sweep;

use super::event::{Event, Observer};
use crate::{
    domain::{
        api::{openai::Models, response_shape::ResponseShapes},
        conformance::{Known, Violation},
        digest::Sha256Digest,
        generation_id::GenerationId,
        measure::{Throughput, USUAL_START_SPREAD, run::Run},
        planning::plan::Plan,
        profile::Gates,
        validation::{
            quality::Quality,
            reference::Reference,
            report::{Check, CheckOutcome, KnownAnswers, Report},
            sequential::{self, SequentialResult},
            sweep::Swept,
            verdict::{Basis, Evidence, judge, speed as speed_shown},
        },
        vllm::arguments::Arguments,
    },
    host::vllm::api::Api,
};
use speed::{Prompting, Rule};
use std::time::{Duration, Instant};

/// A baseline that serves is not measured any longer than this, once it was looked at.
const BASELINE_TIME: Duration = Duration::from_mins(10);

/// How long a baseline that serves is waited for until nobody else uses it.
const BASELINE_PATIENCE: Duration = Duration::from_mins(5);

/// How long a candidate is: nobody should use it yet.
const CANDIDATE_PATIENCE: Duration = Duration::from_mins(1);

/// The subject of a validation, and its means.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The generation. Absent for a server that is none of ours.
    pub generation: Option<GenerationId>,
    /// The profile, or another name.
    pub name: &'a str,
    /// The gates.
    pub gates: &'a Gates,
    /// The command line of the engine, where it is known: the served model must be in it.
    pub argv: Option<&'a [String]>,
    /// How much starts of a server differ on this host: [`crate::domain::validation::spread`].
    pub start_spread: f64,
    /// The digest of the lock of its weights, where they are locked.
    pub weights: Option<Sha256Digest>,
    /// A record of what the model expects, to compare with.
    pub reference: Option<Reference<'a>>,
}

impl<'a> Subject<'a> {
    /// A generation of ours.
    pub fn generation(generation: GenerationId, plan: &'a Plan) -> Self {
        Self {
            generation: Some(generation),
            name: &plan.profile,
            gates: &plan.gates,
            argv: Some(&plan.serve.argv),
            start_spread: USUAL_START_SPREAD,
            weights: plan.model.digest,
            reference: None,
        }
    }
}

/// A validation under way.
struct Validation<'a> {
    api: &'a Api,
    subject: Subject<'a>,
    observer: &'a dyn Observer,
    checks: Vec<Check>,
    /// The shape of every kind of answer so far.
    shapes: ResponseShapes,
    /// The shapes of the previous generation's answers.
    previous: Option<&'a ResponseShapes>,
    added_fields: Vec<String>,
}

impl<'a> Validation<'a> {
    /// A validation that has asked nothing yet, and compares with no shapes.
    fn new(api: &'a Api, subject: Subject<'a>, observer: &'a dyn Observer) -> Self {
        Self {
            api,
            subject,
            observer,
            checks: Vec::new(),
            shapes: ResponseShapes::default(),
            previous: None,
            added_fields: Vec::new(),
        }
    }
}

/// Validates the `subject`, which answers at `api`, and compares it with `basis`, and the shapes of its
/// answers with the `previous` ones.
///
/// A server that fails is an expected outcome, so this always ends in a report. No request waits longer
/// than the API's timeout, and what makes further requests pointless ends the validation: a dead server
/// is judged at once, one that hangs after a single timeout.
pub async fn validate(
    api: &Api,
    subject: Subject<'_>,
    basis: Option<Basis<'_>>,
    previous: Option<&ResponseShapes>,
    observer: &dyn Observer,
) -> Report {
    let mut validation = Validation::new(api, subject, observer);
    validation.previous = previous;
    let known = validation.conformance().await;
    let quality = validation.quality(&known, basis).await;
    let known_answers = quality.as_ref().map(KnownAnswers::of);
    let throughput = validation.throughput(&known, basis).await;
    let gates = subject.gates;
    let found = |checks: &[Check]| {
        judge(Evidence {
            gates,
            checks,
            known_answers,
            quality: quality.as_ref(),
            throughput: throughput.as_ref(),
            basis,
            reference: subject.reference,
        })
    };
    let mut judgement = found(&validation.checks);
    let mut sweep = None;
    // After a failure nothing more is measured.
    if let Some(single) = throughput.as_ref().filter(|_| judgement.failures.is_empty()) {
        sweep = validation.sweep(&known, single).await;
        judgement = found(&validation.checks);
    }
    let mut arrivals = None;
    if let Some(wanted) = gates.arrivals.as_ref().filter(|_| judgement.failures.is_empty()) {
        arrivals = validation.arrivals(&known, wanted).await;
        judgement = found(&validation.checks);
        judgement.add(wanted, arrivals.as_ref());
    }
    for why in &judgement.not_judged {
        validation.observer.see(Event::Warning(why.clone()));
    }
    Report {
        generation: subject.generation,
        profile: subject.name.to_owned(),
        at: jiff::Timestamp::now(),
        checks: validation.checks,
        known_answers,
        quality,
        quality_comparison: judgement.quality,
        reference: judgement.reference,
        weights: subject.weights,
        shapes: validation.shapes,
        added_fields: validation.added_fields,
        throughput,
        sweep,
        arrivals,
        comparison: judgement.comparison,
        failures: judgement.failures,
        doubts: judgement.doubts,
        not_judged: judgement.not_judged,
        findings: Vec::new(),
        actual: None,
        figures: Vec::new(),
    }
}

/// Asks a server that serves now what a candidate's answers and expectations are compared with.
pub(crate) async fn quality_of(api: &Api, subject: Subject<'_>, observer: &dyn Observer) -> Option<Quality> {
    let mut validation = Validation::new(api, subject, observer);
    let known = Known { vllm: true, ..Known::of(api.model()) };
    validation.quality(&known, None).await
}

/// Measures one stream of a server that serves now as the baseline of these gates, until a comparison with it can
/// decide. Nothing else is asked of it.
pub(crate) async fn measure(
    api: &Api,
    subject: Subject<'_>,
    observer: &dyn Observer,
) -> Result<Report, String> {
    let gates = subject.gates;
    let least = gates.baseline.as_ref().map_or(1.0, |baseline| baseline.min_ratio);
    let looks = sequential::baseline_looks(gates.repetitions);
    let enough = |run: &Run| sequential::is_precise(run, least, gates.repetitions);
    let start_spread = subject.start_spread;
    let rule = Rule {
        looks: &looks,
        time: BASELINE_TIME,
        patience: BASELINE_PATIENCE,
        start_spread,
        enough: &enough,
    };
    let measured = speed::measure(api, gates, Prompting::Fixed, rule, observer)
        .await
        .map_err(|violation| violation.to_string())?;
    Ok(Report {
        generation: subject.generation,
        profile: subject.name.to_owned(),
        at: jiff::Timestamp::now(),
        weights: subject.weights,
        throughput: measured.throughput(),
        ..Report::default()
    })
}

impl Validation<'_> {
    /// Checks that the served name is there, and stands for this generation's model: an old server that kept
    /// the port would answer everything else just as well.
    fn right_model(&self, models: &Models) -> Result<(), Violation> {
        let wanted = self.api.model();
        let Some(model) = models.data.iter().find(|model| model.id == wanted) else {
            let served: Vec<_> = models.data.iter().map(|model| &*model.id).collect();
            return Err(Violation::Wrong(format!(
                "`{wanted}` is not served, only `{}`",
                served.join("`, `")
            )));
        };
        match (&model.root, self.subject.argv) {
            (Some(root), Some(argv)) if !argv.contains(root) => Err(Violation::Wrong(format!(
                "`{wanted}` is served from `{root}`, which is not what this generation runs"
            ))),
            _ => Ok(()),
        }
    }

    /// Measures one stream, if nothing failed before.
    async fn throughput(&mut self, known: &Known, basis: Option<Basis<'_>>) -> Option<Throughput> {
        if self.has_failed() {
            return None;
        }
        let began = Instant::now();
        let gates = self.subject.gates;
        let prompting = self.prompting(known);
        let theirs = basis.and_then(|basis| basis.throughput(gates)?.run());
        let looks = sequential::looks(gates.repetitions);
        let enough = |ours: &Run| {
            let shown = speed_shown(gates, ours, theirs.as_ref());
            shown.contains(&SequentialResult::Below) || !shown.contains(&SequentialResult::Open)
        };
        let rule = Rule {
            looks: &looks,
            time: Duration::MAX,
            patience: CANDIDATE_PATIENCE,
            start_spread: self.subject.start_spread,
            enough: &enough,
        };
        match speed::measure(self.api, gates, prompting, rule, self.observer).await {
            Ok(measured) => measured.throughput(),
            Err(violation) => {
                self.fail("throughput", began, &violation);
                None
            }
        }
    }

    /// Measures longer prompts and more streams. It gates nothing, except that every request must be
    /// answered.
    async fn sweep(&mut self, known: &Known, single: &Throughput) -> Option<Swept> {
        let began = Instant::now();
        let sweep = sweep::Sweep {
            api: self.api,
            gates: self.subject.gates,
            known,
            prompting: self.prompting(known),
            most_streams: self.subject.argv.and_then(most_streams),
            observer: self.observer,
        };
        match sweep.measure(single).await {
            Ok(swept) => Some(swept),
            Err(violation) => {
                self.fail("sweep", began, &violation);
                None
            }
        }
    }

    fn prompting(&self, known: &Known) -> Prompting {
        match (known.vllm, self.skipped("completion")) {
            (true, _) => Prompting::Fixed,
            (false, false) => Prompting::Completion,
            (false, true) => Prompting::Chat,
        }
    }

    fn has_failed(&self) -> bool {
        self.checks.iter().any(Check::failed)
    }

    fn passed(&self, name: &str) -> bool {
        self.checks.iter().any(|check| check.name == name && check.verdict == CheckOutcome::Pass)
    }

    fn skipped(&self, name: &str) -> bool {
        self.checks.iter().any(|check| check.name == name && check.verdict == CheckOutcome::Skipped)
    }

    fn fail(&mut self, name: &str, began: Instant, violation: &Violation) {
        self.record(name, CheckOutcome::Fail, Some(violation.to_string()), began.elapsed());
    }

    fn record(&mut self, name: &str, verdict: CheckOutcome, detail: Option<String>, took: Duration) {
        let check = Check { name: name.to_owned(), verdict, detail, ms: took.as_secs_f64() * 1000.0 };
        self.observer.see(Event::Checked(check.clone()));
        self.checks.push(check);
    }
}

/// The value of `--max-num-seqs` in this command line.
fn most_streams(argv: &[String]) -> Option<u32> {
    Arguments::of(argv).value("--max-num-seqs")?.parse().ok()
}
