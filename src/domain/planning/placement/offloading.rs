//! Whether weights can be kept in RAM, by version, runner and host.

use crate::domain::planning::{
    inputs::Inputs,
    runner::{self, Runner},
};
use crate::domain::{findings::refusal::Refusal, vllm::version::Version};
use std::ops::Range;

/// The versions whose weight offload works: below, repacked weights stay on the GPU (vLLM issue 21864), and so they do from
/// the second on (read in the source, not run).
const OFFLOAD_WORKS: Range<Version> = Version::new(0, 17, 1)..Version::new(0, 33, 0);
/// The versions whose offload works for a hybrid model: below, an assertion ends the engine (vLLM issue 26206).
const OFFLOAD_WORKS_FOR_HYBRIDS: Range<Version> = Version::new(0, 20, 0)..OFFLOAD_WORKS.end;
/// The variable that lets vLLM pin memory under WSL, and since when.
const WSL_PINS: (&str, Version) = ("VLLM_WSL2_ENABLE_PIN_MEMORY", Version::new(0, 24, 0));

/// Under WSL the second model runner does not start without pinned memory.
pub(crate) fn wsl(inputs: Inputs<'_>, version: Version) -> Result<(), Refusal> {
    let environment = inputs.profile.environment();
    let set = |name: &str, to: &str| environment.get(name).is_some_and(|value| value == to);
    let second = runner::of(inputs.checkpoint, version) == Runner::Second;
    let pins = set(WSL_PINS.0, "1");
    let avoided = set(runner::VARIABLE, "0") && version < runner::SECOND_FOR_ALL;
    if !inputs.facts.wsl || !second || pins || avoided || version < WSL_PINS.1 {
        return Ok(());
    }
    Err(Refusal::new(
        "no-pinned-memory",
        format!(
            "under WSL vLLM `{version}` pins no memory by itself, and its second model runner does not start without"
        ),
        format!("set `{} = \"1\"` in `vllm.environment`, or boot Linux itself", WSL_PINS.0),
    ))
}

/// Whether this version and environment can keep experts in RAM.
pub(crate) fn offload(inputs: Inputs<'_>, version: Version) -> Result<(), Refusal> {
    let environment = inputs.profile.environment();
    let set = |name: &str| environment.get(name).is_some_and(|value| value == "1");
    let hybrid = inputs.checkpoint.shape.as_ref().is_some_and(|shape| shape.linear_num_value_heads > 0);
    let works = if hybrid { OFFLOAD_WORKS_FOR_HYBRIDS } else { OFFLOAD_WORKS };
    if !works.contains(&version) {
        let why = if version < works.start && hybrid {
            "an assertion ends its engine when weights of a hybrid model are offloaded"
        } else {
            "it leaves repacked weights on the GPU (seen with 0.33.0 on an H200)"
        };
        return Err(Refusal::new(
            "offload-broken-in-version",
            format!(
                "the weights do not fit on the GPUs, and offload does not work in vLLM `{version}`: {why}"
            ),
            "pin `runtime.vllm` to 0.26.0, which was measured, or another from 0.20 to 0.32",
        ));
    }
    if inputs.facts.wsl && !(set(WSL_PINS.0) && version >= WSL_PINS.1) {
        return Err(Refusal::new(
            "no-pinned-memory",
            "the weights do not fit on the GPUs, and under WSL vLLM pins no memory to keep them in",
            format!(
                "from vLLM {} on, set `{} = \"1\"` in `vllm.environment`; else boot Linux itself",
                WSL_PINS.1, WSL_PINS.0
            ),
        ));
    }
    if set("VLLM_WEIGHT_OFFLOADING_DISABLE_UVA") {
        return Err(Refusal::new(
            "environment-breaks-offload",
            "`VLLM_WEIGHT_OFFLOADING_DISABLE_UVA=1` makes quantised experts fail: \
             \"b_q_weight is not on GPU\"",
            "remove it from `vllm.environment`",
        ));
    }
    if set(runner::VARIABLE) && version < runner::SECOND_OFFLOADS {
        return Err(Refusal::new(
            "environment-breaks-offload",
            format!("with `VLLM_USE_V2_MODEL_RUNNER=1` vLLM `{version}` ignores the offload silently"),
            "remove it from `vllm.environment`",
        ));
    }
    Ok(())
}
