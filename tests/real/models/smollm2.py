"""Make a small real model, as vLLM serves it, from its GGUF file: in 16 bits, and in 4 bits as the AWQ checkpoints are.

    PYTHONPATH=GGUF_PACKAGE python smollm2.py FILE.gguf OUT

OUT/smollm2-bf16     every weight in bfloat16. The file has them in 4 bits already (Q4_1), so that this is not what was
                     published, but a model that answers: 16 bits of what the file says
OUT/smollm2-w4a16    the same, rounded to nearest: compressed-tensors, 4 bit, symmetric, groups of 32

transformers reads GGUF for a tokenizer, but saves no model that it read from one: the weights are mapped here.
"""

import json
import os
import pathlib
import re
import sys

import numpy
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import save_file
from transformers import AutoTokenizer

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from models import as_compressed_tensors, compressed_tensors_config, quantise  # noqa: E402

OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INSIDE = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
QUANTISED = re.compile(r"\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)\.weight$")


def field(reader: GGUFReader, name: str):
    return reader.fields[name].contents()


def weights(reader: GGUFReader) -> dict:
    heads = {"attn_q": field(reader, "llama.attention.head_count"), "attn_k": field(reader, "llama.attention.head_count_kv")}
    tensors = {}
    for tensor in reader.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        values = numpy.array(dequantize(tensor.data, tensor.tensor_type), dtype=numpy.float32)
        weight = torch.from_numpy(values).reshape(shape)
        match tensor.name.split("."):
            case ["blk", layer, part, kind]:
                name = f"model.layers.{layer}.{INSIDE[part]}.{kind}"
                if part in heads:  # llama.cpp permutes these rows for its rotary embedding
                    halves = weight.reshape(heads[part], shape[0] // heads[part] // 2, 2, *shape[1:])
                    weight = halves.swapaxes(1, 2).reshape(shape)
            case [part, kind]:
                name = f"{OUTSIDE[part]}.{kind}"
        tensors[name] = weight.to(torch.bfloat16).contiguous()
    return tensors


def config(reader: GGUFReader, tensors: dict) -> dict:
    hidden, heads = field(reader, "llama.embedding_length"), field(reader, "llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_size": hidden,
        "intermediate_size": field(reader, "llama.feed_forward_length"),
        "num_hidden_layers": field(reader, "llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": field(reader, "llama.attention.head_count_kv"),
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": round(field(reader, "llama.attention.layer_norm_rms_epsilon"), 12),
        "rope_parameters": {"rope_type": "default", "rope_theta": field(reader, "llama.rope.freq_base")},
        "max_position_embeddings": field(reader, "llama.context_length"),
        "vocab_size": tensors["model.embed_tokens.weight"].shape[0],
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id"),
        "pad_token_id": field(reader, "tokenizer.ggml.padding_token_id"),
        "use_cache": True,
    }


def main() -> None:
    source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    whole = out / "smollm2-bf16"
    whole.mkdir(parents=True, exist_ok=True)
    reader = GGUFReader(os.fspath(source))
    tensors = weights(reader)
    save_file(tensors, whole / "model.safetensors", metadata={"format": "pt"})
    (whole / "config.json").write_text(json.dumps(config(reader, tensors), indent=1) + "\n")
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(whole)
    quantise(whole, out / "smollm2-w4a16", as_compressed_tensors, compressed_tensors_config, torch.bfloat16, QUANTISED)


if __name__ == "__main__":
    main()
