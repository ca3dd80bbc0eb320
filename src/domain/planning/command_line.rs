//! Builds the argument list and environment of `vllm serve`.

use super::{
    inputs::Inputs,
    memory::{self, Budget},
    runner::{self, Runner},
};
use crate::domain::{
    machine::{facts::Facts, visible},
    profile::{Device, Profile},
    size::ByteSize,
    vllm::{serve::Serve, version::Version},
};
use std::{collections::BTreeMap, time::Duration};

/// The command line and environment under this budget.
pub(crate) fn serve(inputs: Inputs<'_>, budget: &Budget) -> Serve {
    let mut argv = inputs.runtime.command.clone();
    argv.push("serve".to_owned());
    // The model comes first: flags that take a list would swallow it.
    argv.push(inputs.model.path.display().to_string());
    argv.extend(flags(inputs, budget));
    argv.extend(inputs.profile.arguments().words().iter().cloned());
    Serve { argv, env: environment(inputs, budget), listen: inputs.profile.listen() }
}

/// The flags in the order in which a person asks: what, where, how it is split, how much.
fn flags(inputs: Inputs<'_>, budget: &Budget) -> Vec<String> {
    let Inputs { profile, model, checkpoint, facts, .. } = inputs;
    let (listen, limits) = (profile.listen(), profile.limits());
    let ranks = budget.tensor_parallel_size;
    let mut list = Vec::new();
    let mut flag = |name: &str, values: &[String]| {
        list.push(name.to_owned());
        list.extend_from_slice(values);
    };
    flag("--served-model-name", std::slice::from_ref(&model.served_name));
    flag("--host", &[listen.host.to_string()]);
    flag("--port", &[listen.port.to_string()]);
    flag("--tensor-parallel-size", &[ranks.to_string()]);
    if budget.grid().pipeline > 1 {
        flag("--pipeline-parallel-size", &[budget.grid().pipeline.to_string()]);
    }
    flag("--max-model-len", &[limits.max_model_len.to_string()]);
    flag("--max-num-seqs", &[limits.max_num_seqs.to_string()]);
    flag("--max-num-batched-tokens", &[limits.max_num_batched_tokens.to_string()]);
    if profile.runtime().device == Device::Cpu {
        return list;
    }
    flag("--gpu-memory-utilization", &[utilization(profile, facts, budget)]);
    if budget.offload > ByteSize::default() {
        // Zero-copy reads of the routed experts: the other backend copies all of them for each
        // token.
        flag("--offload-backend", &["uva".to_owned()]);
        flag("--cpu-offload-gb", &[gib(budget.offload)]);
        if checkpoint.experts(ranks).is_some() {
            flag("--cpu-offload-params", &["experts".to_owned()]);
        }
    }
    if all_reduce_of_profile(profile).is_none() && !own_all_reduce(profile, facts, ranks) {
        flag("--disable-custom-all-reduce", &[]);
    }
    list
}

/// Whether ranks use vLLM's own all-reduce: as the profile says, else where it works.
pub(crate) fn own_all_reduce(profile: &Profile, facts: &Facts, ranks: u32) -> bool {
    all_reduce_of_profile(profile).unwrap_or(ranks <= 2 || facts.nvlinked(ranks))
}

fn all_reduce_of_profile(profile: &Profile) -> Option<bool> {
    profile.arguments().switch("disable-custom-all-reduce").map(|disabled| !disabled)
}

/// The share of the GPU for vLLM. Where less is planned than the profile asks for, it shrinks with it.
fn utilization(profile: &Profile, facts: &Facts, budget: &Budget) -> String {
    let gpus = facts.gpus.iter().take(budget.gpus() as usize);
    let asked = profile.memory().gpu_memory_utilization;
    match (gpus.map(|gpu| facts.capacity(gpu)).min(), budget.gpu) {
        (Some(has), Some(planned)) if planned < memory::share(has, asked) => {
            // Rounded down: never more than is planned. A part of a byte that was cut off is nothing.
            format!("{}", (planned.0 as f64 / has.0 as f64 * 10_000.0 + 1e-6).floor() / 10_000.0)
        }
        _ => format!("{asked}"),
    }
}

/// A size in GiB as a decimal number, as vLLM takes it.
fn gib(size: ByteSize) -> String {
    format!("{}", (size.as_gib() * 1000.0).ceil() / 1000.0)
}

/// The variables that let the engine start without a network and talk to nobody. The profile's own variables
/// win.
fn environment(inputs: Inputs<'_>, budget: &Budget) -> BTreeMap<String, String> {
    let profile = inputs.profile;
    let own = profile.environment().clone();
    // The second model runner would ignore the offload without a word.
    let version = Version::of(&profile.runtime().vllm).filter(|version| *version < runner::SECOND_OFFLOADS);
    let second = version.is_some_and(|version| runner::of(inputs.checkpoint, version) == Runner::Second);
    let first = (second && budget.offload.0 > 0).then(|| (runner::VARIABLE.to_owned(), "0".to_owned()));
    // Where GPUs are named by number, the numbers shall be those that everybody else counts by.
    let order =
        own.contains_key(visible::DEVICES).then(|| (visible::ORDER.to_owned(), visible::BY_BUS.to_owned()));
    surroundings(profile.timeouts().start).into_iter().chain(order).chain(first).chain(own).collect()
}

/// How long vLLM may take to load where no profile says so.
pub(crate) const LOADING: Duration = Duration::from_mins(20);

/// The variables of every engine, with this limit on loading.
pub(crate) fn surroundings(loading: Duration) -> BTreeMap<String, String> {
    let ready = loading.as_secs().to_string();
    let defaults = [
        ("HF_HUB_OFFLINE", "1"),
        ("TRANSFORMERS_OFFLINE", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("VLLM_NO_USAGE_STATS", "1"),
        ("DO_NOT_TRACK", "1"),
        // vLLM's own limit on loading and compiling is 10 minutes: not enough with offload.
        ("VLLM_ENGINE_READY_TIMEOUT_S", &ready),
        // The engine binds ports on the host's own address even at TP 1, which the unit's filter
        // would stop.
        ("VLLM_HOST_IP", "127.0.0.1"),
        ("GLOO_SOCKET_IFNAME", "lo"),
        ("NCCL_SOCKET_IFNAME", "lo"),
        ("NCCL_IB_DISABLE", "1"),
    ];
    defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}
