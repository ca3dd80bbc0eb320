//! Compares what the installed vLLM makes of a plan's command line with what the plan means by it.

use super::plan::Plan;
use crate::domain::{checkpoint::Checkpoint, findings::refusal::Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The mark before the answer; vLLM logs to the same place.
const MARK: &str = "awqdeploy-answer ";

/// vLLM's own resolution of a command line. What a version does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "EngineWord")]
pub struct ResolvedEngineConfig {
    /// Why vLLM could not be asked: the question is not written for this version.
    pub silent: Option<String>,
    /// The class that will be loaded.
    pub architecture: Option<String>,
    /// Method of quantisation.
    pub quantization: Option<String>,
    /// Type of the activations.
    pub dtype: Option<String>,
    /// The name that clients use.
    pub served_model_name: Option<String>,
    /// Longest context, tokens.
    pub max_model_len: Option<u64>,
    /// Ranks.
    pub tensor_parallel_size: Option<u32>,
    /// Stages.
    pub pipeline_parallel_size: Option<u32>,
    /// Most sequences at once.
    pub max_num_seqs: Option<u32>,
    /// Most tokens of one step.
    pub max_num_batched_tokens: Option<u64>,
    /// Share of the VRAM.
    pub gpu_memory_utilization: Option<f64>,
    /// GiB per rank.
    pub cpu_offload_gb: Option<f64>,
    /// The parameters that may be offloaded.
    pub cpu_offload_params: Vec<String>,
    /// Type of the KV cache.
    pub kv_cache_dtype: Option<String>,
    /// Tokens of a block of the KV cache, where that is known before the start.
    pub block_size: Option<u64>,
}

/// One value that plan and engine both have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compared {
    /// The name on the command line: `max-model-len`.
    pub what: String,
    /// The value in the plan. Absent: the plan leaves it open.
    pub planned: Option<String>,
    /// The value that vLLM makes of it.
    pub engine: String,
    /// Whether both mean the same.
    pub agrees: bool,
}

impl ResolvedEngineConfig {
    /// Finds the answer in what the program printed.
    pub fn of(printed: &str) -> Option<Self> {
        let line = printed.lines().find_map(|line| line.strip_prefix(MARK))?;
        serde_json::from_str(line).ok()
    }

    /// Compares with the plan. Values that vLLM does not tell are left out.
    pub fn beside(&self, plan: &Plan, checkpoint: &Checkpoint) -> Vec<Compared> {
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let flag = |flag: &str| argument(plan, flag);
        let stored = checkpoint.quantization.as_ref().map(|stored| stored.method.as_str());
        let pipeline = plan.memory.grid().pipeline > 1;
        let share = |text: String| text.parse::<f64>().ok().map(decimal);
        let mut rows = vec![
            row("architecture", Some(checkpoint.architecture.clone()), self.architecture.clone()),
            Some(self.quantisation(stored)),
            row("served-model-name", flag("--served-model-name"), self.served_model_name.clone()),
            row("max-model-len", flag("--max-model-len"), number(self.max_model_len)),
            row(
                "tensor-parallel-size",
                flag("--tensor-parallel-size"),
                number(self.tensor_parallel_size.map(u64::from)),
            ),
            row(
                "pipeline-parallel-size",
                Some(plan.memory.grid().pipeline.to_string()),
                number(self.pipeline_parallel_size.map(u64::from)).filter(|stages| pipeline || stages != "1"),
            ),
            row("max-num-seqs", flag("--max-num-seqs"), number(self.max_num_seqs.map(u64::from))),
            row(
                "max-num-batched-tokens",
                flag("--max-num-batched-tokens"),
                number(self.max_num_batched_tokens),
            ),
            row(
                "cpu-offload-gb",
                Some(decimal(plan.memory.offload.as_gib())),
                self.cpu_offload_gb.map(decimal),
            ),
            row("dtype", None, self.dtype.clone()),
            row("kv-cache-dtype", None, self.kv_cache_dtype.clone()),
            row("block-size", None, number(self.block_size)),
        ];
        if plan.memory.gpu.is_some() {
            let planned = flag("--gpu-memory-utilization").and_then(share);
            rows.push(row("gpu-memory-utilization", planned, self.gpu_memory_utilization.map(decimal)));
        }
        if plan.memory.offload.0 > 0 {
            let params = Some(self.cpu_offload_params.join(" ")).filter(|params| !params.is_empty());
            rows.push(row("cpu-offload-params", flag("--cpu-offload-params"), params));
        }
        rows.into_iter().flatten().collect()
    }

    /// Compares the methods of quantisation. vLLM names a method after the kernels that it takes for it:
    /// `gptq_marlin` for `gptq`.
    fn quantisation(&self, stored: Option<&str>) -> Compared {
        let said = self.quantization.as_deref();
        let agrees = match (said, stored) {
            (Some(said), Some(stored)) => {
                let said = said.replace('_', "-");
                said.contains(stored) || (stored == "auto-round" && said == "inc")
            }
            (said, stored) => said.is_none() && stored.is_none(),
        };
        let shown = |name: Option<&str>| name.unwrap_or("none").to_owned();
        Compared {
            what: "quantization".to_owned(),
            planned: Some(shown(stored)),
            engine: shown(said),
            agrees,
        }
    }
}

/// Refuses where vLLM understands the command line otherwise than the plan.
pub fn agree(compared: &[Compared]) -> Result<(), Refusal> {
    let Some(Compared { what, planned, engine, .. }) = compared.iter().find(|row| !row.agrees) else {
        return Ok(());
    };
    let planned = planned.as_deref().unwrap_or_default();
    Err(Refusal::new(
        "engine-disagrees",
        format!("the plan has {what} `{planned}`, and vLLM makes `{engine}` of its command line"),
        "compare `vllm.arguments` and `config.json` with what vLLM says",
    ))
}

fn row(what: &str, planned: Option<String>, engine: Option<String>) -> Option<Compared> {
    let engine = engine?;
    let agrees = planned.as_ref().is_none_or(|planned| *planned == engine);
    Some(Compared { what: what.to_owned(), planned, engine, agrees })
}

/// A number with the precision in which people write a share or GiB, so that floats from another program
/// compare.
fn decimal(number: f64) -> String {
    format!("{number:.3}")
}

/// The value of a flag in the plan's command line.
fn argument(plan: &Plan, flag: &str) -> Option<String> {
    let mut words = plan.serve.argv.iter();
    words.find(|word| *word == flag)?;
    words.next().cloned()
}
