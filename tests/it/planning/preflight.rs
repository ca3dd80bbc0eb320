//! The engine's flags by version, and the refusals that need no GPU.

use crate::inputs::{AWQ, awq, facts, plan_of};
use awqdeploy::domain::{
    digest::Sha256Digest,
    findings::refusal::Refusal,
    vllm::{
        arguments::Arguments,
        flags::{self, Knowledge},
        version::Version,
    },
};
use insta::assert_snapshot;

/// Number of engine flags of each version and the start of the SHA-256 of their sorted names, one a
/// line: made from the argument parsers of vLLM's wheels when the table was condensed.
const ENGINE_FLAGS: [(&str, usize, &str); 19] = [
    ("0.10.2", 150, "e1c83aa29458"),
    ("0.11.0", 156, "033abb14a5ce"),
    ("0.11.2", 176, "b0ae44ede8db"),
    ("0.12.0", 171, "3b01216a23c9"),
    ("0.13.0", 173, "208d04aa4ea8"),
    ("0.14.1", 180, "24e8038d9db3"),
    ("0.15.1", 182, "2288b8d38185"),
    ("0.16.0", 186, "f27a853d4441"),
    ("0.17.1", 195, "ccc25e5387fd"),
    ("0.18.1", 200, "3f14925cc4f0"),
    ("0.19.1", 207, "3948f8e960e9"),
    ("0.20.2", 214, "042d2f678901"),
    ("0.22.1", 231, "176533f3dac1"),
    ("0.24.0", 237, "16ef20a1c843"),
    ("0.26.0", 244, "780b10ab086d"),
    ("0.28.0", 252, "f5f875c44614"),
    ("0.30.0", 266, "c556b7037c3e"),
    ("0.32.0", 279, "4c7807a45a48"),
    ("0.33.0", 282, "a79b97ebed0a"),
];

fn version(text: &str) -> Version {
    Version::of(text).unwrap()
}

#[test]
fn the_condensed_table_says_what_the_parsers_said() {
    assert!(flags::versions().eq(ENGINE_FLAGS.map(|(version, ..)| version)));
    for (written, count, digest) in ENGINE_FLAGS {
        let mut known: Vec<_> = flags::engine_flags(version(written)).collect();
        known.sort_unstable();
        assert_eq!(known.len(), count, "{written}");
        assert_eq!(Sha256Digest::of(known.join("\n")).short(), digest, "{written}");
    }
}

#[test]
fn a_flag_is_known_gone_to_come_or_misspelled() {
    let look_up = |flag, written| flags::look_up(flag, version(written));
    for (flag, written) in [
        ("--offload-backend", "0.17.1"),
        ("--host", "0.10.2"),
        ("--no-enable-log-requests", "0.26.0"),
        ("-tp", "0.33.0"),
        ("--chat-template", "0.26.0"),
    ] {
        assert_eq!(look_up(flag, written), Knowledge::Known, "{flag} in {written}");
    }
    assert_eq!(look_up("--offload-backend", "0.16.0"), Knowledge::NotYet { since: "0.17.1" });
    assert!(matches!(
        look_up("--disable-log-requests", "0.26.0"),
        Knowledge::Gone { since: "0.17.1", instead: Some(_) }
    ));
    assert!(matches!(look_up("--swap-space", "0.18.1"), Knowledge::Gone { since: "0.18.1", .. }));
    assert_eq!(look_up("--swap-space", "0.17.1"), Knowledge::Known);
    assert_eq!(look_up("--enforce-eagre", "0.26.0"), Knowledge::Unknown { like: Some("--enforce-eager") });
    assert_eq!(look_up("--flux-compensator", "0.26.0"), Knowledge::Unknown { like: None });
    // Since 0.33 a switch can be put off by its opposite, wherever it can by `--no-`.
    for flag in ["--disable-log-requests", "--disable-prefix-caching", "--enable-custom-all-reduce"] {
        assert_eq!(look_up(flag, "0.33.0"), Knowledge::Known, "{flag}");
        assert_ne!(look_up(flag, "0.32.0"), Knowledge::Known, "{flag}");
    }
    assert!(matches!(look_up("--enable-log-stats", "0.33.0"), Knowledge::Unknown { .. }));
    assert!(flags::covers(version("0.26.0+cu130")) && !flags::covers(version("0.26.1")));
}

#[test]
fn arguments_are_taken_apart_as_vllm_does() {
    let list = [
        "--max_model_len=4096",
        "-tp",
        "4",
        "--compilation-config.mode",
        "3",
        "-O3",
        "--seed",
        "-1",
        "--enforce-eager",
        "--api-key",
        "a",
        "b",
    ];
    let list: Vec<String> = list.map(str::to_owned).into();
    let arguments = Arguments::of(&list);
    let found: Vec<_> = arguments
        .flags()
        .iter()
        .map(|argument| (argument.name.as_str(), argument.value.as_deref()))
        .collect();
    let expected = [
        ("--max-model-len", Some("4096")),
        ("--tensor-parallel-size", Some("4")),
        ("--compilation-config", Some("3")),
        ("-O", None),
        ("--seed", Some("-1")),
        ("--enforce-eager", None),
        ("--api-key", Some("a")),
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_last_of_a_flag_counts_and_a_switch_is_on_or_off() {
    let of = |line: &str| Arguments::of(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(of("--max-num-seqs 4 --max_num_seqs=8").value("--max-num-seqs"), Some("8"));
    assert_eq!(of("--seed 1").value("--max-num-seqs"), None);
    let switch = |line| of(line).switch("disable-log-stats");
    assert_eq!(switch("--disable-log-stats"), Some(true));
    assert_eq!(switch("--disable-log-stats --no-disable_log_stats"), Some(false));
    assert_eq!(switch("--seed 1"), None);
}

/// Memory, speed and findings go by one rule for it.
#[test]
fn graphs_are_off_however_that_is_written() {
    let of = |arguments: &str| {
        let text = AWQ.replace(r#""--generation-config", "vllm""#, arguments);
        let mut plan = plan_of(&text, &facts("four-16gb"), None).unwrap();
        // The arguments are part of it.
        plan.memory.setting = None;
        let said = plan.findings.iter().any(|finding| finding.code == "without-cuda-graphs");
        let decode = plan.prediction.decode_tokens_per_second.unwrap();
        (plan.memory, said, decode.expected)
    };
    let (with, without) = (of(r#""--seed", "0""#), of(r#""--enforce-eager""#));
    assert!(with.0.overhead > without.0.overhead && with.2 > without.2, "{with:?} {without:?}");
    for off in [r#""--enforce-eager=true""#, r#""--optimization-level", "0""#] {
        assert_eq!(of(off), without, "{off}");
    }
    assert_eq!(of(r#""--enforce-eager=false""#), with);
    // vLLM until 0.11.
    let eager = |words: &[&str]| Arguments::of(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(eager(&["-O0"]).without_graphs(), Some("-O0"));
    assert_eq!(eager(&["-O", "0"]).without_graphs(), Some("-O"));
    assert_eq!(eager(&["-O3", "--seed", "0"]).without_graphs(), None);
}

fn refused(vllm: &str, arguments: &str) -> String {
    let text = awq("0.26.0", vllm).replace(r#""--generation-config", "vllm""#, arguments);
    let Refusal { code, message, help } = plan_of(&text, &facts("four-16gb"), None).unwrap_err();
    format!("{code}\n{message}\n{help}")
}

#[test]
fn flags_that_the_version_does_not_know_are_refused() {
    assert_snapshot!(refused("0.26.0", r#""--disable-log-requests""#), @"
    unknown-vllm-flag
    vLLM `0.26.0` does not know `--disable-log-requests`: it is gone since 0.17.1
    requests are not logged unless `--enable-log-requests` is given; leave it out
    ");
    assert_snapshot!(refused("0.16.0", r#""--moe-backend", "marlin""#), @"
    unknown-vllm-flag
    vLLM `0.16.0` does not know `--moe-backend`: it came with 0.17.1
    remove it from `vllm.arguments`, or pin `runtime.vllm` to 0.17.1 or later
    ");
    assert_snapshot!(refused("0.26.0", r#""--disable-prefix-caching""#), @"
    unknown-vllm-flag
    vLLM `0.26.0` does not know `--disable-prefix-caching`: it came with 0.33.0
    remove it from `vllm.arguments`, or pin `runtime.vllm` to 0.33.0 or later
    ");
    let newest =
        awq("0.26.0", "0.33.0").replace(r#""--generation-config", "vllm""#, r#""--disable-prefix-caching""#);
    assert!(plan_of(&newest, &facts("four-16gb"), None).is_ok());
    assert_snapshot!(refused("0.26.0", r#""--enforce-eagre""#), @"
    unknown-vllm-flag
    vLLM `0.26.0` does not know `--enforce-eagre`
    did you mean `--enforce-eager`?
    ");
    assert_snapshot!(refused("0.26.0", r#""--flux-compensator=on""#), @"
    unknown-vllm-flag
    vLLM `0.26.0` does not know `--flux-compensator`
    remove it from `vllm.arguments`
    ");
    let unchecked = awq("0.26.0", "0.26.1").replace("--generation-config", "--flux-compensator");
    assert!(plan_of(&unchecked, &facts("four-16gb"), None).is_ok(), "a version that the table lacks");
}

#[test]
fn a_quantization_that_the_checkpoint_does_not_have_is_refused() {
    assert_snapshot!(refused("0.26.0", r#""-q", "awq_marlin""#), @"
    quantization-argument
    the checkpoint is stored as `compressed-tensors`, and vLLM refuses `--quantization awq_marlin` for it
    remove `--quantization` from `vllm.arguments`: vLLM reads the method from `config.json`
    ");
    let same = awq(r#""--generation-config", "vllm""#, r#""--quantization=compressed-tensors""#);
    assert!(plan_of(&same, &facts("four-16gb"), None).is_ok());
}

#[test]
fn versions_without_the_model_are_refused() {
    assert_snapshot!(refused("0.9.2", ""), @"
    vllm-too-old
    vLLM `0.9.2` has no `Qwen3NextForCausalLM`
    pin `runtime.vllm` to 0.10.2 or later
    ");
    assert!(plan_of(&AWQ.replace("0.26.0", "0.11.0"), &facts("four-16gb"), None).is_ok());
}
