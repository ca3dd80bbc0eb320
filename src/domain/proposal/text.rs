//! Writes the text of a proposed profile.

use super::{
    names::served_name,
    subject::{Candidate, Replaced, Source, Subject, Template},
};
use crate::domain::{
    checkpoint::Checkpoint,
    machine::facts::Facts,
    planning::{placement, plan::Plan, prediction::Decode},
    profile::Device,
    spelling::toml_string,
    vllm::{
        flags::{self, Knowledge},
        version::Version,
    },
};
use std::fmt::{Display, Write as _};

/// Where comments begin, unless a line is longer.
const COMMENTS_AT: usize = 40;
/// The share of the predicted rate that the floor asks for: hosts are busier at times, and predictions are
/// off.
const FLOOR_SHARE: f64 = 0.5;
/// The floor where nothing is predicted: the default of a profile.
const FLOOR: f64 = 5.0;
/// The share of known answers of the shipped profiles: any instruction-tuned model of a few billion
/// parameters answers all questions.
const KNOWN_ANSWERS: f64 = 0.8;
/// The ratio of the shipped profiles: a checkpoint with smaller groups is larger, and so a little slower.
const MIN_RATIO: f64 = 0.85;
const MAX_PERPLEXITY_RATIO: f64 = 1.25;
/// The most that its expectations may diverge from those of another quantisation, nats a token: sound pairs of a small
/// model did by 0.069 to 0.130.
const MAX_DIVERGENCE: f64 = 0.15;
/// The arguments that turn thinking off, unless a request asks for it.
const NO_THINKING: [&str; 2] = ["--default-chat-template-kwargs", r#"{"enable_thinking": false}"#];

/// A setting to try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) max_model_len: u32,
    pub(super) max_num_seqs: u32,
    /// The tokens of a step. Left out of the text where it is the default.
    pub(super) max_num_batched_tokens: Option<u32>,
    /// The share of each GPU. Left out of the text where it is the default.
    pub(super) gpu_memory_utilization: Option<f64>,
}

/// The inputs of the text.
#[derive(Clone, Copy)]
pub(super) struct Draft<'a> {
    pub(super) subject: &'a Subject<'a>,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) candidate: &'a Candidate,
    pub(super) setting: Setting,
    /// The plan, where it is known already: the text then says what to expect.
    pub(super) plan: Option<&'a Plan>,
    pub(super) facts: &'a Facts,
}

impl Draft<'_> {
    pub(super) fn write(&self) -> String {
        let mut out = Lines(self.head());
        let Self { subject, candidate, .. } = self;
        out.line("service", toml_string(subject.service), "the systemd unit that serves it");
        out.table("model");
        out.line("repo", toml_string(subject.repo), "where the files come from");
        self.source(&mut out);
        let served = match subject.replaces {
            None => "what clients write into `model`",
            Some(_) => "as in the profile that it replaces: no client has to change",
        };
        out.line("served-name", toml_string(subject.served_name), served);
        out.table("runtime");
        let vllm = &candidate.runtime.vllm;
        let locked = match candidate.device {
            Device::Cuda => format!("every package of it is locked in runtimes/vllm-{vllm}.toml"),
            Device::Cpu => format!("every package of it is locked in runtimes/vllm-{vllm}-cpu.toml"),
        };
        out.line("vllm", toml_string(vllm), &locked);
        if candidate.device == Device::Cpu {
            out.line("device", toml_string("cpu"), "there is no GPU");
        }
        self.listen(&mut out);
        self.limits(&mut out);
        self.arguments(&mut out);
        self.validation(&mut out);
        out.0
    }

    fn head(&self) -> String {
        let Self { subject, plan, .. } = self;
        let mut head =
            format!("# {} on this host. Written by `awqdeploy init`; change what you like.\n", subject.repo);
        if let Some(plan) = plan {
            let placed = placement::describe(&plan.memory, &plan.prediction);
            let _ = writeln!(head, "# Planned: {placed}{}.", self.gpus(plan));
        }
        head
    }

    /// " (4 × NVIDIA L4, 22.5 GiB each)"
    fn gpus(&self, plan: &Plan) -> String {
        let ranks = plan.memory.gpus();
        match (self.facts.gpus.first(), self.candidate.device, ranks) {
            (None, ..) | (_, Device::Cpu, _) => String::new(),
            (Some(gpu), _, 1) => format!(" ({}, {})", one_line(&gpu.name), gpu.usable()),
            (Some(gpu), ..) => format!(" ({ranks} × {}, {} each)", one_line(&gpu.name), gpu.usable()),
        }
    }

    fn source(&self, out: &mut Lines) {
        match self.subject.source {
            Source::Hub => {}
            Source::Folder(path) => {
                let path = toml_string(&path.display().to_string());
                out.note("The files are here already; each is checked against the lock.");
                out.line("path", path, "");
            }
            Source::Cached(path) => {
                let path = toml_string(&path.display().to_string());
                out.note("They are here, too: without the first `#` of the next line nothing is downloaded.");
                out.line("# path", path, "");
            }
        }
    }

    fn listen(&self, out: &mut Lines) {
        let listen = self.subject.listen;
        out.table("listen");
        if listen.host.is_loopback() {
            out.line("port", listen.port, "on this host only; `host = \"0.0.0.0\"` lets others connect");
        } else {
            out.line("host", toml_string(&listen.host.to_string()), "the address that clients know");
            out.line("port", listen.port, "");
        }
    }

    fn limits(&self, out: &mut Lines) {
        let Setting { max_model_len, max_num_seqs, max_num_batched_tokens, gpu_memory_utilization } =
            self.setting;
        if let Some(share) = gpu_memory_utilization {
            out.table("memory");
            out.line("gpu-memory-utilization", share, "less than 0.9: other programs hold some of the GPU");
        }
        out.table("limits");
        let longest = self.plan.and_then(|plan| plan.memory.longest_context);
        let longest = longest.filter(|longest| *longest > u64::from(max_model_len));
        let fit = longest.map_or(String::new(), |longest| format!("; up to {longest} would fit"));
        out.line("max-model-len", max_model_len, &format!("tokens of a prompt and its answer together{fit}"));
        out.line("max-num-seqs", max_num_seqs, "requests that are answered at once; more of them wait");
        if let Some(tokens) = max_num_batched_tokens {
            out.line("max-num-batched-tokens", tokens, "tokens of prompts in one step: more need more VRAM");
        }
    }

    /// Adds the arguments that were measured with this architecture on a GPU, and those that make an answer
    /// depend on the request alone.
    fn arguments(&self, out: &mut Lines) {
        let knows = |flag: &str| {
            let version = Version::of(&self.candidate.runtime.vllm);
            version.is_some_and(|version| flags::look_up(flag, version) == Knowledge::Known)
        };
        let hybrid =
            self.checkpoint.architecture == "Qwen3NextForCausalLM" && self.candidate.device == Device::Cuda;
        let mut words = vec!["--generation-config", "vllm"];
        if hybrid && knows("--gdn-prefill-backend") {
            words.extend(["--gdn-prefill-backend", "triton"]);
        }
        out.table("vllm");
        out.note("Without the sampling defaults of the checkpoint: an answer depends on the request alone.");
        if self.subject.template == Template::MayThink && knows(NO_THINKING[0]) {
            out.note("It answers at once. With `\"chat_template_kwargs\": {\"enable_thinking\": true}` a request lets it think.");
            words.extend(NO_THINKING);
        }
        let words: Vec<String> = words.into_iter().map(toml_string).collect();
        out.line("arguments", format!("[{}]", words.join(", ")), "");
        if hybrid {
            out.note("As this architecture was measured on a GPU.");
            out.line(
                "environment",
                "{ VLLM_USE_FLASHINFER_SAMPLER = \"0\", VLLM_USE_DEEP_GEMM = \"0\" }",
                "",
            );
        }
    }

    fn validation(&self, out: &mut Lines) {
        let predicted = self.plan.and_then(|plan| plan.prediction.decode_tokens_per_second.as_ref());
        let (floor, why) = match predicted {
            Some(Decode { low, .. }) => (
                floor(*low),
                format!("tokens/s of one answer: half of the {low:.0} that are predicted at least"),
            ),
            None => (
                FLOOR,
                "tokens/s of one answer: nothing is predicted, so raise it once it was measured".to_owned(),
            ),
        };
        out.table("validation");
        out.line("min-decode-tokens-per-second", format!("{floor:?}"), &why);
        self.quality(out);
        if let Some(replaces) = self.subject.replaces {
            let ratio =
                predicted.zip(replaces.predicted).map(|(new, old)| new.expected / old.max(f64::MIN_POSITIVE));
            let why = match ratio {
                Some(ratio) if ratio < 1.0 => format!("the least speed beside it; {ratio:.2} is predicted"),
                _ => "the least speed beside it".to_owned(),
            };
            let least = (MIN_RATIO * ratio.unwrap_or(1.0).min(1.0) * 100.0).floor() / 100.0;
            out.table("validation.baseline");
            out.line("profile", toml_string(replaces.profile.name()), "measured just before it is replaced");
            out.line("min-ratio", least.max(0.01), &why);
        }
    }

    fn quality(&self, out: &mut Lines) {
        match self.subject.template {
            Template::Answers | Template::MayThink | Template::Unknown => {
                out.table("validation.quality");
                out.line("min-known-answers", KNOWN_ANSWERS, "the share of known questions to answer right");
                // Silent of another model.
                let same = |first: Replaced<'_>| {
                    served_name(&first.profile.model().repo) == served_name(self.subject.repo)
                };
                if self.subject.replaces.is_some_and(same) {
                    out.line("max-perplexity-ratio", MAX_PERPLEXITY_RATIO, "the most beside the baseline");
                    out.line("max-divergence", MAX_DIVERGENCE, "of its expectations, nats a token");
                }
            }
            Template::Missing => {
                out.note(
                    "No `[validation.quality]`: it has no chat template, so it cannot be asked questions.",
                );
            }
            Template::Thinks => {
                out.note(
                    "No `[validation.quality]`: it thinks longer than the questions leave it time to answer.",
                );
            }
        }
    }
}

/// A TOML file that grows by lines.
struct Lines(String);

impl Lines {
    fn table(&mut self, name: &str) {
        let _ = writeln!(self.0, "\n[{name}]");
    }

    fn note(&mut self, text: &str) {
        let _ = writeln!(self.0, "# {text}");
    }

    /// A key with its comment behind it; above it where the line is long.
    fn line(&mut self, key: &str, value: impl Display, comment: &str) {
        let line = format!("{key} = {value}");
        let _ = match (comment, line.chars().count()) {
            ("", _) => writeln!(self.0, "{line}"),
            (_, ..COMMENTS_AT) => writeln!(self.0, "{line:COMMENTS_AT$}# {comment}"),
            _ => writeln!(self.0, "# {}\n{line}", sentence(comment)),
        };
    }
}

/// A comment that stands alone.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    format!("{}{}.", first.map(String::from).unwrap_or_default(), letters.as_str())
}

/// Half of what is predicted at least, in whole tokens where that is more than a few.
fn floor(rate: f64) -> f64 {
    let half = rate * FLOOR_SHARE;
    if half >= 10.0 { half.floor() } else { ((half * 10.0).floor() / 10.0).max(0.1) }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
