//! Validation of a running server: passes when it is well, and says what is wrong when it is not.

use crate::{
    running_engine::{plan, start},
    stand::NEVER,
};
use awqdeploy::{
    domain::{
        digest::Sha256Digest,
        generation_id::GenerationId,
        measure::Throughput,
        planning::plan::Plan,
        profile::Baseline,
        validation::{
            quality::Quality,
            reference::{Reference, ReferenceOf},
            report::{CheckOutcome, KnownAnswers, Report},
            verdict::Basis,
        },
        vllm::startup_log::{Failure, Reason},
    },
    flow::{
        event::Event,
        validate::{Subject, validate},
    },
    host::{process::owned::OwnedProcesses, rehearsal::engine::EngineFault, vllm::api::Api},
};
use std::{
    cell::RefCell,
    collections::BTreeSet,
    net::TcpListener,
    time::{Duration, Instant},
};

/// Fast enough for tests, and far from the floor of 5.
const RATE: f64 = 200.0;

/// For what takes many tokens.
const FAST: f64 = 2000.0;

async fn judged(plan: &Plan, baseline: Option<&Report>) -> (Report, Vec<Event>) {
    let api = Api::of(plan, OwnedProcesses::Ours).unwrap();
    let events = RefCell::new(Vec::new());
    let observer = |event| events.borrow_mut().push(event);
    let began = Instant::now();
    let report = validate(
        &api,
        Subject::generation(GenerationId(2), plan),
        baseline.map(Basis::Stored),
        None,
        &observer,
    )
    .await;
    // No verdict waits for a timeout, however ill the server is.
    assert!(began.elapsed() < NEVER, "took {:?}", began.elapsed());
    (report, events.into_inner())
}

fn names(report: &Report) -> Vec<&str> {
    report.checks.iter().map(|check| &*check.name).collect()
}

#[tokio::test]
async fn a_healthy_server_passes() {
    let engine = start(RATE, None);
    let mut plan = engine.plan();
    plan.gates.min_known_answers = Some(1.0);
    let (report, events) = judged(&plan, None).await;
    assert_eq!(report.failures, [""; 0]);
    assert!(report.passed());
    assert_eq!((report.generation, &*report.profile), (Some(GenerationId(2)), "awq"));
    let names = names(&report);
    assert!(names.len() >= 60, "{}", names.len());
    let distinct: BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "names are not distinct");
    let skipped: Vec<_> = report
        .checks
        .iter()
        .filter(|check| check.verdict != CheckOutcome::Pass)
        .map(|check| &*check.name)
        .collect();
    assert_eq!(skipped, ["tools", "key-required", "key-compared"]);
    let right = KnownAnswers { right: 30, asked: 30, not_asked: 0, version: 2 };
    assert_eq!(report.known_answers, Some(right));
    let throughput = report.throughput.unwrap();
    assert!(throughput.requests >= 3);
    assert_eq!(throughput.output_tokens, 8);
    // No more than that there is a rate: on a busy machine the client gets late what the engine sent in time.
    let rate = throughput.decode_tokens_per_second.median;
    assert!(rate.is_finite() && rate > 0.0, "{rate}");
    assert!(throughput.samples.iter().all(|sample| sample.ttft_ms >= 5.0));

    let measured: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Measured { request, of, .. } => Some((*request, *of)),
            _ => None,
        })
        .collect();
    assert_eq!(measured[..3], [(1, 3), (2, 3), (3, 3)]);
    let checked = |event: &&Event| matches!(event, Event::Checked(_));
    assert_eq!(events.iter().filter(checked).count(), report.checks.len());
}

#[tokio::test]
async fn a_request_that_was_cut_short_is_no_other_user() {
    let engine = start(RATE, None);
    let mut plan = engine.plan();
    (plan.gates.min_decode_tokens_per_second, plan.gates.output_tokens) = (100_000.0, 400);
    let (report, events) = judged(&plan, None).await;
    let measured = events.iter().filter(|event| matches!(event, Event::Measured { .. })).count();
    assert!((2..=12).contains(&measured), "{measured}: what is far below the floor is not measured anew");
    assert_eq!(report.throughput.unwrap().made_anew, 0);
    assert!(report.failures.iter().all(|why| !why.contains("beside")), "{:?}", report.failures);
}

#[tokio::test]
async fn the_baseline_is_compared_with() {
    let engine = start(RATE, None);
    let mut plan = engine.plan();
    plan.gates.baseline = Some(Baseline { profile: "gptq".to_owned(), min_ratio: 0.85, required: true });
    let (first, events) = judged(&plan, None).await;
    assert_eq!(first.failures, ["the gate on speed is not judged: `gptq` was never measured on this host"]);
    assert_eq!(first.not_judged, first.failures);
    let warned =
        events.iter().any(|event| matches!(event, Event::Warning(text) if *text == first.not_judged[0]));
    assert!(warned, "{events:?}");

    let mut baseline = Report { profile: "gptq".to_owned(), failures: Vec::new(), ..first };
    let measured = baseline.throughput.as_mut().unwrap();
    for sample in &mut measured.samples {
        sample.e2el_ms = sample.ttft_ms + (sample.e2el_ms - sample.ttft_ms) / 100.0;
    }
    *measured = Throughput::of(&measured.samples).unwrap();
    let (second, _) = judged(&plan, Some(&baseline)).await;
    assert_eq!(second.failures.len(), 1);
    assert!(second.failures[0].contains("below the tolerated 0.85"));
    assert!(second.comparison.unwrap().ratio < 0.85);
}

#[tokio::test]
async fn nobody_there() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let (report, _) = judged(&plan(address), None).await;
    let sentence =
        format!("check `health`: nobody answers at `{address}`: Connection refused (os error 111)");
    assert_eq!(report.failures, [sentence]);
    assert_eq!(names(&report), ["health"]);
    assert_eq!(report.throughput, None);
}

#[tokio::test]
async fn another_server_on_the_port_is_found_out() {
    let engine = start(RATE, None);
    let mut plan = engine.plan();
    plan.model.served_name = "other".to_owned();
    let (report, _) = judged(&plan, None).await;
    let sentence = "check `models`: `other` is not served, only `tiny`";
    assert_eq!(report.failures, [sentence]);

    let mut plan = engine.plan();
    plan.serve.argv[1] = "/store/models/new".to_owned();
    let (report, _) = judged(&plan, None).await;
    assert_eq!(
        report.failures,
        [
            "check `models`: `tiny` is served from `/store/models/tiny`, which is not what this generation runs"
        ]
    );
    assert_eq!(names(&report), ["health", "models"]);
}

/// The failures of an engine with this fault, with gates made for it.
async fn failures(fault: EngineFault, change: impl FnOnce(&mut Plan)) -> Vec<String> {
    let engine = start(FAST, Some(fault));
    let mut plan = engine.plan();
    change(&mut plan);
    judged(&plan, None).await.0.failures
}

const ENGINE_DEAD: &str = "EngineCore encountered an issue. See stack trace (above) for the root cause.";

#[tokio::test]
async fn slow() {
    let engine = start(FAST, Some(EngineFault::Slow));
    let mut plan = engine.plan();
    plan.gates.min_decode_tokens_per_second = 1000.0;
    let failures = judged(&plan, None).await.0.failures;
    let [sentence] = &failures[..] else {
        panic!("{failures:?}");
    };
    let rate = sentence
        .strip_prefix("decode ")
        .and_then(|rest| rest.strip_suffix(" tokens/s is below the floor of 1000.0"));
    let rate: f64 = rate.unwrap_or_else(|| panic!("{sentence}")).parse().unwrap();
    assert!((10.0..200.0).contains(&rate), "{rate}");
}

#[tokio::test]
async fn wrong_text() {
    let gated = failures(EngineFault::WrongText, |plan| {
        plan.gates.min_known_answers = Some(0.8);
    })
    .await;
    let sentence = "check `text-varies`: every one of 4 answers is `!` over and over";
    assert_eq!(gated, [sentence]);
    // Nor does any model talk like this that has no gate on its answers.
    assert_eq!(failures(EngineFault::WrongText, |_| {}).await, [sentence]);
}

#[tokio::test]
async fn crash() {
    let engine = start(RATE, Some(EngineFault::Crash));
    let (report, _) = judged(&engine.plan(), None).await;
    assert_eq!(report.failures.len(), 1);
    assert!(report.failures[0].starts_with("check `health`: nobody answers at"));
    let log = engine.log();
    let reason = Reason::among(log.iter().map(|line| &**line)).unwrap();
    assert_eq!(reason.failure, Failure::GpuOutOfMemory);
    assert!(engine.end().is_err(), "exits with a status that is not 0");
}

#[tokio::test]
async fn crash_serving() {
    let engine = start(RATE, Some(EngineFault::CrashServing));
    let (report, _) = judged(&engine.plan(), None).await;
    let [sentence] = &report.failures[..] else {
        panic!("{:?}", report.failures);
    };
    assert!(sentence.starts_with("check `chat-stream`: the answer broke off"), "{sentence}");
    assert!(engine.end().is_ok(), "exits with status 0, as vLLM does");
}

#[tokio::test]
async fn hang() {
    let failures = failures(EngineFault::Hang, |plan| {
        plan.timeouts.request = Duration::from_secs(4);
    })
    .await;
    let sentence = "check `completion`: no complete answer within 4 s";
    assert_eq!(failures, [sentence]);
}

#[tokio::test]
async fn dead_engine() {
    let engine = start(RATE, Some(EngineFault::DeadEngine));
    let (report, _) = judged(&engine.plan(), None).await;
    let sentence = format!("check `chat-stream`: answered status 500: {ENGINE_DEAD}");
    assert_eq!(report.failures, [sentence]);
    // Once it is dead, its health says so.
    let (report, _) = judged(&engine.plan(), None).await;
    assert_eq!(report.failures, ["check `health`: answered status 503"]);
}

#[tokio::test]
async fn broken() {
    let failures = failures(EngineFault::Broken, |_| {}).await;
    let sentence = format!("check `completion`: answered status 500: {ENGINE_DEAD}");
    assert_eq!(failures, [sentence]);
}

#[tokio::test]
async fn error_stream() {
    let failures = failures(EngineFault::ErrorStream, |_| {}).await;
    let sentence =
        format!("check `chat-stream`: reported an error in the middle of the stream: {ENGINE_DEAD}");
    assert_eq!(failures, [sentence]);
}

#[tokio::test]
async fn a_context_too_short_to_measure_in_is_told_in_the_servers_words() {
    let engine = start(RATE, None);
    let mut plan = engine.plan();
    plan.gates.output_tokens = 4000;
    let (report, _) = judged(&plan, None).await;
    assert_eq!(
        report.failures,
        [
            "check `throughput`: answered status 400: max_tokens=4000 cannot be greater than max_model_len=2048. Please request fewer output tokens. (parameter=max_tokens, value=4000)"
        ]
    );
}

/// Every way to go wrong that the engine knows, and the finding that names it.
#[tokio::test]
async fn every_planted_fault_is_named() {
    for (fault, finding) in [
        (EngineFault::NoUsage, "check `chat-stream`: the answer broke off: the stream has no usage chunk"),
        (EngineFault::NoDone, "check `chat-stream`: the answer broke off: the stream ended without `[DONE]`"),
        (EngineFault::NoRole, "check `chat-stream-role-first`: the answer begins without a role"),
        (EngineFault::TwoEnds, "check `chat-stream-one-end`: 2 chunks end the stream"),
        (EngineFault::HalfCharacter, "check `chat-stream-framing`: the stream is no UTF-8 text"),
        (EngineFault::WrongUsage, "check `completion-usage`: the usage does not add up: 5 + 4 is not 10"),
        (EngineFault::TextCode, "check `error-unknown-model`: answered something that is not this API"),
        (EngineFault::IgnoresStop, "check `stop`: the text goes on behind the `stop` of"),
        (
            EngineFault::IgnoresSeed,
            "check `seed-repeats`: the same `seed` gave another answer in each of 3 tries",
        ),
        (EngineFault::IgnoresLimit, "check `completion-usage`: 7 tokens were generated, where 1 to 4 were"),
        (
            EngineFault::AnyModel,
            "check `error-unknown-model`: a client's mistake was answered with status 200",
        ),
        (
            EngineFault::KeepsRunning,
            "check `disconnect-frees-slot`: a request still runs 5 s after its client",
        ),
        (
            EngineFault::WrongTokens,
            "check `tokenize-agrees`: the prompt has 6 tokens, and 5 by a completion's usage",
        ),
        (EngineFault::WrongTemplate, "0 of 30 known answers were right, below the share of 0.8"),
        (EngineFault::EmptyAnswers, "30 of 30 answers are gibberish: it says nothing"),
        (EngineFault::Repeats, "30 of 30 answers are gibberish: the same words over and over"),
        (
            EngineFault::Endless,
            "30 of 30 answers did not end within 48 tokens, above the tolerated share of 0.5",
        ),
        (EngineFault::Blank, "30 of 30 answers are gibberish: white space without end"),
        (EngineFault::NextTurn, "30 of 30 answers are gibberish: it goes on after its answer"),
    ] {
        let found = failures(fault, |plan| plan.gates.min_known_answers = Some(0.8)).await;
        assert!(found.iter().any(|failure| failure.starts_with(finding)), "{fault}: {found:#?}");
    }
}

/// Right answers that do not end are a loss beside a baseline whose answers do.
#[tokio::test]
async fn answers_that_never_end_are_a_loss() {
    let sound = start(FAST, None);
    let mut plan = sound.plan();
    plan.gates.min_known_answers = Some(0.8);
    let (baseline, _) = judged(&plan, None).await;
    let cut = baseline.quality.as_ref().and_then(Quality::cut);
    assert_eq!((baseline.reasons(), cut), (vec![], Some([0, 30])));
    let engine = start(FAST, Some(EngineFault::Endless));
    let mut plan = engine.plan();
    plan.gates.min_known_answers = Some(0.8);
    plan.gates.baseline =
        Some(Baseline { profile: baseline.profile.clone(), min_ratio: 0.01, required: true });
    let (report, _) = judged(&plan, Some(&baseline)).await;
    assert_eq!(
        report.failures,
        [
            "30 answers that the baseline ended by itself did not end within 48 tokens, and 0 the other way round \
          (probability by chance below 0.001)"
        ]
    );
    assert_eq!(report.known_answers.map(|answers| answers.right), Some(30));
}

/// Damage that no question shows is seen by what the model expects: beyond any limit of another quantisation, and beyond
/// that of the same weights.
#[tokio::test]
async fn what_a_model_expects_is_compared() {
    let sound = start(FAST, None);
    let mut plan = sound.plan();
    plan.gates.min_known_answers = Some(0.8);
    plan.model.digest = Some(Sha256Digest::of("weights"));
    let (record, _) = judged(&plan, None).await;
    let quality = record.quality.as_ref().unwrap();
    let expectations = quality.expectations.as_ref().unwrap();
    assert_eq!((record.reasons(), record.weights), (vec![], plan.model.digest));
    assert_eq!(expectations.depth, 20);
    let names: Vec<&str> = expectations.texts.iter().map(|text| &*text.name).collect();
    // To this engine a word is a token, and Chinese one of them.
    assert_eq!(names[..6], ["prose", "code", "german", "facts", "copy", "rows"]);
    assert!(expectations.bits_per_byte().is_some_and(f64::is_finite));
    let stored: Report = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
    assert!(serde_json::to_string(&stored.quality).unwrap().len() < 200_000);
    let same = Reference {
        quality: stored.quality.as_ref().unwrap(),
        of: ReferenceOf::SameWeights,
        named: "the same weights",
        required: false,
    };
    let beside = async |plan: &Plan| {
        let api = Api::of(plan, OwnedProcesses::Ours).unwrap();
        let subject = Subject { reference: Some(same), ..Subject::generation(GenerationId(3), plan) };
        validate(&api, subject, None, None, &|_: Event| {}).await
    };
    let again = beside(&plan).await;
    assert_eq!(again.reasons(), [""; 0]);
    // The kept figure is rounded, and nothing else differs.
    let mean = again.reference.unwrap().divergence.unwrap().mean.unwrap();
    assert!(mean < 1e-4, "{mean}");

    let engine = start(FAST, Some(EngineFault::Skewed));
    let mut plan = engine.plan();
    plan.gates.min_known_answers = Some(0.8);
    let failures = beside(&plan).await.failures;
    assert!(failures.len() == 1 && failures[0].contains("beyond the tolerated 0.005"), "{failures:?}");
    let profile = record.profile.clone();
    plan.gates.baseline = Some(Baseline { profile, min_ratio: 0.01, required: true });
    plan.gates.quality.max_divergence = Some(0.15);
    let failures = judged(&plan, Some(&record)).await.0.failures;
    assert!(failures.len() == 1 && failures[0].contains("beyond the tolerated 0.15"), "{failures:?}");
}

/// A server that is well must have no failure, however often it is asked.
#[tokio::test]
async fn a_healthy_server_is_never_found_wrong() {
    let engine = start(FAST, None);
    let mut plan = engine.plan();
    plan.gates.min_known_answers = Some(1.0);
    for run in 0..50 {
        let (report, _) = judged(&plan, None).await;
        assert_eq!(report.reasons(), [""; 0], "run {run}");
    }
}

/// Every check of a server that offers all, in order, for the document.
pub(crate) fn checks() -> String {
    let engine = start(FAST, None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (report, _) = runtime.block_on(judged(&engine.plan(), Some(&Report::default())));
    let names: Vec<_> = names(&report).iter().map(|name| format!("`{name}`")).collect();
    format!("{} checks: {}.", names.len(), names.join(", "))
}
