//! Profiles that are right: the shipped ones, every key, the defaults, and what no text can do.

mod library;
mod mistakes;
mod secrets;

use awqdeploy::domain::{
    problem::{Kind, Problem},
    profile::{
        Baseline, Device, Gates, KEYS, Limits, Listen, Memory, Offload, Parallel, Profile, QualityLimits,
        Sweep, Timeouts, Watch, document::Presence,
    },
    size::ByteSize,
};
use proptest::prelude::*;
use std::{path::Path, time::Duration};

const AWQ: &str = include_str!("../../../profiles/awq.toml");
const GPTQ: &str = include_str!("../../../profiles/gptq.toml");
const LEAST: &str =
    "service = 'vllm'\n[model]\nrepo = 'owner/name'\nserved-name = 'name'\n[runtime]\nvllm = '0.26.0'\n";

fn parse(name: &str, text: &str) -> Result<Profile, Problem> {
    Profile::parse(name, Path::new("profiles/p.toml"), text)
}

fn with(lines: &str) -> Profile {
    parse("p", &format!("{LEAST}{lines}\n")).unwrap()
}

fn listen(address: &str) -> Listen {
    let address: std::net::SocketAddr = address.parse().unwrap();
    Listen { host: address.ip(), port: address.port() }
}

#[test]
fn the_least_gets_the_documented_defaults() {
    let profile = with("");
    assert_eq!(profile.model().revision, "main");
    assert_eq!(profile.runtime().device, Device::Cuda);
    assert_eq!(profile.listen(), listen("127.0.0.1:8000"));
    assert_eq!(profile.tensor_parallel(), Parallel::Auto);
    assert_eq!(
        *profile.memory(),
        Memory { gpu: None, ram: None, gpu_memory_utilization: 0.9, offload: Offload::Auto }
    );
    assert_eq!(
        profile.limits(),
        Limits { max_model_len: 8192, max_num_seqs: 4, max_num_batched_tokens: 4096 }
    );
    assert_eq!(
        profile.timeouts(),
        Timeouts { start: Duration::from_mins(20), request: Duration::from_mins(5) }
    );
    assert_eq!(
        *profile.gates(),
        Gates {
            min_decode_tokens_per_second: 5.0,
            output_tokens: 128,
            repetitions: 3,
            warmups: 1,
            baseline: None,
            min_known_answers: None,
            max_perplexity_ratio: None,
            quality: QualityLimits::default(),
            sweep: Sweep {
                prompt_tokens: vec![128, 1024, 4096],
                concurrency: vec![1, 2, 4, 8],
                time: Duration::from_mins(1),
            },
            arrivals: None,
        }
    );
    assert_eq!(profile.watch(), Watch { minutes: 10, every: Duration::from_secs(15), max_ttft: None });
    assert!(profile.arguments().words().is_empty() && profile.environment().is_empty());
}

#[test]
fn the_shipped_profiles_are_one_service_and_name_each_other() {
    let (awq, gptq) = (parse("awq", AWQ).unwrap(), parse("gptq", GPTQ).unwrap());
    Profile::same_service(&[&awq, &gptq]).unwrap();
    assert_eq!(awq.service(), gptq.service());
    assert_eq!(awq.model().served_name, gptq.model().served_name);
    assert_eq!(awq.tensor_parallel(), Parallel::Auto);
    assert_eq!(awq.memory().gpu, None, "no card is halved");
    assert_eq!(awq.memory().ram, Some(ByteSize::gib(120)));
    assert_eq!(awq.arguments().words(), ["--generation-config", "vllm", "--gdn-prefill-backend", "triton"]);
    assert_eq!((awq.arguments(), awq.environment()), (gptq.arguments(), gptq.environment()));
    assert_eq!(
        awq.gates().baseline,
        Some(Baseline { profile: gptq.name().to_owned(), min_ratio: 0.85, required: false })
    );
    assert_eq!(gptq.gates().baseline, None);
}

/// The table of keys explains; what is read is decided elsewhere. This holds the two together: each
/// example is accepted where the table says that it goes, and the shipped profile shows every key.
#[test]
fn every_key_is_real_and_its_example_is_right() {
    for key in KEYS.iter().filter(|key| !key.example.starts_with('[')) {
        let (table, _) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        let beside = KEYS
            .iter()
            .filter(|other| other.presence == Presence::Required || other.path == key.path)
            .filter(|other| other.path.rsplit_once('.').map(|(own, _)| own) == Some(table));
        let lines: Vec<_> = beside.map(|key| key.example).collect();
        // The required tables are in the least text already.
        let text = match table {
            "" => LEAST.replace("service = 'vllm'", key.example),
            "model" | "runtime" => {
                let name = key.path.rsplit('.').next().unwrap();
                let kept = LEAST.lines().filter(|line| !line.starts_with(&format!("{name} =")));
                let kept = kept.collect::<Vec<_>>().join("\n");
                kept.replace(&format!("[{table}]"), &format!("[{table}]\n{}", key.example))
            }
            table => format!("{LEAST}[{table}]\n{}\n", lines.join("\n")),
        };
        if let Err(problem) = parse("p", &text) {
            panic!("{}: {problem}: {:?}\n{text}", key.path, problem.place);
        }
        let shown = key.path == "vllm.environment.*"
            || ["runtime.device", "runtime.python"].contains(&key.path)
            || AWQ.contains(&format!("{} =", key.path.rsplit('.').next().unwrap()));
        assert!(shown, "awq.toml does not show `{}`", key.path);
    }
}

#[test]
fn values_have_the_meaning_that_people_expect() {
    let memory = with("[memory]\ngpu = '15.5 GiB'\nram = '64GB'\noffload = '33GiB'");
    assert_eq!(memory.memory().gpu, Some(ByteSize::mib(15872)));
    assert_eq!(memory.memory().ram, Some(ByteSize(64_000_000_000)));
    assert_eq!(memory.memory().offload, Offload::Fixed(ByteSize::gib(33)));
    let none = with("[memory]\noffload = 'none'");
    assert_eq!(none.memory().offload, Offload::None);

    let times = with("[timeouts]\nstart = '1h 30m'\nrequest = '90 seconds'").timeouts();
    assert_eq!(times.start, Duration::from_mins(90));
    assert_eq!(times.request, Duration::from_secs(90));

    // A whole number is a fine rate, and a ratio may be above 1.
    let gates = with(
        "[validation]\nmin-decode-tokens-per-second = 5\n[validation.baseline]\nprofile = 'gptq'\nmin-ratio = 2",
    );
    assert_eq!(gates.gates().min_decode_tokens_per_second.to_bits(), 5f64.to_bits());
    assert_eq!(with("[listen]\nhost = '::1'").listen(), listen("[::1]:8000"));
    let auto = with("[parallelism]\ntensor-parallel-size = 'auto'");
    assert_eq!(auto.tensor_parallel(), Parallel::Auto);
}

/// The needs of vLLM's CPU build come from the profile alone.
#[test]
fn the_environment_of_a_cpu_build_is_accepted() {
    let profile = with(
        "[vllm]\narguments = ['--enforce-eager', '--kv-cache-memory-bytes', '33554432']\n\
         [vllm.environment]\nPYTHONPATH = '/opt/plug'\nTORCHDYNAMO_DISABLE = '1'\nHF_HUB_OFFLINE = '1'\n\
         VLLM_HOST_IP = '127.0.0.1'\nGLOO_SOCKET_IFNAME = 'lo'\nVLLM_CPU_OMP_THREADS_BIND = '0|1|0|1'\n\
         TOKENIZERS_PARALLELISM = 'false'\nVLLM_MAX_TOKENS = '3'",
    );
    assert_eq!(profile.environment().len(), 8);
    assert_eq!(profile.environment()["VLLM_CPU_OMP_THREADS_BIND"], "0|1|0|1");
}

#[test]
fn versions_are_releases_and_prereleases() {
    for (version, right) in [
        ("0.26.0", true),
        ("0.27.0rc1", true),
        ("0.26.0.post1", true),
        ("0.26.0.dev3", true),
        ("1.0", true),
        ("26", false),
        ("0.26.", false),
        ("0..26", false),
        (".26", false),
        ("0.26.0rc", false),
        ("0.26.0 ", false),
        ("", false),
    ] {
        let text = LEAST.replace("0.26.0", version);
        assert_eq!(parse("p", &text).is_ok(), right, "`{version}`");
    }
}

#[test]
fn a_profile_is_named_as_a_key_and_a_file_can_be() {
    for name in ["", "-x", "a b", "a.b", "../x", "é"] {
        let problem = parse(name, LEAST).unwrap_err();
        assert_eq!(problem.kind, Kind::Usage, "{name}");
        assert!(problem.help.is_some_and(|help| help.contains("rename")));
    }
    assert_eq!(parse("gptq-cpu_2", LEAST).unwrap().name(), "gptq-cpu_2");
}

#[test]
fn all_mistakes_are_found_in_one_go_in_their_order() {
    let text = format!("{LEAST}[timeouts]\nstart = 'x'\n[listen]\nport = 0\n[memory]\ngpu = '0GiB'\n")
        .replace("owner/name", "name");
    let problem = parse("p", &text).unwrap_err();
    let all: Vec<_> = std::iter::once(&problem)
        .chain(&problem.also)
        .map(|problem| problem.place.as_ref().unwrap())
        .map(|place| place.text[place.span.clone()].to_owned())
        .collect();
    assert_eq!(all, ["'name'", "'x'", "0", "'0GiB'"]);
}

/// Problems end up in logs; a secret that stands in the wrong place must not.
#[test]
fn secrets_are_covered_in_every_problem() {
    let text = format!(
        "{LEAST}[vllm]\narguments = ['--api-key', 's3cret', '--port', '1', '--hf-token=s3cret']\n\
         [vllm.environment]\nHF_TOKEN = \"\"\"\ns3cr\u{e9}t\ns3cret\"\"\"\n[listen]\nport = 0\n"
    );
    let problem = parse("p", &text).unwrap_err();
    let all: Vec<_> = std::iter::once(&problem).chain(&problem.also).collect();
    assert_eq!(all.len(), 6, "{all:?}");
    for problem in &all {
        assert!(!format!("{problem:?}").contains("s3cr"), "{problem:?}");
    }
    // The words after a covered secret are still pointed at.
    let last = all[5].place.as_ref().unwrap();
    assert_eq!(last.line_column(), (14, 8));
    assert_eq!(&last.text[last.span.clone()], "0");
}

#[test]
fn changes_by_the_program_keep_what_a_file_must_keep() {
    let profile = with("[limits]\nmax-model-len = 256");
    let gates = profile.gates().clone();
    let changed = profile
        .clone()
        .with_listen(listen("127.0.0.1:9000"))
        .and_then(|profile| profile.with_environment("FAULT", "slow"))
        .and_then(|profile| profile.with_environment("FAULT", "hang"))
        .unwrap();
    assert_eq!(changed.listen().port, 9000);
    assert_eq!(changed.environment()["FAULT"], "hang");

    let times = |start, request| Timeouts {
        start: Duration::from_millis(start),
        request: Duration::from_millis(request),
    };
    let with_gates = |change: fn(&mut Gates)| {
        let mut gates = gates.clone();
        change(&mut gates);
        profile.clone().with_gates(gates)
    };
    assert!(profile.clone().with_timeouts(times(1000, 1000)).is_ok());
    assert!(with_gates(|gates| gates.warmups = 0).is_ok());
    assert!(with_gates(|gates| gates.sweep.concurrency = vec![]).is_ok());
    assert!(with_gates(|gates| gates.sweep.concurrency = vec![4, 2]).is_err());
    assert!(with_gates(|gates| gates.sweep.prompt_tokens = vec![0]).is_err());
    assert!(with_gates(|gates| gates.sweep.prompt_tokens = (1..=9).collect()).is_err());
    assert!(with_gates(|gates| gates.sweep.time = Duration::from_millis(1)).is_err());
    for (refused, named) in [
        (profile.clone().with_listen(listen("127.0.0.1:0")), "listen.port"),
        (profile.clone().with_timeouts(times(999, 5000)), "timeouts.start"),
        (profile.clone().with_timeouts(times(5000, 3_600_001)), "timeouts.request"),
        (profile.clone().with_environment("A", "b\nc"), "vllm.environment.A"),
        (profile.clone().with_environment("HF_TOKEN", "x"), "HF_TOKEN"),
        (with_gates(|gates| gates.repetitions = 0), "validation.repetitions"),
        (with_gates(|gates| gates.output_tokens = 256), "validation.output-tokens"),
        (with_gates(|gates| gates.min_decode_tokens_per_second = f64::NAN), "min-decode"),
        (with_gates(|gates| gates.min_known_answers = Some(1.1)), "min-known-answers"),
    ] {
        let problem = refused.unwrap_err();
        assert!(problem.what.contains(named), "{named}: {}", problem.what);
        assert_eq!(problem.kind, Kind::Usage);
    }
}

#[test]
fn one_service_has_one_address_and_one_address_has_one_service() {
    let at = |name: &str, service: &str, host: &str, port: u16| {
        let text = format!("{LEAST}[listen]\nhost = '{host}'\nport = {port}\n");
        parse(name, &text.replace("'vllm'", &format!("'{service}'"))).unwrap()
    };
    let base = at("awq", "vllm", "127.0.0.1", 8000);
    for (other, clash) in [
        (at("b", "vllm", "127.0.0.1", 8000), None),
        (at("b", "other", "127.0.0.1", 8001), None),
        (at("b", "other", "127.0.0.2", 8000), None),
        (
            at("b", "vllm", "127.0.0.1", 8001),
            Some(
                "profiles `awq` and `b` are one service, `vllm`, at two addresses: 127.0.0.1:8000 and 127.0.0.1:8001",
            ),
        ),
        (
            at("b", "vllm", "::1", 8000),
            Some(
                "profiles `awq` and `b` are one service, `vllm`, at two addresses: 127.0.0.1:8000 and [::1]:8000",
            ),
        ),
        (
            at("b", "other", "0.0.0.0", 8000),
            Some("services `vllm` (profile `awq`) and `other` (profile `b`) would both listen at port 8000"),
        ),
    ] {
        let said = Profile::same_service(&[&base, &other]).err().map(|problem| problem.what);
        assert_eq!(said.as_deref(), clash);
    }
}

/// A text near to a profile: lines of the shipped one, some of them broken in some way.
fn near_profile() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        6 => prop::sample::select(AWQ.lines().collect::<Vec<_>>()).prop_map(str::to_owned),
        1 => prop::sample::select(KEYS).prop_map(|key| key.example.to_owned()),
        1 => "[a-z.\\[\\]{}='\", 0-9é\u{1}\r-]{0,30}",
        1 => ("[a-z-]{1,12}", "[\"'0-9a-zé\\[\\]{}.=, -]{0,12}").prop_map(|(key, value)| format!("{key} = {value}")),
    ];
    prop::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

fn places_are_inside(problem: &Problem) {
    let place = problem.place.as_ref().expect("a mistake in a text has a place");
    assert!(place.text.get(place.span.clone()).is_some(), "{place:?}");
    assert!(problem.help.is_some(), "no remedy for: {problem}");
    assert_eq!(problem.kind, Kind::Usage);
    problem.also.iter().for_each(places_are_inside);
}

proptest! {
    #[test]
    fn no_text_panics_and_every_mistake_has_a_place_and_a_remedy(
        text in prop_oneof![near_profile(), any::<String>()]
    ) {
        if let Err(problem) = parse("p", &text) {
            places_are_inside(&problem);
            // The renderer slices the text by the place.
            awqdeploy::cli::problem::render(&problem, awqdeploy::cli::problem::Style::Coloured);
        }
    }

    /// One character gone from a right profile: either it is still right, or the mistake is explained.
    #[test]
    fn a_slip_of_the_keyboard_is_explained(at in 0..AWQ.len()) {
        if AWQ.is_char_boundary(at) {
            let mut text = AWQ.to_owned();
            text.remove(at);
            if let Err(problem) = parse("awq", &text) {
                places_are_inside(&problem);
            }
        }
    }
}
