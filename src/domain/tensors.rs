//! The bytes of Qwen3-Next's weights by class, whole and as vLLM shards them.
//!
//! Only the main model counts: vLLM loads the multi-token-prediction layer only for speculative
//! decoding.

use super::{
    checkpoint::Shape,
    problem::Problem,
    quantization::{Rules, Scheme},
    size::Bytes,
};
use serde::{Deserialize, Serialize};

/// What a tensor is for. `--cpu-offload-params experts` moves exactly the first class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The routed experts.
    Experts,
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
}

/// What one rank holds of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharding {
    /// An equal part.
    Split,
    /// An equal part, but never less than one key-value head of this many outputs.
    SplitHeads(u64),
    /// All of it.
    Replicated,
}

/// Equal tensors that are stored and sharded alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What they are for.
    pub class: Class,
    /// Rows.
    pub outputs: u64,
    /// Columns.
    pub inputs: u64,
    /// How many there are.
    pub copies: u64,
    /// What one rank holds of each.
    pub sharding: Sharding,
    /// How they are stored; `None`: in 16 bits.
    pub scheme: Option<Scheme>,
}

impl Group {
    /// Bytes on one of `ranks` ranks. Scales take 16 bits a group, zero points `bits` bits a group.
    fn bytes(&self, ranks: u32) -> u128 {
        let ranks = u128::from(ranks.max(1));
        let (outputs, inputs) = (u128::from(self.outputs), u128::from(self.inputs));
        let weights = match self.sharding {
            Sharding::Split => outputs * inputs / ranks,
            Sharding::SplitHeads(head) => (outputs / ranks).max(u128::from(head)) * inputs,
            Sharding::Replicated => outputs * inputs,
        };
        let each = match self.scheme {
            None => weights * 2,
            Some(scheme) => {
                let bits = u128::from(scheme.bits);
                let group = match scheme.group_size {
                    0 => inputs.max(1),
                    size => u128::from(size),
                };
                let groups = weights / group;
                let zero_points = if scheme.zero_points { groups * bits } else { 0 };
                (weights * bits + groups * 16 + zero_points) / 8
            }
        };
        each * u128::from(self.copies)
    }
}

/// All tensors of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tensors(Vec<Group>);

impl Tensors {
    /// The tensors of a Qwen3-Next of this shape under these rules.
    pub fn of(shape: &Shape, rules: &Rules) -> Result<Self, Problem> {
        let mut tensors = Self::default();
        let vocabulary = (shape.vocab_size, shape.hidden_size);
        tensors.plain(Class::Embedding, vocabulary, Sharding::Split);
        if !shape.tie_word_embeddings {
            let scheme = rules.scheme("lm_head")?;
            tensors.add(Class::LmHead, vocabulary, 1, Sharding::Split, scheme);
        }
        for (layer, kind) in (0..).zip(shape.layers()) {
            let prefix = format!("model.layers.{layer}");
            match kind {
                LayerKind::Full => tensors.attention(shape, rules, &prefix)?,
                LayerKind::Linear => tensors.gdn(shape, rules, &prefix)?,
            }
            tensors.mixture(shape, rules, &prefix)?;
            tensors.plain(Class::Norms, (2, shape.hidden_size), Sharding::Replicated);
        }
        tensors.plain(Class::Norms, (1, shape.hidden_size), Sharding::Replicated);
        Ok(tensors)
    }

    /// Bytes on one of `ranks` ranks.
    pub fn bytes(&self, ranks: u32) -> Bytes {
        self.sum(ranks, |_| true)
    }

    /// Bytes of one class on one of `ranks` ranks.
    pub fn bytes_of(&self, class: Class, ranks: u32) -> Bytes {
        self.sum(ranks, |group| group.class == class)
    }

    /// All groups.
    pub fn groups(&self) -> &[Group] {
        &self.0
    }

    fn sum(&self, ranks: u32, wanted: impl Fn(&Group) -> bool) -> Bytes {
        let groups = self.0.iter().filter(|group| wanted(group));
        let bytes: u128 = groups.map(|group| group.bytes(ranks)).sum();
        Bytes(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    fn plain(&mut self, class: Class, size: (u64, u64), sharding: Sharding) {
        self.add(class, size, 1, sharding, None);
    }

    fn add(
        &mut self,
        class: Class,
        (outputs, inputs): (u64, u64),
        copies: u64,
        sharding: Sharding,
        scheme: Option<Scheme>,
    ) {
        let new = Group { class, outputs, inputs, copies, sharding, scheme };
        let same = |group: &&mut Group| Group { copies, ..(**group).clone() } == new;
        match self.0.iter_mut().find(same) {
            Some(group) => group.copies += copies,
            None => self.0.push(new),
        }
    }

    fn attention(&mut self, shape: &Shape, rules: &Rules, layer: &str) -> Result<(), Problem> {
        let (hidden, head) = (shape.hidden_size, shape.head_dim);
        let query = shape.num_attention_heads * head;
        let key_value = (shape.num_key_value_heads * head, hidden);
        let by_head = Sharding::SplitHeads(head);
        // The query projection also makes the output gate: twice the width.
        for (name, size, sharding) in [
            ("q_proj", (2 * query, hidden), Sharding::Split),
            ("k_proj", key_value, by_head),
            ("v_proj", key_value, by_head),
            ("o_proj", (hidden, query), Sharding::Split),
        ] {
            let scheme = rules.scheme(&format!("{layer}.self_attn.{name}"))?;
            self.add(Class::Attention, size, 1, sharding, scheme);
        }
        self.plain(Class::Norms, (2, head), Sharding::Replicated);
        Ok(())
    }

    fn gdn(&mut self, shape: &Shape, rules: &Rules, layer: &str) -> Result<(), Problem> {
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

    fn mixture(&mut self, shape: &Shape, rules: &Rules, layer: &str) -> Result<(), Problem> {
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
            let scheme = rules.scheme(&format!("{layer}.mlp.shared_expert.{name}"))?;
            self.add(Class::SharedExpert, shared, 1, Sharding::Split, scheme);
        }
        let scheme = rules.scheme(&format!("{layer}.mlp.gate"))?;
        let router = (experts, hidden);
        self.add(Class::Router, router, 1, Sharding::Replicated, scheme);
        // One output cannot be packed: it is never quantised.
        self.plain(Class::Router, (1, hidden), Sharding::Replicated);
        Ok(())
    }
}

/// The two kinds of attention that Qwen3-Next mixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// Softmax attention with a KV cache that grows.
    Full,
    /// A gated delta net with a state of fixed size.
    Linear,
}
