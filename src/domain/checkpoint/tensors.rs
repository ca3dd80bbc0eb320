//! The bytes of a model's weights by class, whole and as vLLM shards them: from `config.json`, or to the
//! byte from the headers of its files.
//!
//! Only the main model counts: vLLM loads the multi-token-prediction layer only for speculative
//! decoding.

use super::{
    architecture::{Family, LayerKind, ModelDims},
    quantization::{Rules, Scheme},
    safetensors::Tensor,
};
use crate::domain::size::ByteSize;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The purpose of a tensor. `--cpu-offload-params experts` moves exactly the first class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The routed experts.
    Experts,
    /// The dense feed-forward part of a layer.
    Mlp,
    /// Projections of full attention.
    Attention,
    /// Projections, convolution and gates of the gated delta net (linear attention).
    Gdn,
    /// The expert that every token passes.
    SharedExpert,
    /// Router and shared expert gate.
    Router,
    /// All norms.
    Norms,
    /// The input embedding.
    Embedding,
    /// The output head.
    LmHead,
    /// All other tensors.
    Other,
}

/// The part of a tensor that one rank holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharding {
    /// An equal part.
    Split,
    /// An equal part of at most so many: key-value heads are copied where there are more ranks.
    SplitAtMost(u64),
    /// All of it.
    Replicated,
}

/// Equal tensors that are sharded alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The class of the tensors.
    pub class: Class,
    /// Bytes of each whole tensor.
    pub bytes: u64,
    /// The number of tensors.
    pub copies: u64,
    /// The part of each that one rank holds.
    pub sharding: Sharding,
    /// The layer that they are of. Absent: of none.
    #[serde(default)]
    pub layer: Option<u64>,
}

impl Group {
    /// Bytes on one of `ranks` ranks: on the one that holds most, where they do not divide evenly.
    fn on(&self, ranks: u32) -> u128 {
        let ranks = u64::from(ranks.max(1));
        let parts = match self.sharding {
            Sharding::Split => ranks,
            Sharding::SplitAtMost(most) => ranks.min(most.max(1)),
            Sharding::Replicated => 1,
        };
        u128::from(self.bytes.div_ceil(parts)) * u128::from(self.copies)
    }
}

/// Bytes of a matrix. Scales take 16 bits a group, zero points `bits` bits a group.
fn stored((outputs, inputs): (u64, u64), scheme: Option<Scheme>) -> u64 {
    let weights = u128::from(outputs) * u128::from(inputs);
    let bytes = match scheme {
        None => weights * 2,
        Some(scheme) => {
            let bits = u128::from(scheme.bits);
            let group = match scheme.group_size {
                0 => u128::from(inputs.max(1)),
                size => u128::from(size),
            };
            let groups = weights / group;
            let zero_points = if scheme.zero_points { groups * bits } else { 0 };
            (weights * bits + groups * 16 + zero_points) / 8
        }
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// All tensors of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tensors(Vec<Group>);

impl Tensors {
    /// The tensors of a model of this shape under these rules.
    pub fn of(shape: &ModelDims, rules: &Rules) -> Result<Self, String> {
        let mut tensors = Self::default();
        if by_files_only(shape.family) {
            return Err("its weights are counted by their files, which are not here".to_owned());
        }
        let vocabulary = (shape.vocab_size, shape.hidden_size);
        tensors.plain(Class::Embedding, vocabulary, Sharding::Split);
        if !shape.tie_word_embeddings {
            let scheme = rules.scheme("lm_head")?;
            tensors.add(Class::LmHead, vocabulary, 1, Sharding::Split, scheme);
        }
        for (number, kind) in (0..).zip(shape.layers()) {
            let prefix = format!("model.layers.{number}");
            let mut layer = Self::default();
            match kind {
                LayerKind::Full => layer.attention(shape, rules, &prefix)?,
                LayerKind::Linear => layer.gdn(shape, rules, &prefix)?,
            }
            match shape.family {
                Family::Qwen3Next | Family::Qwen3Moe => layer.mixture(shape, rules, &prefix)?,
                Family::Mixtral => layer.mixtral(shape, rules, &prefix)?,
                _ => layer.dense(shape, rules, &prefix)?,
            }
            layer.plain(Class::Norms, (2, shape.hidden_size), Sharding::Replicated);
            tensors.of_layer(number, layer);
        }
        tensors.plain(Class::Norms, (1, shape.hidden_size), Sharding::Replicated);
        Ok(tensors)
    }

    /// The tensors that files hold, by their names; one that lies in two files is loaded once. What vLLM does not load is
    /// not counted: layers for speculation, the frequencies of rotary embeddings, a head that is the embedding.
    pub(crate) fn of_headers<'a>(shape: &ModelDims, named: impl Iterator<Item = &'a Tensor>) -> Self {
        let mut tensors = Self::default();
        for Tensor { name, bytes, .. } in named {
            if let Some((class, sharding)) = place(shape, name) {
                let bytes = if class == Class::Experts { padded(shape, name, *bytes) } else { *bytes };
                // The part that sees counts its layers anew.
                let layer = layer(name).filter(|_| class != Class::Other);
                tensors.put(Group { class, bytes, copies: 1, sharding, layer });
            }
        }
        tensors
    }

    /// Bytes on one of `ranks` ranks.
    pub fn bytes(&self, ranks: u32) -> ByteSize {
        self.sum(ranks, |_| true)
    }

    /// Bytes of one class on one of `ranks` ranks.
    pub fn bytes_of(&self, class: Class, ranks: u32) -> ByteSize {
        self.sum(ranks, |group| group.class == class)
    }

    /// All groups.
    pub fn groups(&self) -> &[Group] {
        &self.0
    }

    fn sum(&self, ranks: u32, wanted: impl Fn(&Group) -> bool) -> ByteSize {
        let groups = self.0.iter().filter(|group| wanted(group));
        let bytes: u128 = groups.map(|group| group.on(ranks)).sum();
        ByteSize(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    fn plain(&mut self, class: Class, size: (u64, u64), sharding: Sharding) {
        self.add(class, size, 1, sharding, None);
    }

    fn add(
        &mut self,
        class: Class,
        size: (u64, u64),
        copies: u64,
        sharding: Sharding,
        scheme: Option<Scheme>,
    ) {
        self.put(Group { class, bytes: stored(size, scheme), copies, sharding, layer: None });
    }

    /// Adds what was made for this layer.
    fn of_layer(&mut self, layer: u64, added: Self) {
        self.0.extend(added.0.into_iter().map(|group| Group { layer: Some(layer), ..group }));
    }

    /// The tensors of a stage of a pipeline with these of so many layers: the embedding is on the first, the head on the
    /// last, a head that is the embedding on both, and what is of no layer on each.
    pub(super) fn stage(&self, layers: &Range<u64>, all: u64, tied: bool) -> Self {
        let (first, last) = (layers.start == 0, layers.end == all);
        let here = |group: &&Group| match (group.layer, group.class) {
            (Some(layer), _) => layers.contains(&layer),
            (None, Class::Embedding) => first || (last && tied),
            (None, Class::LmHead) => last,
            (None, _) => true,
        };
        Self(self.0.iter().filter(here).cloned().collect())
    }

    fn put(&mut self, new: Group) {
        let same = |group: &&mut Group| Group { copies: new.copies, ..(**group).clone() } == new;
        // Those of one layer come one after the other.
        match self.0.iter_mut().rev().find(same) {
            Some(group) => group.copies += new.copies,
            None => self.0.push(new),
        }
    }

    fn attention(&mut self, shape: &ModelDims, rules: &Rules, layer: &str) -> Result<(), String> {
        let (hidden, head) = (shape.hidden_size, shape.head_dim);
        let query = shape.num_attention_heads * head;
        let key_value = (shape.num_key_value_heads * head, hidden);
        let by_head = Sharding::SplitAtMost(shape.num_key_value_heads);
        // Qwen3-Next's query projection also makes the output gate: twice the width.
        let queries = if shape.family == Family::Qwen3Next { 2 * query } else { query };
        for (name, size, sharding) in [
            ("q_proj", (queries, hidden), Sharding::Split),
            ("k_proj", key_value, by_head),
            ("v_proj", key_value, by_head),
            ("o_proj", (hidden, query), Sharding::Split),
        ] {
            let scheme = rules.scheme(&format!("{layer}.self_attn.{name}"))?;
            self.add(Class::Attention, size, 1, sharding, scheme);
        }
        if shape.family.norms_heads() {
            self.plain(Class::Norms, (2, head), Sharding::Replicated);
        }
        if shape.family == Family::Qwen2 {
            self.plain(Class::Attention, (1, queries), Sharding::Split);
            self.add(Class::Attention, (1, key_value.0), 2, by_head, None);
        }
        Ok(())
    }

    fn dense(&mut self, shape: &ModelDims, rules: &Rules, layer: &str) -> Result<(), String> {
        let (hidden, inner) = (shape.hidden_size, shape.intermediate_size);
        for (name, size) in
            [("gate_proj", (inner, hidden)), ("up_proj", (inner, hidden)), ("down_proj", (hidden, inner))]
        {
            let scheme = rules.scheme(&format!("{layer}.mlp.{name}"))?;
            self.add(Class::Mlp, size, 1, Sharding::Split, scheme);
        }
        Ok(())
    }

    fn mixtral(&mut self, shape: &ModelDims, rules: &Rules, layer: &str) -> Result<(), String> {
        let (hidden, inner) = (shape.hidden_size, shape.moe_intermediate_size);
        for (name, size) in [("w1", (inner, hidden)), ("w2", (hidden, inner)), ("w3", (inner, hidden))] {
            let scheme = rules.scheme(&format!("{layer}.block_sparse_moe.experts.0.{name}"))?;
            self.add(Class::Experts, size, shape.num_experts, Sharding::Split, scheme);
        }
        // vLLM never quantises this router.
        self.plain(Class::Router, (shape.num_experts, hidden), Sharding::Replicated);
        Ok(())
    }

    fn gdn(&mut self, shape: &ModelDims, rules: &Rules, layer: &str) -> Result<(), String> {
        let hidden = shape.hidden_size;
        let keys = shape.linear_num_key_heads * shape.linear_key_head_dim;
        let values = shape.linear_num_value_heads * shape.linear_value_head_dim;
        for (name, size) in [
            ("in_proj_qkvz", (2 * keys + 2 * values, hidden)),
            ("in_proj_ba", (2 * shape.linear_num_value_heads, hidden)),
            ("out_proj", (hidden, values)),
        ] {
            let scheme = rules.scheme(&format!("{layer}.linear_attn.{name}"))?;
            self.add(Class::Gdn, size, 1, Sharding::Split, scheme);
        }
        let convolution = (2 * keys + values, shape.linear_conv_kernel_dim);
        self.plain(Class::Gdn, convolution, Sharding::Split);
        // `A_log` and `dt_bias`.
        let gates = (2, shape.linear_num_value_heads);
        self.plain(Class::Gdn, gates, Sharding::Split);
        let norm = (1, shape.linear_value_head_dim);
        self.plain(Class::Norms, norm, Sharding::Replicated);
        Ok(())
    }

    fn mixture(&mut self, shape: &ModelDims, rules: &Rules, layer: &str) -> Result<(), String> {
        let hidden = shape.hidden_size;
        let experts = shape.num_experts;
        for (name, shared, routed) in [
            (
                "gate_proj",
                (shape.shared_expert_intermediate_size, hidden),
                (shape.moe_intermediate_size, hidden),
            ),
            (
                "up_proj",
                (shape.shared_expert_intermediate_size, hidden),
                (shape.moe_intermediate_size, hidden),
            ),
            (
                "down_proj",
                (hidden, shape.shared_expert_intermediate_size),
                (hidden, shape.moe_intermediate_size),
            ),
        ] {
            // vLLM decides once for all experts of a layer, so one stands for all.
            let scheme = rules.scheme(&format!("{layer}.mlp.experts.0.{name}"))?;
            self.add(Class::Experts, routed, experts, Sharding::Split, scheme);
            if shape.family == Family::Qwen3Next {
                let scheme = rules.scheme(&format!("{layer}.mlp.shared_expert.{name}"))?;
                self.add(Class::SharedExpert, shared, 1, Sharding::Split, scheme);
            }
        }
        let scheme = rules.scheme(&format!("{layer}.mlp.gate"))?;
        let router = (experts, hidden);
        self.add(Class::Router, router, 1, Sharding::Replicated, scheme);
        if shape.family == Family::Qwen3Next {
            // One output cannot be packed: it is never quantised.
            self.plain(Class::Router, (1, hidden), Sharding::Replicated);
        }
        Ok(())
    }
}

/// The layer that is in a tensor's name.
fn layer(name: &str) -> Option<u64> {
    name.split_once("layers.").and_then(|(_, rest)| rest.split('.').next()?.parse().ok())
}

/// Whether a tensor belongs to the layers that guess tokens ahead (MTP).
pub(super) fn speculates(shape: &ModelDims, name: &str) -> bool {
    let layer = layer(name);
    name.split('.').any(|segment| segment == "mtp")
        || layer.is_some_and(|layer| layer >= shape.num_hidden_layers)
}

/// Whether only the headers of its files tell the weights.
const fn by_files_only(family: Family) -> bool {
    matches!(
        family,
        Family::Dense
            | Family::Sparse
            | Family::GptOss
            | Family::Gemma3
            | Family::Latent
            | Family::HybridDense
            | Family::HybridSparse
    )
}

/// Bytes of experts in MXFP4 as vLLM's kernels keep them: the inner width in steps of 128, the outer in steps of 256. With it
/// gpt-oss 20b and 120b are 13.68 and 65.9 GiB; 13.72 and 65.97 were logged.
fn padded(shape: &ModelDims, name: &str, bytes: u64) -> u64 {
    let packed = name.ends_with("_blocks") || name.ends_with("_scales");
    let (inner, outer) = (shape.moe_intermediate_size, shape.hidden_size);
    if shape.family != Family::GptOss || !packed {
        return bytes;
    }
    let kept = u128::from(inner.next_multiple_of(128)) * u128::from(outer.next_multiple_of(256));
    let held = u128::from(inner.max(1)) * u128::from(outer.max(1));
    u64::try_from(u128::from(bytes) * kept / held).unwrap_or(u64::MAX)
}

/// Class and sharding of a tensor by its name in the files; `None` where vLLM does not load it.
fn place(shape: &ModelDims, name: &str) -> Option<(Class, Sharding)> {
    let has = |part: &str| name.split('.').any(|segment| segment == part);
    if speculates(shape, name) || has("inv_freq") || (shape.tie_word_embeddings && has("lm_head")) {
        return None;
    }
    // Parts that see are small. That of Gemma (SigLIP) is split like a language model; how others are is unknown, and a whole
    // copy is the safe guess.
    if ["visual", "vision_tower", "vision_model", "multi_modal_projector"].iter().any(|part| has(part)) {
        let matrix = ["self_attn", "mlp"].iter().any(|part| has(part)) && has("weight");
        let split = shape.family == Family::Gemma3 && matrix;
        return Some((Class::Other, if split { Sharding::Split } else { Sharding::Replicated }));
    }
    let latent = has("kv_a_proj_with_mqa") || has("q_a_proj");
    let keys_and_values = Sharding::SplitAtMost(shape.num_key_value_heads);
    let (class, sharding) = match () {
        () if has("experts") => (Class::Experts, Sharding::Split),
        () if has("shared_expert_gate") || has("gate") || has("router") => {
            (Class::Router, Sharding::Replicated)
        }
        () if has("shared_expert") => (Class::SharedExpert, Sharding::Split),
        () if name.contains("norm.") => (Class::Norms, Sharding::Replicated),
        () if has("embed_tokens") => (Class::Embedding, Sharding::Split),
        () if has("lm_head") => (Class::LmHead, Sharding::Split),
        () if has("linear_attn") => (Class::Gdn, Sharding::Split),
        () if latent => (Class::Attention, Sharding::Replicated),
        () if has("k_proj") || has("v_proj") => (Class::Attention, keys_and_values),
        () if has("self_attn") => (Class::Attention, Sharding::Split),
        () if has("mlp") => (Class::Mlp, Sharding::Split),
        // How it is split is unknown: a whole copy is the safe guess.
        () => (Class::Other, Sharding::Replicated),
    };
    // Two numbers that every rank keeps.
    Some((class, if has("weight_shape") { Sharding::Replicated } else { sharding }))
}
