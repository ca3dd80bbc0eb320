"""Make the tiny models that the real tests serve: Qwen3-Next in shape, random in weights, made from nothing.

    python models.py OUT

qwen3next-tiny-awq            stored as the published AWQ checkpoint is: compressed-tensors, 4 bit, symmetric, groups of 32
qwen3next-tiny-gptq           the same weights as GPTQ, 4 bit
qwen3next-tiny-gptq-float16   the same again in float16. vLLM's CPU kernels for linear attention want bfloat16, so this
                              one loads, answers /health with 200, and fails every request: healthy, but broken

Four layers in the real pattern (three of linear attention, one of full attention), eight experts of which two are
active, one shared expert. The same OUT comes out every time.
"""

import json
import pathlib
import re
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3NextConfig, Qwen3NextForCausalLM

GROUP = 32
TEXT = [
    "The quick brown fox jumps over the lazy dog. What is the capital of France? Paris is the capital of France.",
    "awqdeploy rolls back to the previous generation when validation fails. Hello world, 0123456789.",
]
TEMPLATE = (
    "{%- for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)
# What the published 4-bit checkpoints quantise: the experts and the large projections. The router, the gates, the small
# in_proj_ba and the shared expert stay as they are.
QUANTISED = re.compile(
    r"\.(self_attn\.[qkvo]_proj|linear_attn\.(in_proj_qkvz|out_proj)|mlp\.experts\.\d+\.(gate|up|down)_proj)\.weight$"
)


def tokenizer() -> PreTrainedTokenizerFast:
    bytes_only = Tokenizer(models.BPE())
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=509, initial_alphabet=alphabet, show_progress=False)
    bytes_only.train_from_iterator(TEXT * 50, trainer)
    bytes_only.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        model_max_length=4096,
    )


def unquantised(out: pathlib.Path) -> None:
    """The model in bfloat16, from which the others are made."""
    words = tokenizer()
    config = Qwen3NextConfig(
        vocab_size=len(words),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        full_attention_interval=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=64,
        partial_rotary_factor=0.25,
        linear_conv_kernel_dim=4,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        linear_num_key_heads=4,
        linear_num_value_heads=8,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=256,
        shared_expert_intermediate_size=256,
        decoder_sparse_step=1,
        norm_topk_prob=True,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        initializer_range=0.05,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    model = Qwen3NextForCausalLM(config).to(torch.bfloat16)
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.pad_token_id = words.pad_token_id
    model.save_pretrained(out)
    words.save_pretrained(out)


def round_to_nearest(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric 4 bit with an offset of 8: values [out, in] in 0..15, scales [out, in / GROUP]."""
    out, width = weight.shape
    groups = weight.float().reshape(out, width // GROUP, GROUP)
    scale = (groups.abs().amax(-1, keepdim=True) / 7.5).clamp(min=1e-8)
    values = torch.round(groups / scale).clamp(-8, 7) + 8
    return values.reshape(out, width).to(torch.int64), scale.squeeze(-1)


def pack(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Eight values of 4 bits in each int32, the first in the lowest bits."""
    eights = values.movedim(dim, -1).unflatten(-1, (-1, 8))
    shifts = torch.arange(0, 32, 4)
    words = ((eights & 15) << shifts).sum(-1)
    words = torch.where(words >= 2**31, words - 2**32, words)
    return words.to(torch.int32).movedim(-1, dim).contiguous()


def as_compressed_tensors(module: str, weight: torch.Tensor) -> dict:
    values, scale = round_to_nearest(weight)
    return {
        f"{module}.weight_packed": pack(values, 1),
        f"{module}.weight_scale": scale.to(torch.bfloat16),
        f"{module}.weight_shape": torch.tensor(weight.shape, dtype=torch.int64),
    }


def as_gptq(module: str, weight: torch.Tensor) -> dict:
    values, scale = round_to_nearest(weight)
    zeros = torch.full_like(scale, 7, dtype=torch.int64)  # the format stores the zero point less one
    return {
        f"{module}.qweight": pack(values.t().contiguous(), 0),
        f"{module}.qzeros": pack(zeros.t().contiguous(), 1),
        f"{module}.scales": scale.t().contiguous().to(torch.float16),
        f"{module}.g_idx": torch.arange(weight.shape[1], dtype=torch.int32) // GROUP,
    }


def compressed_tensors_config(ignored: list[str]) -> dict:
    weights = {
        "num_bits": 4,
        "type": "int",
        "symmetric": True,
        "group_size": GROUP,
        "strategy": "group",
        "block_structure": None,
        "dynamic": False,
        "actorder": None,
        "observer": "mse",
        "observer_kwargs": {},
    }
    group = {"targets": ["Linear"], "format": "pack-quantized", "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
        "config_groups": {"group_0": group},
        "ignore": ignored,
    }


def gptq_config(ignored: list[str]) -> dict:
    skipped = sorted({re.escape(module.split(".", 3)[-1]) for module in ignored if ".layers." in module})
    return {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": GROUP,
        "desc_act": False,
        "sym": True,
        "lm_head": False,
        "checkpoint_format": "gptq",
        "dynamic": {f"-:.*{module}$": {} for module in skipped},
    }


def quantise(source: pathlib.Path, target: pathlib.Path, convert, config_of, dtype: torch.dtype, which=QUANTISED) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    tensors, ignored = {}, []
    for name, tensor in load_file(source / "model.safetensors").items():
        module = name.removesuffix(".weight")
        if which.search(name):
            tensors |= convert(module, tensor)
            continue
        tensors[name] = tensor.to(dtype) if tensor.dtype == torch.bfloat16 else tensor
        if name.endswith(".weight") and tensor.dim() == 2 and "embed" not in name:
            ignored.append(module)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = config_of(ignored)
    config["dtype"] = str(dtype).removeprefix("torch.")
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(f"{target.name}: {len(tensors)} tensors, {(target / 'model.safetensors').stat().st_size} bytes")


def main() -> None:
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder)
        unquantised(source)
        quantise(source, out / "qwen3next-tiny-awq", as_compressed_tensors, compressed_tensors_config, torch.bfloat16)
        quantise(source, out / "qwen3next-tiny-gptq", as_gptq, gptq_config, torch.bfloat16)
        quantise(source, out / "qwen3next-tiny-gptq-float16", as_gptq, gptq_config, torch.float16)


if __name__ == "__main__":
    main()
