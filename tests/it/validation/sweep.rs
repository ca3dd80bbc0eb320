//! More streams and longer prompts: what of them fits into a time, what is measured, and in which shape
//! other people's tools get it.

use crate::{
    recorded::read_request,
    running_engine::{plan, start},
    stand::{PROGRAM, Stand},
};
use awqdeploy::{
    domain::{
        generation_id::GenerationId,
        measure::Sample,
        planning::plan::Plan,
        profile::Sweep,
        validation::{
            report::Report,
            sweep::{Concurrency, Level, Pace, Readings, longest_prompt},
        },
    },
    flow::validate::{Subject, validate},
    host::{process::owned::OwnedProcesses, vllm::api::Api},
};
use proptest::prelude::*;
use serde_json::Value;
use std::{
    fs,
    io::{self, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// One stream at this rate, with 20 ms to the first of its tokens.
fn pace(tokens_per_second: f64) -> Pace {
    Pace { streams: 1, input_len: 60, ttft: 0.02, tpot: 1.0 / tokens_per_second }
}

#[test]
fn a_slow_server_is_measured_shorter_or_not_at_all() {
    // 15 s for four streams: a minute in four parts.
    for (rate, level) in [
        (100.0, Some((8, 128, 16))),
        // Two rounds of 4 × 25.6 s do not fit, one of 4 × (0.02 + n / 5) does: n = 18.
        (5.0, Some((4, 18, 0))),
        (4.0, None),
        (0.1, None),
    ] {
        let level = level.map(|(requests, output_tokens, warmup_tokens)| Level {
            streams: 4,
            requests,
            output_tokens,
            warmup_tokens,
        });
        assert_eq!(pace(rate).level(4, 128, 15.0), level, "{rate} tokens/s");
    }
    // Short answers that a profile asks for are enough.
    assert_eq!(
        pace(100.0).level(2, 8, 1.0),
        Some(Level { streams: 2, requests: 4, output_tokens: 8, warmup_tokens: 8 })
    );
}

#[test]
fn prompts_are_read_as_often_as_there_is_time() {
    let pace = Pace { ttft: 0.5, input_len: 100, ..pace(50.0) };
    for (tokens, seconds, count) in [
        (100, 10.0, Some((1, 3))),
        (1000, 10.0, Some((1, 1))),
        (4000, 10.0, None),
        (10, 0.6, Some((0, 1))),
        (10, 0.1, None),
    ] {
        let count = count.map(|(warmups, requests)| Readings { warmups, requests });
        assert_eq!(pace.prompts(tokens, seconds), count, "{tokens} tokens in {seconds} s");
    }
    assert_eq!(longest_prompt(2048), 1843);
}

proptest! {
    /// However fast or slow: a level that shares what one stream had never takes longer than it may.
    #[test]
    fn a_level_fits_into_its_time(
        rate in 0.01f64..1e5, ttft in 0.0f64..100.0, streams in 1u32..=256, tokens in 2u32..2000, seconds in 0.0f64..1000.0
    ) {
        let pace = Pace { ttft, ..pace(rate) };
        if let Some(level) = pace.level(streams, tokens, seconds) {
            let rounds = f64::from(level.requests / streams);
            let answer = |tokens: u32| (ttft + f64::from(tokens) / rate) * f64::from(streams);
            let warmup = if level.warmup_tokens > 0 { answer(level.warmup_tokens) } else { 0.0 };
            let each = answer(level.output_tokens);
            prop_assert!(level.output_tokens >= 1 && level.output_tokens <= tokens);
            let all = warmup + rounds * each;
            prop_assert!(all <= seconds * (1.0 + 1e-9), "{all} s");
        }
    }
}

/// By hand: two streams, two requests each, of three tokens with 10 ms between.
#[test]
fn throughput_is_of_all_streams() {
    let sample = |began_ms: f64| Sample {
        began_ms,
        prompt_tokens: 7,
        ttft_ms: 30.0,
        e2el_ms: 50.0,
        tokens: 3,
        itl_ms: vec![10.0, 10.0],
        ..Sample::default()
    };
    let level = Concurrency::of(2, vec![sample(50.0), sample(0.0), sample(0.0), sample(50.0)]).unwrap();
    assert_eq!((level.completed, level.total_input_tokens, level.total_output_tokens), (4, 28, 12));
    assert!((level.duration - 0.1).abs() < 1e-9 && (level.output_throughput - 120.0).abs() < 1e-6);
    assert!((level.request_throughput - 40.0).abs() < 1e-6 && (level.tpot_ms.median - 10.0).abs() < 1e-9);
    assert_eq!(level.itl_ms.n, 8);
    assert!(level.samples.is_sorted_by(|a, b| a.began_ms <= b.began_ms));
    assert_eq!(Concurrency::of(2, Vec::new()), None);
}

async fn judged(plan: &Plan) -> Report {
    let subject = Subject::generation(GenerationId(1), plan);
    validate(&Api::of(plan, OwnedProcesses::Ours).unwrap(), subject, None, None, &|_| {}).await
}

#[tokio::test]
async fn streams_and_prompts_are_measured() {
    let engine = start(400.0, None);
    let mut plan = engine.plan();
    plan.gates.output_tokens = 16;
    plan.gates.sweep = Sweep {
        prompt_tokens: vec![50, 400, 4096],
        concurrency: vec![1, 4, 16],
        time: Duration::from_mins(10),
    };
    plan.serve.argv.extend(["--max-num-seqs".to_owned(), "8".to_owned()]);
    let report = judged(&plan).await;
    assert_eq!(report.failures, [""; 0]);
    let sweep = report.sweep.unwrap();
    assert_eq!(
        sweep.left_out,
        ["a prompt of 4096 tokens: the context has 2048", "16 streams: the engine answers 8 at once"]
    );
    let lengths: Vec<u32> = sweep.prompts.iter().map(|length| length.input_len).collect();
    // Estimated from characters, counted by the server.
    assert!((40..=60).contains(&lengths[0]) && (350..=450).contains(&lengths[1]), "{lengths:?}");
    assert!(sweep.prompts.iter().all(|length| length.warmups == 1));
    let deep = sweep.deep.unwrap();
    assert!(deep.input_len > 1500 && deep.output_tokens == 16 && deep.gibberish.is_none(), "{deep:?}");
    let [one, four] = &sweep.streams[..] else { panic!("{:?}", sweep.streams) };
    assert_eq!((one.max_concurrency, four.max_concurrency, four.completed), (1, 4, 8));
    assert_eq!((one.warmups, four.warmups), (0, 4));
    assert!(four.samples.iter().all(|sample| sample.tokens == 16));
    // At once, not one after the other.
    let first_end =
        four.samples.iter().map(|sample| sample.began_ms + sample.e2el_ms).fold(f64::MAX, f64::min);
    assert!(four.samples[..4].iter().all(|sample| sample.began_ms < first_end), "{four:?}");
}

/// In front of a server: turns away every connection beyond five.
fn overloaded(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let open = Arc::new(AtomicU32::new(0));
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let open = Arc::clone(&open);
            thread::spawn(move || {
                if open.fetch_add(1, Ordering::SeqCst) < 5 {
                    let server = TcpStream::connect(server).unwrap();
                    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    thread::spawn(move || drop(io::copy(&mut from, &mut to)));
                    let _hung_up = io::copy(&mut &server, &mut client);
                    let _gone = server.shutdown(Shutdown::Both);
                } else {
                    read_request(&mut client);
                    let _told = client.write_all(b"HTTP/1.1 503 Overloaded\r\ncontent-length: 0\r\n\r\n");
                }
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    address
}

/// Eight streams fail where four did not: no verdict on one stream would have shown that.
#[tokio::test]
async fn a_server_that_fails_under_load_does_not_pass() {
    let engine = start(400.0, None);
    let mut plan = engine.plan();
    plan.serve.listen.port = overloaded(engine.address).port();
    plan.gates.sweep =
        Sweep { prompt_tokens: vec![], concurrency: vec![1, 8], time: Duration::from_secs(10) };
    let report = judged(&plan).await;
    let [failure] = &report.failures[..] else { panic!("{:?}", report.failures) };
    assert!(failure.starts_with("check `sweep`: answered status 503"), "{failure}");
    assert_eq!(report.sweep, None);
}

#[tokio::test]
async fn what_is_too_slow_already_is_not_measured_further() {
    let engine = start(400.0, None);
    let mut plan = engine.plan();
    plan.gates.min_decode_tokens_per_second = 100_000.0;
    let report = judged(&plan).await;
    assert!(report.failures[0].contains("below the floor"), "{:?}", report.failures);
    assert_eq!(report.sweep, None);
}

#[test]
fn plans_of_before_there_was_a_sweep_are_read() {
    let mut stored = serde_json::to_value(plan("127.0.0.1:1".parse().unwrap())).unwrap();
    stored["gates"].as_object_mut().unwrap().remove("sweep");
    let plan: Plan = serde_json::from_value(stored).unwrap();
    assert_eq!(plan.gates.sweep, Sweep::default());
}

/// The file that `vllm bench serve` 0.32.0 wrote of a real run.
const RECORDED: &str = include_str!("../../fixtures/vllm-bench/chat-detailed.json");

#[test]
fn the_export_has_the_names_and_types_of_vllms_own() {
    let text = written(&Stand::serving(), "--vllm-bench");
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let runs: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(runs.len() >= 2, "{text}");
    for run in &runs {
        alike("run", &recorded, run);
        alike("run", run, &recorded);
        let requests = run["num_prompts"].as_u64().unwrap();
        for list in ["input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times"] {
            assert_eq!(run[list].as_array().unwrap().len() as u64, requests, "{list}");
        }
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs().max(1.0);
        let number = |name: &str| run[name].as_f64().unwrap();
        assert!(close(number("median_ttft_ms"), number("p50_ttft_ms")), "{run:#}");
        assert!(close(number("output_throughput") * number("duration"), number("total_output_tokens")));
        assert!(number("max_output_tokens_per_s") >= 1.0 && number("max_concurrent_requests") >= 1.0);
    }
    assert_eq!(runs[1]["max_concurrency"], 2);
}

/// The file that `report` writes with this option.
fn written(stand: &Stand, option: &str) -> String {
    let file = stand.path("written");
    let said = Command::new(PROGRAM)
        .args(["--root", stand.context.layout().root().to_str().unwrap(), "report", option])
        .arg(&file)
        .output()
        .unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    fs::read_to_string(file).unwrap()
}

/// The schema that guidellm 0.8.1 checks a report by before it reads it:
/// `GenerativeBenchmarksReport.model_json_schema()`, without its prose.
const GUIDELLM: &str = include_str!("../../fixtures/guidellm/report-v2.schema.json");

#[test]
fn guidellm_reads_the_export_and_finds_the_same_medians() {
    let stand = Stand::serving();
    let report: Value = serde_json::from_str(&written(&stand, "--guidellm")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(GUIDELLM).unwrap()).unwrap();
    let faults: Vec<_> =
        schema.iter_errors(&report).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert_eq!(faults, [""; 0]);

    let runs = written(&stand, "--vllm-bench");
    let runs: Vec<Value> = runs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let benchmarks = report["benchmarks"].as_array().unwrap();
    assert_eq!(benchmarks.len(), runs.len());
    for (benchmark, run) in benchmarks.iter().zip(&runs) {
        assert_eq!(benchmark["config"]["strategy"]["streams"], run["max_concurrency"]);
        assert_eq!(benchmark["metrics"]["request_totals"]["successful"], run["completed"]);
        let close = |name: &str, statistic: &str, theirs: &str, by: f64| {
            let ours = benchmark["metrics"][name]["successful"][statistic].as_f64().unwrap();
            let theirs = run[theirs].as_f64().unwrap();
            assert!((ours - theirs).abs() <= by * theirs, "{name}: {ours} and {theirs}");
        };
        close("time_to_first_token_ms", "mean", "mean_ttft_ms", 1e-5);
        close("inter_token_latency_ms", "mean", "mean_tpot_ms", 1e-5);
        // guidellm takes ends that come at once for one, which moves its rate a little.
        close("requests_per_second", "mean", "request_throughput", 0.05);
        let requests = benchmark["requests"]["successful"].as_array().unwrap();
        for (request, seconds) in requests.iter().zip(run["latencies"].as_array().unwrap()) {
            let times = &request["info"]["timings"];
            let took = times["request_end"].as_f64().unwrap() - times["request_start"].as_f64().unwrap();
            assert!((took - seconds.as_f64().unwrap()).abs() < 1e-5, "{request:#}");
        }
    }
}

/// Every field of the one is in the other, and a value of the same type. A label may be left out.
fn alike(path: &str, one: &Value, other: &Value) {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if path == "run.label" || path == "run.request_goodput" {
        return;
    }
    assert_eq!(kind(one), kind(other), "{path}");
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for (name, value) in one {
                let found = other.get(name).unwrap_or_else(|| panic!("{path}.{name} is missing"));
                alike(&format!("{path}.{name}"), value, found);
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            if let (Some(one), Some(other)) = (one.first(), other.first()) {
                alike(&format!("{path}[]"), one, other);
            }
        }
        _ => {}
    }
}
