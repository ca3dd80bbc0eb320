//! Checkpoints of published shapes: `config.json`, and weight files with true headers and nothing behind them but a hole.

use crate::checkpoint::safetensors::header;
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

/// How a matrix of 4 bits is stored, in groups of 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Awq,
    Gptq,
}

/// A dense model, or one with routed experts, as its `config.json` describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) architecture: &'static str,
    pub(crate) stored: Stored,
    pub(crate) hidden: u64,
    /// Of a layer, or of an expert.
    pub(crate) inner: u64,
    pub(crate) layers: u64,
    pub(crate) heads: u64,
    pub(crate) kv_heads: u64,
    pub(crate) vocabulary: u64,
    pub(crate) context: u64,
    /// 0: it is dense.
    pub(crate) experts: u64,
    /// Whether queries and keys have norms.
    pub(crate) norms: bool,
}

pub(crate) const QWEN3_8B_AWQ: Shape = Shape {
    architecture: "Qwen3ForCausalLM",
    stored: Stored::Awq,
    hidden: 4096,
    inner: 12_288,
    layers: 36,
    heads: 32,
    kv_heads: 8,
    vocabulary: 151_936,
    context: 40_960,
    experts: 0,
    norms: true,
};
pub(crate) const QWEN3_14B_AWQ: Shape =
    Shape { hidden: 5120, inner: 17_408, layers: 40, heads: 40, ..QWEN3_8B_AWQ };
pub(crate) const QWEN3_30B_A3B_GPTQ: Shape = Shape {
    architecture: "Qwen3MoeForCausalLM",
    stored: Stored::Gptq,
    hidden: 2048,
    inner: 768,
    layers: 48,
    kv_heads: 4,
    experts: 128,
    ..QWEN3_8B_AWQ
};
pub(crate) const LLAMA3_70B_AWQ: Shape = Shape {
    architecture: "LlamaForCausalLM",
    hidden: 8192,
    inner: 28_672,
    layers: 80,
    heads: 64,
    vocabulary: 128_256,
    context: 131_072,
    norms: false,
    ..QWEN3_8B_AWQ
};

/// The width of an attention head in all of these.
const HEAD: u64 = 128;
const GROUP: u64 = 128;

type Tensors = Vec<(String, &'static str, Vec<u64>)>;

impl Shape {
    pub(crate) fn config(&self) -> Value {
        let mut config = json!({
            "architectures": [self.architecture], "torch_dtype": "float16", "hidden_size": self.hidden,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads,
            "head_dim": HEAD, "vocab_size": self.vocabulary, "max_position_embeddings": self.context,
            "intermediate_size": self.inner, "tie_word_embeddings": false,
        });
        if self.experts > 0 {
            config["num_experts"] = json!(self.experts);
            config["num_experts_per_tok"] = json!(8);
            config["moe_intermediate_size"] = json!(self.inner);
        }
        config["quantization_config"] = match self.stored {
            Stored::Awq => json!({"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": true,
                "version": "gemm", "modules_to_not_convert": null}),
            Stored::Gptq => json!({"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": true,
                "desc_act": false}),
        };
        config
    }

    fn tensors(&self) -> Tensors {
        let Self { hidden, inner, heads, kv_heads, vocabulary, .. } = *self;
        let mut tensors: Tensors = vec![
            ("model.embed_tokens.weight".to_owned(), "F16", vec![vocabulary, hidden]),
            ("model.norm.weight".to_owned(), "F16", vec![hidden]),
            ("lm_head.weight".to_owned(), "F16", vec![vocabulary, hidden]),
        ];
        for layer in 0..self.layers {
            let at = format!("model.layers.{layer}");
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                tensors.push((format!("{at}.{norm}.weight"), "F16", vec![hidden]));
            }
            for norm in ["q_norm", "k_norm"].into_iter().filter(|_| self.norms) {
                tensors.push((format!("{at}.self_attn.{norm}.weight"), "F16", vec![HEAD]));
            }
            for (name, rows, columns) in [
                ("q_proj", heads * HEAD, hidden),
                ("k_proj", kv_heads * HEAD, hidden),
                ("v_proj", kv_heads * HEAD, hidden),
                ("o_proj", hidden, heads * HEAD),
            ] {
                self.matrix(&mut tensors, &format!("{at}.self_attn.{name}"), rows, columns);
            }
            let parts: Vec<String> = match self.experts {
                0 => vec![format!("{at}.mlp")],
                experts => (0..experts).map(|expert| format!("{at}.mlp.experts.{expert}")).collect(),
            };
            if self.experts > 0 {
                tensors.push((format!("{at}.mlp.gate.weight"), "F16", vec![self.experts, hidden]));
            }
            for part in parts {
                self.matrix(&mut tensors, &format!("{part}.gate_proj"), inner, hidden);
                self.matrix(&mut tensors, &format!("{part}.up_proj"), inner, hidden);
                self.matrix(&mut tensors, &format!("{part}.down_proj"), hidden, inner);
            }
        }
        tensors
    }

    fn matrix(&self, tensors: &mut Tensors, name: &str, rows: u64, columns: u64) {
        let mut add =
            |part: &str, kind, shape: [u64; 2]| tensors.push((format!("{name}.{part}"), kind, shape.into()));
        match self.stored {
            Stored::Awq => add("qweight", "I32", [columns, rows / 8]),
            Stored::Gptq => add("qweight", "I32", [columns / 8, rows]),
        }
        add("qzeros", "I32", [columns / GROUP, rows / 8]);
        add("scales", "F16", [columns / GROUP, rows]);
        if self.stored == Stored::Gptq {
            tensors.push((format!("{name}.g_idx"), "I32", vec![columns]));
        }
    }

    /// Writes it into a new folder, as large as it would be; with this chat template, where there is one.
    pub(crate) fn write(&self, folder: &Path, template: Option<&str>) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("config.json"), self.config().to_string()).unwrap();
        let (head, data) = header(&self.tensors());
        let mut file = File::create(folder.join("model.safetensors")).unwrap();
        file.write_all(&head).unwrap();
        file.set_len(head.len() as u64 + data).unwrap();
        if let Some(template) = template {
            let tokenizer = json!({ "chat_template": template }).to_string();
            fs::write(folder.join("tokenizer_config.json"), tokenizer).unwrap();
        }
    }
}
