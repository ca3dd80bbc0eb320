//! The table of what each flag changes: whole for every known version, and kept.

use crate::inputs::{AWQ, facts, plan_of};
use awqdeploy::domain::{
    profile::Profile,
    vllm::{
        arguments::Arguments,
        effects::{self, Effect, Heed},
        flags,
        numbers::number,
        settings::Speculation,
        version::Version,
    },
};
use std::{collections::BTreeSet, fmt::Write, path::Path};

const TEXT: &str = include_str!("../../../src/domain/vllm/known/vllm-flag-effects.txt");

#[test]
fn every_flag_of_every_version_is_in_the_table_once() {
    let known: BTreeSet<_> = flags::versions().filter_map(Version::of).flat_map(flags::known_to).collect();
    let rows: Vec<_> = effects::rows().map(|row| row.name).collect();
    let lines = TEXT.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(rows.len(), lines, "a line cannot be read");
    let once: BTreeSet<_> = rows.iter().copied().collect();
    assert_eq!(once.len(), rows.len(), "a flag is there twice");
    assert_eq!(once, known, "the flags of the two tables differ");
}

/// A profile that has a flag which is refused is no profile, or there is no plan for it.
#[test]
fn what_is_refused_is_refused() {
    let value = |name: &str| match name {
        "--max-logprobs" => "0",
        "--runner" => "pooling",
        "--task" => "embed",
        _ => "1",
    };
    for row in effects::rows().filter(|row| row.heed == Heed::Refused) {
        let arguments = format!("arguments = [\"{}\", \"{}\"]", row.name, value(row.name));
        let text = AWQ.replace(r#"arguments = ["--generation-config", "vllm"]"#, &arguments);
        let refused = Profile::parse("p", Path::new("p.toml"), &text).is_err()
            || plan_of(&text, &facts("four-16gb"), None).is_err();
        assert!(refused, "`{}` is taken", row.name);
    }
}

#[test]
fn what_a_command_line_says_of_memory_is_read() {
    let of = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Arguments::of(&words).settings().clone()
    };
    for (dtype, bits) in [
        ("auto", None),
        ("fp8", Some(8)),
        ("fp8_e5m2", Some(8)),
        ("bfloat16", Some(16)),
        ("int8_per_token_head", Some(9)),
        ("nvfp4", Some(5)),
        ("float32", Some(32)),
    ] {
        assert_eq!(of(&format!("--kv-cache-dtype {dtype}")).cache_bits, bits, "{dtype}");
    }
    assert_eq!(of("--kv-cache-dtype fp8 --kv_cache_dtype=auto").cache_bits, None, "the last one counts");
    assert_eq!(of("--kv-cache-memory-bytes 2G").cache_fixed.unwrap().0, 2 << 30);
    assert_eq!(of("--kv-offloading-size 1.5").cache_in_ram.0, 3 << 29);
    assert_eq!(of("--mamba-ssm-cache-dtype float32").state_bits, 32);
    assert_eq!(of("--mamba-cache-dtype float32").state_bits, 32);
    let speculation = |line| of(line).speculation;
    let draft = Some(Speculation::Model("/srv/draft".to_owned()));
    assert_eq!(speculation("--seed 1"), None);
    assert_eq!(
        speculation(r#"--speculative-config {"method":"mtp","num_speculative_tokens":1}"#),
        Some(Speculation::Own)
    );
    assert_eq!(speculation("--speculative-config.method mtp"), Some(Speculation::Own));
    assert_eq!(speculation("--spec-method mtp --spec-tokens 1"), Some(Speculation::Own));
    assert_eq!(speculation(r#"--speculative-config {"model":"/srv/draft"}"#), draft);
    assert_eq!(speculation("--speculative-config.model /srv/draft"), draft);
    assert_eq!(speculation("--spec-model /srv/draft"), draft);
    assert_eq!(speculation(r#"--speculative-config {"method":"ngram"}"#), Some(Speculation::Lookup));
    // Of whole ones the last counts, and the fields that are named alone before any.
    for line in [
        r#"--speculative-config {"method":"ngram"} -sc {"model":"/srv/draft"}"#,
        r#"--speculative-config.model /srv/draft --speculative-config {"method":"ngram"}"#,
        "--speculative_config.num_speculative_tokens=3 --speculative_config.model=/srv/draft",
    ] {
        assert_eq!(speculation(line), draft, "{line}");
    }
}

#[test]
fn numbers_are_read_as_vllm_reads_them() {
    for (text, wanted) in [
        ("2", Some(2)),
        ("2k", Some(2000)),
        ("25.6k", Some(25_600)),
        ("2K", Some(2048)),
        ("2g", Some(2_000_000_000)),
        ("2G", Some(2 << 30)),
        ("1T", Some(1 << 40)),
        ("2.5G", None),
        ("2GB", None),
        ("", None),
        ("-1", None),
        ("many", None),
    ] {
        assert_eq!(number(text), wanted, "{text}");
    }
}

/// The table for docs/planning.md.
pub(crate) fn table() -> String {
    let mut out = "| it changes | a plan | flags |\n|---|---|---|\n".to_owned();
    for (effect, what) in [
        (Effect::Planned, "what a key of the profile stands for"),
        (Effect::Memory, "VRAM or RAM"),
        (Effect::Ranks, "on how many GPUs, by how many processes"),
        (Effect::Speed, "how fast it is"),
        (Effect::Api, "what clients may ask and are answered"),
        (Effect::Nothing, "none of these"),
    ] {
        for (heed, does) in [
            (Heed::Counted, "counts it"),
            (Heed::Refused, "refuses it, or some values"),
            (Heed::Told, "names it, or asks the installed vLLM"),
            (Heed::Passed, "lets it pass"),
        ] {
            let flags = effects::rows().filter(|row| (row.effect, row.heed) == (effect, heed));
            let names: Vec<_> = flags.map(|row| format!("`{}`", row.name)).collect();
            if !names.is_empty() {
                let _ = writeln!(out, "| {what} | {does} | {} |", names.join(" "));
            }
        }
    }
    out
}
