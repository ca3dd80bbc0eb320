//! A real server's verdicts beside users: `run.sh` starts it several times, validates each start beside seeded users, and
//! judges every two validations as a baseline and its candidate.
//!
//! ```text
//! beside-users users URL MODEL SEED            # uses that server until it is ended
//! beside-users measure URL MODEL NAME FOLDER   # one validation: a report in FOLDER
//! beside-users judge FOLDER                    # all pairs
//! ```
//!
//! A report's name begins with its start: `3-1` is the first of the third.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own")]
#![allow(clippy::expect_used, reason = "a benchmark is told and tells")]
#![allow(clippy::disallowed_methods, reason = "a report is a file that can be made again")]

use awqdeploy::{
    domain::{
        api::openai::Request,
        generation_id::GenerationId,
        measure::{Sample, Throughput, USUAL_START_SPREAD},
        profile::{Baseline, Gates, Sweep},
        validation::{
            report::{Report, Verdict},
            spread::start_spread,
            verdict::{Basis, Evidence, judge},
        },
    },
    flow::validate::{Subject, validate},
    host::vllm::api::Api,
};
use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path, process::ExitCode, time::Duration};
use tokio::runtime::Builder;

const PATIENCE: Duration = Duration::from_mins(2);
/// Users at the same time, each of whom thinks for so long between two questions, on average.
const USERS: u64 = 2;
const THINKS: Duration = Duration::from_secs(15);
/// Tokens of an answer to them.
const ANSWERS: [u32; 4] = [16, 32, 64, 96];
/// Requests of each validation, at least: as many as a candidate has at the last look.
const REQUESTS: u32 = 12;
const TOKENS: u32 = 64;
const LEAST: f64 = 0.85;
/// The candidate that must be found.
const SLOW: f64 = 0.7;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let events = Builder::new_current_thread().enable_all().build().expect("an event loop");
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["users", address, model, seed] => {
            let seed: u64 = seed.parse().expect("a seed");
            events.block_on(async {
                futures_util::future::join_all(
                    (0..USERS).map(|user| use_it(address, model, seed * USERS + user)),
                )
                .await
            });
        }
        ["measure", address, model, name, folder] => {
            let report = events.block_on(measure(address, model));
            let path = Path::new(folder).join(format!("{name}.json"));
            fs::write(path, serde_json::to_string(&report).expect("a document")).expect("a file");
            println!("{name}: {}", told(&report));
        }
        ["judge", folder] => print!("{}", table(&reports(Path::new(folder)))),
        _ => {
            eprintln!("usage: beside-users users|measure|judge …; see benches/users/pairs.rs");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn api(address: &str, model: &str) -> Api {
    Api::at(address.parse().expect("an address"), model, PATIENCE).expect("a client")
}

/// A user who asks, reads and thinks, without an end.
async fn use_it(address: &str, model: &str, seed: u64) {
    let api = api(address, model);
    let mut chance = fastrand::Rng::with_seed(seed);
    loop {
        let thinks = -(1.0 - chance.f64()).ln() * THINKS.as_secs_f64();
        tokio::time::sleep(Duration::from_secs_f64(thinks)).await;
        let question = format!("User {seed} asks {}:", chance.u32(..));
        let tokens = ANSWERS[chance.usize(..ANSWERS.len())];
        // A server that is being ended answers no more; its next start does.
        let _answer = api.stream(&Request::complete(question, tokens).to_the_limit()).await;
    }
}

fn gates() -> Gates {
    Gates {
        min_decode_tokens_per_second: 1.0,
        output_tokens: TOKENS,
        repetitions: REQUESTS,
        sweep: Sweep { prompt_tokens: Vec::new(), concurrency: Vec::new(), ..Sweep::default() },
        ..Gates::default()
    }
}

async fn measure(address: &str, model: &str) -> Report {
    let gates = gates();
    let subject = Subject {
        generation: Some(GenerationId(1)),
        name: "old",
        gates: &gates,
        argv: None,
        start_spread: USUAL_START_SPREAD,
        weights: None,
        reference: None,
    };
    validate(&api(address, model), subject, None, None, &|_| {}).await
}

fn told(report: &Report) -> String {
    let failures = report.failures.join("; ");
    report.throughput.as_ref().map_or_else(
        || failures.clone(),
        |speed| {
            format!(
                "{:.1} tokens/s, {} requests, {} made anew, {} thrown away, beside {:.1} users. {failures}",
                speed.decode_tokens_per_second.median,
                speed.requests,
                speed.made_anew,
                speed.thrown_away,
                speed.beside()
            )
        },
    )
}

/// All reports, by their names.
fn reports(folder: &Path) -> BTreeMap<String, Report> {
    let files = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let reports = files.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    reports
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, serde_json::from_slice(&fs::read(&path).expect("a file")).expect("a report"))
        })
        .collect()
}

fn start_of(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// This report, of a server that is so much as fast, on a host whose starts differ so much.
fn at(report: &Report, factor: f64, spread: f64) -> Report {
    let slower = |sample: &Sample| Sample {
        e2el_ms: sample.ttft_ms + (sample.e2el_ms - sample.ttft_ms) / factor,
        ..sample.clone()
    };
    let throughput = report.throughput.as_ref().and_then(|speed| {
        let samples: Vec<Sample> = speed.samples.iter().map(slower).collect();
        Some(Throughput::of(&samples)?.among_starts(spread))
    });
    Report { throughput, ..report.clone() }
}

fn verdict(baseline: &Report, candidate: &Report) -> Verdict {
    let gates = Gates {
        baseline: Some(Baseline { profile: "old".to_owned(), min_ratio: LEAST, required: true }),
        ..gates()
    };
    let judged = judge(Evidence {
        gates: &gates,
        checks: &candidate.checks,
        known_answers: None,
        quality: None,
        throughput: candidate.throughput.as_ref(),
        basis: Some(Basis::Live(baseline)),
        reference: None,
    });
    Report { failures: judged.failures, doubts: judged.doubts, ..Report::default() }.verdict()
}

/// How many of all ordered pairs pass, fail and are open.
fn table(reports: &BTreeMap<String, Report>) -> String {
    let mut out = String::new();
    let failed: Vec<String> = reports
        .iter()
        .filter(|(_, report)| !report.passed())
        .map(|(name, report)| format!("{name}: {}", report.reasons().join("; ")))
        .collect();
    let mut starts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, report) in reports {
        let speed = report.throughput.as_ref().filter(|speed| speed.beside() == 0.0);
        let quiet = speed.map(|speed| speed.decode_tokens_per_second.median);
        starts.entry(start_of(name)).or_default().extend(quiet);
    }
    let of_starts: Vec<f64> = starts.values().filter_map(|rates| middle(rates)).collect();
    let learned = start_spread([of_starts.as_slice()]);
    let _ = writeln!(
        out,
        "{} validations of {} starts, {} of them not passed by themselves; the starts' medians: {}; their spread as \
         learned: {:.1} %\n",
        reports.len(),
        starts.len(),
        failed.len(),
        of_starts.iter().map(|rate| format!("{rate:.1}")).collect::<Vec<_>>().join(", "),
        learned * 100.0
    );
    for why in failed {
        let _ = writeln!(out, "- {why}");
    }
    out.push_str("| the candidate | spread of starts | pairs | passes | fails | is left open |\n|---|---:|---:|---:|---:|---:|\n");
    for (factor, spread) in
        [(1.0, USUAL_START_SPREAD), (1.0, learned), (SLOW, USUAL_START_SPREAD), (SLOW, learned)]
    {
        let ours: BTreeMap<&String, Report> =
            reports.iter().map(|(name, report)| (name, at(report, factor, spread))).collect();
        let theirs: BTreeMap<&String, Report> =
            reports.iter().map(|(name, report)| (name, at(report, 1.0, spread))).collect();
        for (which, same) in [("the same start", true), ("other starts", false)] {
            let pairs = ours.iter().flat_map(|(our, ours)| {
                theirs
                    .iter()
                    .filter(move |(their, _)| **their != *our && (start_of(their) == start_of(our)) == same)
                    .map(move |(_, theirs)| verdict(theirs, ours))
            });
            let verdicts: Vec<Verdict> = pairs.collect();
            let share = |wanted: Verdict| {
                let count = verdicts.iter().filter(|verdict| **verdict == wanted).count();
                100.0 * count as f64 / verdicts.len().max(1) as f64
            };
            let _ = writeln!(
                out,
                "| {factor:.2} of the baseline, {which} | {:.1} % | {} | {:.1} % | {:.1} % | {:.1} % |",
                spread * 100.0,
                verdicts.len(),
                share(Verdict::Pass),
                share(Verdict::Fail),
                share(Verdict::Inconclusive)
            );
        }
    }
    out
}

fn middle(rates: &[f64]) -> Option<f64> {
    let mut rates = rates.to_vec();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len().checked_sub(1)? / 2).copied()
}
