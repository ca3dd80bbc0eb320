//! Checks a profile as it is written. Goes on after a mistake, so that one run shows them all.

use super::{
    checked::Profile,
    document::{Document, DocumentError},
    extra,
    gates::{arrivals, longer_than_context, other_profile},
    raw::{
        CountOrWord, RawArrivals, RawBaseline, RawLimits, RawListen, RawMemory, RawModel, RawProfile,
        RawQuality, RawRuntime, RawSecrets, RawSweep, RawTimeouts, RawTolerances, RawValidation, RawVllm,
        RawWatch,
    },
    rules,
    secrets::Secrets,
    values::{
        Arrivals, Baseline, Gates, Limits, Listen, Memory, Model, Offload, Parallel, Python, QualityLimits,
        Runtime, Sweep, Timeouts, Tolerances, VerifyAtStart, Watch,
    },
};
use crate::domain::{
    machine::visible::DEVICES,
    problem::Problem,
    spelling::{closest, listed},
    vllm::arguments::Arguments,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use toml::Spanned;

const PORT: u16 = 8000;
pub(super) const UTILIZATION: f64 = 0.9;
const MAX_MODEL_LEN: u32 = 8192;
const MAX_NUM_SEQS: u32 = 4;
/// The default of `max-num-batched-tokens`. With offloaded weights each chunk of a prompt reads nearly all of
/// them once: few, large chunks.
const MAX_NUM_BATCHED_TOKENS: u32 = 4096;
/// The default time to start. A real 80B model took 240 to 370 s, with nothing to read from disk.
const START: Duration = Duration::from_mins(20);
const REQUEST: Duration = Duration::from_mins(5);
const WATCH_MINUTES: u32 = 10;
const WATCH_EVERY: Duration = Duration::from_secs(15);
/// The default time of requests at a rate of their own.
const ARRIVING: Duration = Duration::from_mins(1);

/// Checks every value of the profile `name`.
pub(super) fn profile(
    name: &str,
    document: Document<'_>,
    raw: RawProfile,
    others: Option<&[String]>,
    unknown: Vec<Problem>,
) -> Result<Profile, Problem> {
    let mut review = Review { document, others, problems: unknown };
    let profile = review.profile(name, raw);
    match (Problem::of_many(review.problems), profile) {
        (Some(problem), _) => Err(problem),
        (None, Some(profile)) => Ok(profile),
        // A value is absent only after its problem was noted.
        (None, None) => {
            Err(Problem::doing(format_args!("read profile `{name}`"), "a value was refused without a reason"))
        }
    }
}

struct Review<'a> {
    document: Document<'a>,
    /// The names that there are, where they are known.
    others: Option<&'a [String]>,
    problems: Vec<Problem>,
}

impl Review<'_> {
    fn profile(&mut self, name: &str, raw: RawProfile) -> Option<Profile> {
        for secret in extra::secrets(&raw.vllm) {
            self.document.cover(secret);
        }
        let service = self.check(raw.service, rules::service);
        let model = self.model(raw.model);
        let runtime = self.runtime(raw.runtime);
        let listen = self.listen(raw.listen);
        let tensor_parallel = self.check_or(
            raw.parallelism.tensor_parallel_size,
            Parallel::Auto,
            rules::parallel("tensor-parallel-size"),
        );
        let pipeline_parallel = self.check_or(
            raw.parallelism.pipeline_parallel_size,
            Parallel::Auto,
            rules::parallel("pipeline-parallel-size"),
        );
        let memory = self.memory(raw.memory);
        let longest = raw.validation.output_tokens.as_ref().map(Spanned::span);
        let limits = self.limits(raw.limits);
        let (arguments, mut environment) = self.vllm(raw.vllm);
        let gpus = self.gpus(raw.parallelism.gpus, environment.as_mut());
        let secrets = self.secrets(raw.secrets);
        let timeouts = self.timeouts(raw.timeouts);
        let gates = self.gates(name, raw.validation);
        let tolerances = self.tolerances(raw.tolerances);
        let watch = self.watch(raw.watch);
        if let (Some(limits), Some(gates), Some(span)) = (limits, &gates, longest)
            && gates.output_tokens >= limits.max_model_len
        {
            let fault = longer_than_context(gates, limits);
            self.problems.push(self.document.fault(span, fault));
        }
        Some(Profile {
            name: name.to_owned(),
            service: service?,
            model: model?,
            runtime: runtime?,
            listen: listen?,
            tensor_parallel: tensor_parallel?,
            pipeline_parallel: pipeline_parallel?,
            gpus: gpus?,
            memory: memory?,
            limits: limits?,
            arguments: Arguments::of(&arguments?),
            environment: environment?,
            secrets: secrets?,
            timeouts: timeouts?,
            gates: gates?,
            tolerances: tolerances?,
            watch: watch?,
        })
    }

    fn model(&mut self, raw: RawModel) -> Option<Model> {
        let repo = self.check(raw.repo, rules::repo);
        let mut alternatives = Some(Vec::new());
        let mut named: BTreeSet<String> = repo.iter().cloned().collect();
        for alternative in raw.alternatives {
            let alternative = self.check(alternative, |text| rules::alternative(text, &mut named));
            alternatives = add(alternatives, alternative);
        }
        let revision = self.check_or(raw.revision, "main".to_owned(), rules::revision);
        let path = self.check_or(raw.path, None, |text| rules::whole_path(text).map(Some));
        let signed_by = self.check_or(raw.signed_by, None, |text| rules::whole_path(text).map(Some));
        let served_name = self.check(raw.served_name, rules::served_name);
        let verify_at_start = self.check_or(raw.verify_at_start, VerifyAtStart::Memo, rules::verify_at_start);
        Some(Model {
            repo: repo?,
            alternatives: alternatives?,
            revision: revision?,
            path: path?,
            signed_by: signed_by?,
            served_name: served_name?,
            verify_at_start: verify_at_start?,
        })
    }

    fn runtime(&mut self, raw: RawRuntime) -> Option<Runtime> {
        let vllm = self.check(raw.vllm, rules::version);
        let device = self.check_or(raw.device, super::values::Device::Cuda, rules::device);
        let python = self.check_or(raw.python, Python::Locked, rules::python);
        Some(Runtime { vllm: vllm?, device: device?, python: python? })
    }

    fn listen(&mut self, raw: RawListen) -> Option<Listen> {
        let host = self.check_or(raw.host, IpAddr::V4(Ipv4Addr::LOCALHOST), rules::host);
        let port = self.check_or(raw.port, PORT, rules::port);
        Some(Listen { host: host?, port: port? })
    }

    fn memory(&mut self, raw: RawMemory) -> Option<Memory> {
        let gpu = self.check_or(raw.gpu, None, |text| rules::size(text).map(Some));
        let ram = self.check_or(raw.ram, None, |text| rules::size(text).map(Some));
        let utilization = self.check_or(raw.gpu_memory_utilization, UTILIZATION, rules::above_zero(1.0));
        let offload = self.check_or(raw.offload, Offload::Auto, rules::offload);
        Some(Memory { gpu: gpu?, ram: ram?, gpu_memory_utilization: utilization?, offload: offload? })
    }

    fn limits(&mut self, raw: RawLimits) -> Option<Limits> {
        // The problem points at the one of the two numbers that is written.
        let written = [&raw.max_num_batched_tokens, &raw.max_num_seqs];
        let written = written.into_iter().flatten().next().map(Spanned::span);
        let max_model_len = self.check_or(raw.max_model_len, MAX_MODEL_LEN, rules::whole(rules::TOKENS));
        let max_num_seqs = self.check_or(raw.max_num_seqs, MAX_NUM_SEQS, rules::whole(rules::SEQUENCES));
        let max_num_batched_tokens =
            self.check_or(raw.max_num_batched_tokens, MAX_NUM_BATCHED_TOKENS, rules::whole(rules::TOKENS));
        let limits = Limits {
            max_model_len: max_model_len?,
            max_num_seqs: max_num_seqs?,
            max_num_batched_tokens: max_num_batched_tokens?,
        };
        if let Some(span) = written
            && limits.max_num_batched_tokens < limits.max_num_seqs
        {
            let fault = too_small_a_batch(limits);
            self.problems.push(self.document.fault(span, fault));
        }
        Some(limits)
    }

    fn vllm(&mut self, raw: RawVllm) -> (Option<Vec<String>>, Option<BTreeMap<String, String>>) {
        let mut arguments = Some(Vec::new());
        for (index, argument) in raw.arguments.into_iter().enumerate() {
            let rule = match index {
                0 => extra::first_argument,
                _ => extra::argument,
            };
            let argument = self.check(argument, rule);
            arguments = add(arguments, argument);
        }
        let mut environment = Some(BTreeMap::new());
        for (name, value) in raw.environment {
            let name = self.check(name, extra::variable);
            let value = self.check(value, rules::one_line);
            environment = add(environment, name.zip(value));
        }
        (arguments, environment)
    }

    /// The GPUs that are named, which the engine reads from its environment.
    fn gpus(
        &mut self,
        raw: Option<Spanned<Vec<CountOrWord>>>,
        environment: Option<&mut BTreeMap<String, String>>,
    ) -> Option<Vec<String>> {
        let Some(raw) = raw else { return Some(Vec::new()) };
        let twice = environment.as_ref().is_some_and(|environment| environment.contains_key(DEVICES));
        let gpus = self.check(raw, |gpus| {
            if twice {
                return Err(DocumentError::new(format!("`{DEVICES}` in `vllm.environment` names GPUs, too"))
                    .help("leave out one of them"));
            }
            rules::gpus(gpus)
        })?;
        environment?.insert(DEVICES.to_owned(), gpus.join(","));
        Some(gpus)
    }

    fn secrets(&mut self, raw: RawSecrets) -> Option<Secrets> {
        let api_key = self.check_or(raw.api_key_file, None, |text| rules::whole_path(text).map(Some));
        let hub_token = self.check_or(raw.hub_token_file, None, |text| rules::whole_path(text).map(Some));
        Some(Secrets { api_key: api_key?, hub_token: hub_token? })
    }

    fn timeouts(&mut self, raw: RawTimeouts) -> Option<Timeouts> {
        let start = self.check_or(raw.start, START, rules::duration(rules::LONGEST_START));
        let request = self.check_or(raw.request, REQUEST, rules::duration(rules::LONGEST_REQUEST));
        Some(Timeouts { start: start?, request: request? })
    }

    fn watch(&mut self, raw: RawWatch) -> Option<Watch> {
        let minutes = self.check_or(raw.minutes, WATCH_MINUTES, rules::whole(rules::WATCH_MINUTES));
        let every = self.check_or(raw.every, WATCH_EVERY, rules::duration(rules::LONGEST_PAUSE));
        let longest = |text| rules::duration(rules::LONGEST_PAUSE)(text).map(Some);
        let max_ttft = self.check_or(raw.max_ttft, None, longest);
        Some(Watch { minutes: minutes?, every: every?, max_ttft: max_ttft? })
    }

    fn gates(&mut self, name: &str, raw: RawValidation) -> Option<Gates> {
        let usual = Gates::default();
        let floor = self.check_or(
            raw.min_decode_tokens_per_second,
            usual.min_decode_tokens_per_second,
            rules::above_zero(rules::MOST_TOKENS_PER_SECOND),
        );
        let output_tokens =
            self.check_or(raw.output_tokens, usual.output_tokens, rules::whole(rules::OUTPUT_TOKENS));
        let repetitions = self.check_or(raw.repetitions, usual.repetitions, rules::whole(rules::REPETITIONS));
        let warmups = self.check_or(raw.warmups, usual.warmups, rules::whole(rules::WARMUPS));
        let baseline = match raw.baseline {
            Some(raw) => self.baseline(name, raw).map(Some),
            None => Some(None),
        };
        let quality = self.quality(raw.quality);
        let sweep = self.sweep(raw.sweep);
        let arrivals = match raw.arrivals {
            Some(raw) => self.arrivals(raw).map(Some),
            None => Some(None),
        };
        Some(Gates {
            min_decode_tokens_per_second: floor?,
            output_tokens: output_tokens?,
            repetitions: repetitions?,
            warmups: warmups?,
            baseline: baseline?,
            sweep: sweep?,
            arrivals: arrivals?,
            ..quality?
        })
    }

    /// The usual gates with those of the quality.
    fn quality(&mut self, raw: Option<RawQuality>) -> Option<Gates> {
        let Some(raw) = raw else { return Some(Gates::default()) };
        let usual = QualityLimits::default();
        let ratio = |ratio| rules::above_zero(rules::MOST_RATIO)(ratio).map(Some);
        let known = self.check(raw.min_known_answers, rules::share).map(Some);
        let perplexity = self.check_or(raw.max_perplexity_ratio, None, ratio);
        let cut = self.check_or(raw.max_cut_answers, usual.max_cut_answers, rules::share);
        let divergence = self.check_or(raw.max_divergence, None, ratio);
        let same = self.check_or(
            raw.max_divergence_same_weights,
            usual.max_divergence_same_weights,
            rules::above_zero(rules::MOST_RATIO),
        );
        Some(Gates {
            min_known_answers: known?,
            max_perplexity_ratio: perplexity?,
            quality: QualityLimits {
                max_cut_answers: cut?,
                max_divergence: divergence?,
                max_divergence_same_weights: same?,
                required: raw.required.unwrap_or(usual.required),
            },
            ..Gates::default()
        })
    }

    fn tolerances(&mut self, raw: RawTolerances) -> Option<Tolerances> {
        let usual = Tolerances::default();
        let weights = self.check_or(raw.weights, usual.weights, rules::share);
        let offload = self.check_or(raw.offload, usual.offload, rules::share);
        let kv_cache = self.check_or(raw.kv_cache, usual.kv_cache, rules::share);
        let vram = self.check_or(raw.vram, usual.vram, rules::share);
        let ram = self.check_or(raw.ram, usual.ram, rules::share);
        Some(Tolerances { weights: weights?, offload: offload?, kv_cache: kv_cache?, vram: vram?, ram: ram? })
    }

    fn sweep(&mut self, raw: RawSweep) -> Option<Sweep> {
        let Sweep { prompt_tokens, concurrency, time } = Sweep::default();
        let prompt_tokens =
            self.check_or(raw.prompt_tokens, prompt_tokens, rules::rising(rules::PROMPT_TOKENS));
        let concurrency = self.check_or(raw.concurrency, concurrency, rules::rising(rules::STREAMS));
        let time = self.check_or(raw.time, time, rules::duration(rules::LONGEST_SWEEP));
        Some(Sweep { prompt_tokens: prompt_tokens?, concurrency: concurrency?, time: time? })
    }

    fn arrivals(&mut self, raw: RawArrivals) -> Option<Arrivals> {
        let span = raw.min_goodput.as_ref().map(Spanned::span);
        let ms = |ms| rules::above_zero(rules::MOST_MS)(ms).map(Some);
        let rate = self.check(raw.rate, rules::above_zero(rules::MOST_REQUESTS_PER_SECOND));
        let time = self.check_or(raw.time, ARRIVING, rules::duration(rules::LONGEST_SWEEP));
        let ttft = self.check_or(raw.max_ttft_ms, None, ms);
        let tpot = self.check_or(raw.max_tpot_ms, None, ms);
        let e2el = self.check_or(raw.max_e2el_ms, None, ms);
        let goodput = self.check_or(raw.min_goodput, None, |share| rules::share(share).map(Some));
        let wanted = Arrivals {
            rate: rate?,
            time: time?,
            max_ttft_ms: ttft?,
            max_tpot_ms: tpot?,
            max_e2el_ms: e2el?,
            min_goodput: goodput?,
        };
        match (arrivals(&wanted), span) {
            (Err(fault), Some(span)) => {
                self.problems.push(self.document.fault(span, fault));
                None
            }
            _ => Some(wanted),
        }
    }

    fn baseline(&mut self, name: &str, raw: RawBaseline) -> Option<Baseline> {
        let others = self.others;
        let profile = self.check(raw.profile, |text| known(other_profile(name, text)?, others));
        let min_ratio = self.check(raw.min_ratio, rules::above_zero(rules::MOST_RATIO));
        Some(Baseline { profile: profile?, min_ratio: min_ratio?, required: raw.required.unwrap_or(true) })
    }

    /// Checks a value: returns it, or notes a problem.
    fn check<R, T>(
        &mut self,
        raw: Spanned<R>,
        rule: impl FnOnce(R) -> Result<T, DocumentError>,
    ) -> Option<T> {
        let span = raw.span();
        rule(raw.into_inner()).map_err(|fault| self.problems.push(self.document.fault(span, fault))).ok()
    }

    fn check_or<R, T>(
        &mut self,
        raw: Option<Spanned<R>>,
        default: T,
        rule: impl FnOnce(R) -> Result<T, DocumentError>,
    ) -> Option<T> {
        match raw {
            Some(raw) => self.check(raw, rule),
            None => Some(default),
        }
    }
}

fn add<C: Extend<T>, T>(collected: Option<C>, next: Option<T>) -> Option<C> {
    let mut collected = collected?;
    collected.extend([next?]);
    Some(collected)
}

/// A name that is among those that there are: a comparison with nothing would never fail.
fn known(name: String, others: Option<&[String]>) -> Result<String, DocumentError> {
    let Some(others) = others.filter(|others| !others.contains(&name)) else { return Ok(name) };
    let others = || others.iter().map(String::as_str);
    let there = match others().count() {
        0 => "there is no other profile".to_owned(),
        _ => format!("there are {}", listed(others())),
    };
    let help = match closest(&name, others()) {
        Some(meant) => format!("did you mean `{meant}`? {there}"),
        None => there,
    };
    Err(DocumentError::new("no profile has this name").help(help))
}

/// The problem of a batch too small for one token of every running request: vLLM would not start.
fn too_small_a_batch(limits: Limits) -> DocumentError {
    let Limits { max_num_seqs, max_num_batched_tokens, .. } = limits;
    DocumentError::new(format!("{max_num_batched_tokens} tokens for {max_num_seqs} requests"))
        .what("`limits.max-num-batched-tokens` must not be less than `limits.max-num-seqs`")
        .help(format!("write `max-num-batched-tokens = {max_num_seqs}` or more, or allow fewer requests"))
}
