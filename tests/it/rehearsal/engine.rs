//! The rehearsal engine, against the recorded answers of a real vLLM.

use crate::{
    recorded::{self, PATIENCE},
    running_engine::{Running, argv, start, start_with},
};
use awqdeploy::{
    domain::{api::openai::Request, problem::Kind},
    host::{
        process::owned::OwnedProcesses,
        rehearsal::engine::{Engine, EngineFault, Options, TOKENS_PER_SECOND_VARIABLE},
        vllm::api::Api,
    },
};
use serde_json::{Value, json};
use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

fn api(engine: &Running) -> Api {
    Api::at(engine.address, "tiny", PATIENCE).unwrap()
}

/// Asserts that every field that `ours` has, the recorded answer has too, with the same type. Fields that
/// only the real one has are ones that nobody asks a rehearsal for.
fn assert_shape(ours: &Value, recorded: &Value, place: &str) {
    match (ours, recorded) {
        (Value::Object(ours), Value::Object(recorded)) => {
            for (field, value) in ours {
                let other = recorded.get(field);
                let other = other.unwrap_or_else(|| panic!("{place}.{field} is not vLLM's"));
                assert_shape(value, other, &format!("{place}.{field}"));
            }
        }
        (Value::Array(ours), Value::Array(recorded)) => {
            if let Some(recorded) = recorded.first() {
                for value in ours {
                    assert_shape(value, recorded, &format!("{place}[]"));
                }
            }
        }
        // A field that one request leaves out, another has.
        (Value::Null, _)
        | (_, Value::Null)
        | (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_)) => {}
        (ours, recorded) => panic!("{place} is {ours}, vLLM's is {recorded}"),
    }
}

/// The JSON of each event of a stream.
fn events(body: &str) -> Vec<Value> {
    body.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data)))
        .collect()
}

#[tokio::test]
async fn answers_have_the_recorded_shapes() {
    let engine = start(1000.0, None);
    let api = api(&engine);
    let prompt = json!({ "model": "tiny", "prompt": "The quick brown fox", "max_tokens": 5 });
    let chat = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "Hi" }] });
    let models = api.get("/v1/models").await.unwrap();
    for (raw, name) in [
        (models, "models"),
        (api.post("/v1/completions", prompt.to_string()).await.unwrap(), "completions"),
        (api.post("/v1/chat/completions", chat.to_string()).await.unwrap(), "chat"),
        (api.get("/nowhere").await.unwrap(), "notfound"),
        (api.get("/v1/completions").await.unwrap(), "method_not_allowed"),
    ] {
        let (status, recorded) = recorded::json(name);
        assert_eq!(raw.status, status, "{name}");
        assert_shape(&serde_json::from_str(&raw.body).unwrap(), &recorded, name);
    }
    let health = api.get("/health").await.unwrap();
    assert_eq!((health.status, &*health.body), (200, ""));
}

#[tokio::test]
async fn streams_have_the_recorded_shapes() {
    let engine = start(1000.0, None);
    let api = api(&engine);
    for (name, path, mut body) in [
        ("completions_stream", "/v1/completions", json!({ "prompt": "The quick brown fox" })),
        ("chat_stream", "/v1/chat/completions", json!({ "messages": [{ "role": "user", "content": "Hi" }] })),
    ] {
        body["max_tokens"] = json!(5);
        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
        let ours = events(&api.post(path, body.to_string()).await.unwrap().body);
        let recorded = events(&String::from_utf8(recorded::answer(name)).unwrap());
        assert_eq!(ours.len(), recorded.len(), "{name}");
        for (ours, recorded) in ours.iter().zip(&recorded) {
            assert_shape(ours, recorded, name);
            // The field that a client looks for is there, not only shaped right where it is.
            assert_eq!(ours.get("usage").is_some(), recorded.get("usage").is_some());
            let reason = "/choices/0/finish_reason";
            assert_eq!(ours.pointer(reason), recorded.pointer(reason), "{name}");
        }
        assert_eq!(ours.last(), Some(&json!("[DONE]")));

        body.as_object_mut().unwrap().remove("stream_options");
        let raw = api.post(path, body.to_string()).await.unwrap();
        assert!(!raw.body.contains("usage"), "unasked for: {}", raw.body);
    }
}

#[tokio::test]
async fn refusals_are_the_recorded_ones() {
    let engine = start(1000.0, None);
    let api = api(&engine);
    let long = "x".repeat(36_000);
    for (name, body) in [
        ("err_model_completions", json!({ "model": "nope", "prompt": "Hi" })),
        ("err_missing_prompt", json!({ "model": "tiny" })),
        ("err_empty_prompt", json!({ "model": "tiny", "prompt": "" })),
        ("err_max_tokens_zero", json!({ "prompt": "Hi", "max_tokens": 0 })),
        ("err_max_tokens_too_big", json!({ "prompt": "Hi", "max_tokens": 100_000 })),
        ("err_bad_type", json!({ "prompt": "Hi", "max_tokens": "abc" })),
        ("err_temperature", json!({ "prompt": "Hi", "temperature": -1 })),
        ("err_too_long_completions", json!({ "prompt": long })),
        (
            "err_stream_options_without_stream",
            json!({ "prompt": "Hi", "stream_options": { "include_usage": true } }),
        ),
        ("err_missing_messages", json!({ "model": "tiny" })),
        ("err_empty_messages", json!({ "messages": [] })),
        ("err_model_chat", json!({ "model": "nope", "messages": [{ "content": "Hi" }] })),
    ] {
        let path = match name {
            "err_missing_messages" | "err_empty_messages" | "err_model_chat" => "/v1/chat/completions",
            _ => "/v1/completions",
        };
        let raw = api.post(path, body.to_string()).await.unwrap();
        let ours = serde_json::from_str(&raw.body).unwrap();
        assert_eq!((raw.status, ours), recorded::json(name), "{name}");
    }
    // Python's parser has its own words; everything else is the same.
    let raw = api.post("/v1/completions", "{\"model\": \"tiny\",".to_owned()).await.unwrap();
    let (status, recorded) = recorded::json("err_bad_json");
    let ours: Value = serde_json::from_str(&raw.body).unwrap();
    assert_eq!(raw.status, status);
    assert_shape(&ours, &recorded, "err_bad_json");
    assert_eq!(ours["error"]["type"], recorded["error"]["type"]);
}

#[tokio::test]
async fn a_prompt_that_leaves_no_room_is_refused() {
    let engine = start(1000.0, None);
    let prompt = "word ".repeat(2040);
    let request = Request::complete(&prompt, 8);
    assert!(api(&engine).answer(&request).await.is_ok());
    let request = Request::complete(&prompt, 9);
    let fault = api(&engine).answer(&request).await.unwrap_err();
    assert!(fault.to_string().contains("maximum context length is 2048"), "{fault}");
}

#[tokio::test]
async fn tokens_are_counted_and_ends_are_honoured() {
    let engine = start(10_000.0, None);
    let api = api(&engine);
    let answer = api.answer(&Request::complete("Hello", 300).to_the_limit()).await.unwrap();
    assert_eq!(answer.usage.completion_tokens, 300);
    assert_eq!(answer.finish_reason, "length");
    let answer = api.answer(&Request::complete("Hello", 300)).await.unwrap();
    assert!(answer.usage.completion_tokens < 300);
    assert_eq!(answer.finish_reason, "stop");

    let stopped = Request::complete("Hello", 300).to_the_limit().stopping_at(["port to"]);
    let cut = api.answer(&stopped).await.unwrap();
    assert!(cut.text.ends_with("from "), "{}", cut.text);
    assert_eq!(cut.finish_reason, "stop");
    assert!(cut.usage.completion_tokens < 300);
    let streamed = api.stream(&stopped).await.unwrap().answer;
    assert_eq!(streamed, cut, "either way the same");
}

#[tokio::test]
async fn a_stream_keeps_its_pace() {
    let engine = start(200.0, None);
    let request = Request::complete("Hello", 60).to_the_limit();
    let sample = api(&engine).stream(&request).await.unwrap().sample();
    let rate = sample.decode_tokens_per_second().unwrap();
    // The order of magnitude: test machines stall.
    assert!((20.0..400.0).contains(&rate), "{rate}");
}

#[tokio::test]
async fn a_key_is_wanted_and_given() {
    let mut args = argv(0);
    args.extend(["--api-key", "sekret"].map(str::to_owned));
    let engine = start_with(Options::from_arguments(&args, |_| None).unwrap());
    let fault = api(&engine).models().await.unwrap_err();
    assert_eq!(fault.to_string(), "answered status 401: Unauthorized");
    assert_eq!(api(&engine).health().await, Ok(200));

    let mut plan = engine.plan();
    plan.serve.argv.push("--api-key=sekret".to_owned());
    assert!(Api::of(&plan, OwnedProcesses::Ours).unwrap().models().await.is_ok());
    let mut plan = engine.plan();
    plan.serve.env.insert("VLLM_API_KEY".to_owned(), "sekret".to_owned());
    assert!(Api::of(&plan, OwnedProcesses::Ours).unwrap().models().await.is_ok());
}

#[tokio::test]
async fn refuses_connections_until_it_is_loaded() {
    let args = argv(0);
    let env = |name: &str| (name == "AWQDEPLOY_REHEARSAL_LOAD_MS").then(|| "600".to_owned());
    let engine = Engine::bind(Options::from_arguments(&args, env).unwrap(), |_| {}).unwrap();
    let address = engine.address();
    let api = Api::at(address, "tiny", PATIENCE).unwrap();
    let began = Instant::now();
    let serving = tokio::spawn(engine.serve());
    assert!(api.health().await.is_err(), "answers before it is loaded");
    while api.health().await.is_err() {
        assert!(began.elapsed() < PATIENCE, "never answers");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(550));

    // The port is taken now.
    let second = Options::from_arguments(&argv(address.port()), |_| None).unwrap();
    let log = Arc::new(Mutex::new(String::new()));
    let lines = Arc::clone(&log);
    let problem = match Engine::bind(second, move |line| {
        lines.lock().unwrap().push_str(line);
    }) {
        Ok(engine) => engine.serve().await.unwrap_err(),
        Err(problem) => problem,
    };
    assert_eq!(problem.what, format!("cannot listen on `{address}`"));
    let log = log.lock().unwrap().clone();
    assert!(log.ends_with("Address already in use"), "{log}");
    serving.abort();
}

#[test]
fn reads_the_words_of_vllm_serve() {
    let env = |name: &str| (name == TOKENS_PER_SECOND_VARIABLE).then(|| "12.5".to_owned());
    let options = Options::from_arguments(&argv(8123), env).unwrap();
    assert_eq!(options.host, IpAddr::from([127, 0, 0, 1]));
    assert_eq!(options.port, 8123);
    assert_eq!(options.model, "/store/models/tiny");
    assert_eq!(options.served_name, "tiny");
    assert_eq!(options.max_model_len, 2048);
    assert!((options.tokens_per_second - 12.5).abs() < 1e-9);
    assert_eq!(options.fault, None);
    let flag = |name: &str| options.flags.iter().find(|(flag, _)| flag == name).unwrap();
    assert_eq!(flag("--enforce-eager").1, None);
    assert_eq!(flag("--tensor-parallel-size").1.as_deref(), Some("4"));
}

#[test]
fn listens_on_loopback_only() {
    let host = |host: &str| {
        let args = ["serve", "m", "--host", host].map(str::to_owned);
        Options::from_arguments(&args, |_| None).map(|options| options.host)
    };
    assert!(host("0.0.0.0").unwrap().is_loopback());
    assert!(host("::").unwrap().is_loopback());
    assert!(host("127.0.0.5").unwrap().is_loopback());
    let problem = host("192.0.2.7").unwrap_err();
    assert_eq!(problem.kind, Kind::Usage);
    assert!(problem.help.unwrap().contains("loopback only"));
}

#[test]
fn words_that_make_no_sense_are_refused() {
    for args in [&[][..], &["serve"], &["bench", "m"], &["serve", "--port", "1"], &["serve", "m", "n"]] {
        let args: Vec<String> = args.iter().map(|&word| word.to_owned()).collect();
        assert!(Options::from_arguments(&args, |_| None).is_err(), "{args:?}");
    }
    let set = |name: &'static str, value: &'static str| {
        let env = move |asked: &str| (asked == name).then(|| value.to_owned());
        Options::from_arguments(&argv(1), env)
    };
    for rate in ["0", "-1", "NaN", "inf", "fast"] {
        assert!(set(TOKENS_PER_SECOND_VARIABLE, rate).is_err(), "{rate}");
    }
    let problem = set("AWQDEPLOY_REHEARSAL_FAULT", "sulk").unwrap_err();
    assert_eq!(problem.what, "`AWQDEPLOY_REHEARSAL_FAULT` is `sulk`: no engine fault named `sulk`");
    let options = set("AWQDEPLOY_REHEARSAL_FAULT", "").unwrap();
    assert_eq!(options.fault, None);
}

#[test]
fn faults_have_names_that_read_back() {
    for fault in EngineFault::ALL {
        assert_eq!(fault.to_string().parse(), Ok(fault));
        assert!(!fault.summary().is_empty());
    }
}
