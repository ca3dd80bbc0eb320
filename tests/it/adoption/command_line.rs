//! How the command line of a server that somebody started is read, and what of its environment is kept.

use awqdeploy::domain::{
    adoption::{CommandLine, Reading, Seen, Terms, write},
    profile::{Device, Profile, Python, QualityLimits},
    size::ByteSize,
    vllm::{flags::in_full, version::Version},
};
use std::path::Path;

fn seen(line: &str, variables: &[(&str, &str)]) -> Seen {
    Seen {
        argv: line.split_whitespace().map(str::to_owned).collect(),
        environment: variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        directory: "/srv".into(),
        executable: "/usr/bin/python3.12".into(),
    }
}

fn read(line: &str) -> Reading {
    Reading::of(&seen(line, &[])).unwrap()
}

/// The words that its generation runs.
fn again(line: &str) -> String {
    read(line).serve(Path::new("/opt/venv/bin/python"), Path::new("/store/m")).argv.join(" ")
}

#[test]
fn every_way_to_start_it_is_understood() {
    let table = [
        (
            "/opt/venv/bin/python /opt/venv/bin/vllm serve owner/m --port 9000 --enforce-eager",
            "/opt/venv/bin/python /opt/venv/bin/vllm serve /store/m --served-model-name owner/m --port 9000 --enforce-eager",
        ),
        (
            "python -m vllm.entrypoints.cli.main serve /srv/m --served-model-name a b --revision v1",
            "/opt/venv/bin/python -m vllm.entrypoints.cli.main serve /store/m --served-model-name a b",
        ),
        (
            "python3 -m vllm.entrypoints.openai.api_server --port=9000 --model /srv/m --tokenizer /srv/m",
            "/opt/venv/bin/python -m vllm.entrypoints.openai.api_server --model /store/m --served-model-name /srv/m \
             --port=9000 --tokenizer /store/m",
        ),
        (
            "python vllm serve --port 9000 /srv/m --cpu-offload-params experts shared --hf-token hush --seed -1",
            "/opt/venv/bin/python vllm serve /store/m --served-model-name /srv/m --port 9000 \
             --cpu-offload-params experts shared --seed -1",
        ),
    ];
    for (line, wanted) in table {
        assert_eq!(again(line), wanted, "{line}");
    }
}

/// As vLLM's parser, and argparse below it, take them.
#[test]
fn which_word_is_the_model_is_as_for_vllm() {
    for (line, model) in [
        ("p vllm serve --enforce-eager /srv/m --port 1", "/srv/m"),
        ("p vllm serve --trust-remote-code --no-enable-prefix-caching /srv/m", "/srv/m"),
        ("p vllm serve --model /srv/m --seed 1 --model /srv/other", "/srv/m"),
        ("p -m vllm.entrypoints.openai.api_server --model /srv/other --model /srv/m", "/srv/m"),
    ] {
        // Without a name of its own it answers to the model as it was written.
        assert!(again(line).contains(&format!("--served-model-name {model}")), "{line}: {}", again(line));
    }
}

#[test]
fn a_flag_that_is_only_begun_is_the_one_that_argparse_takes_it_for() {
    let version = Version::of("0.32.0").unwrap();
    for (word, whole) in [
        ("--por", Some("--port")),
        ("--gpu-memory-util=0.9", Some("--gpu-memory-utilization=0.9")),
        ("--served_model", Some("--served-model-name")),
        ("--no-enable-prefix", Some("--no-enable-prefix-caching")),
        ("--hf-tok", Some("--hf-token")),
        ("--hf-over.vocab_size", Some("--hf-overrides.vocab_size")),
        ("--port", None),
        ("--max_model_len", None),
        ("--max", None),
        ("--flux", None),
        ("--", None),
        ("-tp", None),
        ("/srv/m", None),
    ] {
        assert_eq!(in_full(word, version).as_deref(), whole, "{word}");
    }
    // A version that is newer than the table is read by its newest column.
    assert_eq!(in_full("--por", Version::of("0.99.0").unwrap()).as_deref(), Some("--port"));
}

#[test]
fn what_is_not_a_server_is_told_so() {
    for line in
        ["", "bash -c vllm\\ serve", "nginx serve x", "python vllm bench serve --port 1", "python vllm serve"]
    {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        // `vllm bench serve` begins like a server, and names no model.
        assert!(CommandLine::of(&argv).is_err(), "{line}");
    }
}

#[test]
fn its_values_are_those_that_vllm_would_take() {
    let reading = read(
        "p vllm serve m --port 1 --port 9001 -tp 4 --max_model_len 32k --max-num-batched-tokens 8.5k --max-num-seqs=16 \
         --gpu-memory-utilization 0.85 --cpu-offload-gb 1.5 --host localhost --dtype float16",
    );
    assert_eq!(reading.listen.authority(), "127.0.0.1:9001");
    assert_eq!((reading.tensor_parallel_size, reading.max_num_seqs), (4, Some(16)));
    assert_eq!((reading.max_model_len, reading.max_num_batched_tokens), (Some(32_000), Some(8500)));
    assert_eq!((reading.gpu_memory_utilization, reading.offload), (Some(0.85), ByteSize(3 << 29)));
    assert_eq!(reading.others, ["--dtype", "float16"]);
    assert_eq!(read("p vllm serve m").listen.authority(), "0.0.0.0:8000");
    for bad in ["--port many", "--host example.org", "--uds /run/s", "--api-key x"] {
        assert!(Reading::of(&seen(&format!("p vllm serve m {bad}"), &[])).is_err(), "{bad}");
    }
}

#[test]
fn the_servers_own_variables_are_kept_and_secrets_are_not() {
    let variables = [
        ("VLLM_USE_V1", "1"),
        ("CUDA_VISIBLE_DEVICES", "0,1"),
        ("HF_TOKEN", "hush"),
        ("VLLM_SERVER_DEV_MODE", "1"),
        ("HF_HOME", "/home/somebody"),
        ("HOME", "/home/somebody"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
        ("SSH_AUTH_SOCK", "/tmp/x"),
    ];
    let reading = Reading::of(&seen("p vllm serve m", &variables)).unwrap();
    let kept: Vec<_> = reading.environment.keys().map(String::as_str).collect();
    assert_eq!(kept, ["CUDA_VISIBLE_DEVICES", "VLLM_USE_V1"]);
    let left_out = |name: &str| reading.notes.iter().any(|note| note.contains(&format!("`{name}`")));
    assert!(left_out("HF_TOKEN") && left_out("VLLM_SERVER_DEV_MODE"), "{:?}", reading.notes);
    assert!(!format!("{reading:?}").contains("hush"));
}

/// A profile of what was found says what the command line said.
#[test]
fn the_profile_reads_back() {
    let line = "p vllm serve owner/m --port 9001 -tp 2 --max-model-len 4096 --cpu-offload-gb 30 \
                --chat-template {{%\"a\\b\"%}} --generation-config vllm";
    let reading = Reading::of(&seen(line, &[("VLLM_ODD", "a \"quoted\" \\ value")])).unwrap();
    let terms = Terms {
        found: "`vllm.service`",
        service: "vllm",
        repo: "owner/m",
        folder: Path::new("/srv/m"),
        vllm: "0.26.0",
        device: Device::Cuda,
        python: Path::new("/opt/venv/bin/python"),
        max_model_len: Some(9999),
        floor: 5.0,
        known_answers: Some(0.8),
        cut_answers: Some(0.5),
    };
    let text = write(&reading, &terms);
    let profile = Profile::parse("old", Path::new("old.toml"), &text).unwrap();
    assert_eq!(profile.limits().max_model_len, 4096);
    assert_eq!(profile.runtime().python, Python::Given(terms.python.to_owned()));
    assert_eq!(profile.arguments().words(), reading.others);
    assert_eq!(profile.environment(), &reading.environment);
    assert_eq!(profile.gates().min_known_answers, Some(0.8));
    assert_eq!(profile.gates().quality, QualityLimits::default());
    // The state in which it was found is no reason against it later.
    let talks = write(&reading, &Terms { cut_answers: Some(0.6), ..terms });
    let profile = Profile::parse("old", Path::new("old.toml"), &talks).unwrap();
    assert!((profile.gates().quality.max_cut_answers - 1.0).abs() < 1e-9);
}
