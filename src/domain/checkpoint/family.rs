//! Which architectures are modelled.

use serde::{Deserialize, Serialize};

/// Architectures whose tensors and KV cache are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// `Qwen3NextForCausalLM`: linear and full attention, routed and shared experts.
    Qwen3Next,
    /// `LlamaForCausalLM`.
    Llama,
    /// `Qwen2ForCausalLM`: Llama with biases at queries, keys and values.
    Qwen2,
    /// `Qwen3ForCausalLM`: Llama with norms at queries and keys.
    Qwen3,
    /// `Qwen3MoeForCausalLM`: Qwen3 with routed experts.
    Qwen3Moe,
    /// `MixtralForCausalLM`: Llama with routed experts.
    Mixtral,
    /// Other dense models, with grouped heads: Phi, Granite, GLM-4, Seed-OSS, ERNIE, Mistral Small with its eyes, Qwen-VL. Weights
    /// by their files only.
    Dense,
    /// Other models with routed experts and grouped heads: GLM-4.5, MiniMax-M2, Qwen3-VL. Weights by their files only.
    Sparse,
    /// `GptOssForCausalLM`: experts in MXFP4, and sliding windows in every other layer.
    GptOss,
    /// `Gemma3ForConditionalGeneration`: sliding windows in five of six layers.
    Gemma3,
    /// `DeepseekV2ForCausalLM` and its successor: latent attention (MLA), routed experts.
    Latent,
    /// `Qwen3_5ForConditionalGeneration`: linear and full attention, dense.
    HybridDense,
    /// `Qwen3_5MoeForConditionalGeneration`: linear and full attention, routed and shared experts.
    HybridSparse,
}

impl Family {
    /// The family of this name among `architectures`.
    pub(crate) fn of(architecture: &str) -> Option<Self> {
        Some(match architecture {
            "Qwen3NextForCausalLM" => Self::Qwen3Next,
            "LlamaForCausalLM" | "MistralForCausalLM" => Self::Llama,
            "Qwen2ForCausalLM" => Self::Qwen2,
            "Qwen3ForCausalLM" => Self::Qwen3,
            "Qwen3MoeForCausalLM" => Self::Qwen3Moe,
            "MixtralForCausalLM" => Self::Mixtral,
            "Phi3ForCausalLM"
            | "GraniteForCausalLM"
            | "Glm4ForCausalLM"
            | "SeedOssForCausalLM"
            | "Ernie4_5ForCausalLM"
            | "Mistral3ForConditionalGeneration"
            | "Qwen2_5_VLForConditionalGeneration"
            | "Qwen3VLForConditionalGeneration" => Self::Dense,
            "Glm4MoeForCausalLM" | "MiniMaxM2ForCausalLM" | "Qwen3VLMoeForConditionalGeneration" => {
                Self::Sparse
            }
            "GptOssForCausalLM" => Self::GptOss,
            "Gemma3ForConditionalGeneration" | "Gemma3ForCausalLM" => Self::Gemma3,
            "DeepseekV2ForCausalLM" | "DeepseekV3ForCausalLM" => Self::Latent,
            "Qwen3_5ForConditionalGeneration" | "Qwen3_5ForCausalLM" => Self::HybridDense,
            "Qwen3_5MoeForConditionalGeneration" | "Qwen3_5MoeForCausalLM" => Self::HybridSparse,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Qwen3Next => "Qwen3-Next",
            Self::Llama => "Llama",
            Self::Qwen2 => "Qwen2",
            Self::Qwen3 => "Qwen3",
            Self::Qwen3Moe => "Qwen3-MoE",
            Self::Mixtral => "Mixtral",
            Self::Dense => "dense model",
            Self::Sparse => "model with experts",
            Self::GptOss => "gpt-oss",
            Self::Gemma3 => "Gemma 3",
            Self::Latent => "DeepSeek",
            Self::HybridDense | Self::HybridSparse => "Qwen3.5",
        }
    }

    /// Whether its layers have routed experts.
    pub(crate) const fn is_sparse(self) -> bool {
        matches!(
            self,
            Self::Qwen3Next
                | Self::Qwen3Moe
                | Self::Mixtral
                | Self::Sparse
                | Self::GptOss
                | Self::Latent
                | Self::HybridSparse
        )
    }

    /// Whether its layers are of linear and of full attention.
    pub(crate) const fn is_hybrid(self) -> bool {
        matches!(self, Self::Qwen3Next | Self::HybridDense | Self::HybridSparse)
    }

    /// Whether its plans were held against a GPU of our own.
    pub(crate) const fn is_measured(self) -> bool {
        matches!(self, Self::Qwen3Next)
    }

    /// Whether queries and keys have norms.
    pub(crate) const fn norms_heads(self) -> bool {
        matches!(self, Self::Qwen3Next | Self::Qwen3 | Self::Qwen3Moe)
    }
}
