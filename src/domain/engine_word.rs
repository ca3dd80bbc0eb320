//! What the installed vLLM makes of a plan's command line, against what the plan means by it.

use super::{
    checkpoint::Checkpoint,
    plan::{Plan, Refusal},
};
use serde::{Deserialize, Serialize};

/// What begins the line of the answer; vLLM logs to the same place.
const MARK: &str = "awqdeploy-answer ";

/// vLLM's own resolution of a command line. What a version does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineWord {
    /// Method of quantisation.
    pub quantization: Option<String>,
    /// Longest context, tokens.
    pub max_model_len: Option<u64>,
    /// Ranks.
    pub tensor_parallel_size: Option<u32>,
    /// Most sequences at once.
    pub max_num_seqs: Option<u32>,
    /// GiB per rank.
    pub cpu_offload_gb: Option<f64>,
}

impl EngineWord {
    /// The answer in what the program printed.
    pub fn of(printed: &str) -> Option<Self> {
        let line = printed.lines().find_map(|line| line.strip_prefix(MARK))?;
        serde_json::from_str(line).ok()
    }

    /// Refuses where vLLM understands the command line otherwise than the plan.
    pub fn agree(&self, plan: &Plan, checkpoint: &Checkpoint) -> Result<(), Refusal> {
        let stored = checkpoint.quantization.as_ref().map(|stored| stored.method.as_str());
        let said = self.quantization.as_deref();
        // vLLM names a method after the kernels that it takes for it: `gptq_marlin` for `gptq`.
        let same = match (said, stored) {
            (Some(said), Some(stored)) => {
                let said = said.replace('_', "-");
                said.contains(stored) || (stored == "auto-round" && said == "inc")
            }
            (said, stored) => said.is_none() && stored.is_none(),
        };
        let shown = |name: Option<&str>| name.unwrap_or("none").to_owned();
        let offload = plan.memory.offload.as_gib();
        let [length, ranks, sequences] =
            ["--max-model-len", "--tensor-parallel-size", "--max-num-seqs"].map(|flag| argument(plan, flag));
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let compared = [
            ("quantization", (!same).then(|| (shown(stored), shown(said)))),
            ("max-model-len", differing(length, number(self.max_model_len))),
            ("tensor-parallel-size", differing(ranks, number(self.tensor_parallel_size.map(u64::from)))),
            ("max-num-seqs", differing(sequences, number(self.max_num_seqs.map(u64::from)))),
            (
                "cpu-offload-gb",
                self.cpu_offload_gb
                    .filter(|said| (said - offload).abs() > 0.01)
                    .map(|said| (format!("{offload:.2}"), format!("{said:.2}"))),
            ),
        ];
        match compared.into_iter().find_map(|(what, values)| values.map(|values| (what, values))) {
            None => Ok(()),
            Some((what, (planned, said))) => Err(Refusal::new(
                "engine-disagrees",
                format!("the plan has {what} `{planned}`, and vLLM makes `{said}` of its command line"),
                "compare `vllm.arguments` and `config.json` with what vLLM says",
            )),
        }
    }
}

/// The value of a flag in the plan's command line.
fn argument(plan: &Plan, flag: &str) -> Option<String> {
    let mut words = plan.serve.argv.iter();
    words.find(|word| *word == flag)?;
    words.next().cloned()
}

fn differing(planned: Option<String>, said: Option<String>) -> Option<(String, String)> {
    planned.zip(said).filter(|(planned, said)| planned != said)
}
