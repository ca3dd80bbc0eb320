"""Make the models that are measured: models.py OUT [--known DIR] [--tiny]

OUT/A  compressed-tensors, 4 bit, groups of 32: as the checkpoint that is named AWQ is stored
OUT/B  GPTQ, 4 bit, groups of 128, its dense layers quantised too
OUT/C  AWQ's own format, 4 bit, groups of 128
       The whole shape of Qwen3-Next-80B-A3B and no weights: for `--load-format dummy`, so that speed and memory are those
       of the real model and text is noise.
OUT/a  the shape of A in four layers, with files of random weights (4 GB): for what is only right with real files
OUT/b  the same of B

The shapes come from the `config.json` files that awqdeploy knows (`src/domain/checkpoint/known`). With `--tiny`, a and b are small enough
for the CPU build of vLLM, and A, B and C are left out.
"""

import argparse
import json
import pathlib

import numpy as np

KNOWN = pathlib.Path(__file__).parents[2] / "src/domain/checkpoint/known"
# What GPTQ quantises. Without it vLLM looks for quantised tensors in files, which a dummy model does not have, and keeps
# everything outside the experts in 16 bits without a word.
DENSE = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "linear_attn.in_proj_qkvz"]
DENSE += ["linear_attn.out_proj", "mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj", "mlp.shared_expert.down_proj"]
AWQ = {
    "quant_method": "awq",
    "bits": 4,
    "group_size": 128,
    "zero_point": True,
    "version": "gemm",
    "modules_to_not_convert": ["mlp.gate", "shared_expert_gate", "linear_attn.in_proj_ba", "lm_head"],
}
SMALL = {"num_hidden_layers": 4, "vocab_size": 32768}
TINY = {
    **SMALL,
    "vocab_size": 1024,
    "hidden_size": 256,
    "num_attention_heads": 8,
    "head_dim": 64,
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 8,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
    "shared_expert_intermediate_size": 256,
}
BF16 = "BF16"
SIZES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "I64": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--known", type=pathlib.Path, default=KNOWN)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    awq, gptq = (json.loads((arguments.known / f"qwen3-next-80b-{name}.json").read_text()) for name in ("awq", "gptq"))
    gptq["quantization_config"]["modules_in_block_to_quantize"] = DENSE
    if not arguments.tiny:
        for name, config in {"A": awq, "B": gptq, "C": awq | {"quantization_config": AWQ}}.items():
            write_folder(arguments.out / name, config)
    shape = TINY if arguments.tiny else SMALL
    for name, config in {"a": awq, "b": gptq}.items():
        small = config | shape
        if arguments.tiny:
            # vLLM's CPU kernels take groups of 32 of either.
            small["quantization_config"] = {**small["quantization_config"], **({"group_size": 32} if name == "b" else {})}
        small |= {"bos_token_id": small["vocab_size"] - 1, "eos_token_id": small["vocab_size"] - 2}
        write_folder(arguments.out / name, small)
        write_weights(arguments.out / name / "model.safetensors", small)


def write_folder(folder: pathlib.Path, config: dict) -> None:
    """Everything but the weights. The tokenizer has a token for each byte and a word for each other id: any text and any id
    are valid, and an answer can be held to a grammar."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = {name: config[f"{name}_token_id"] for name in ("bos", "eos")}
    specials = {f"<|{name}|>": token for name, token in ends.items()}
    vocabulary = {letter: token for token, letter in enumerate(byte_letters())}
    vocabulary |= {f"w{token}": token for token in range(256, config["vocab_size"]) if token not in ends.values()}
    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": token, "content": text, **flags} for text, token in sorted(specials.items(), key=lambda x: x[1])],
        "normalizer": None,
        "pre_tokenizer": bytes_only,
        "post_processor": None,
        "decoder": bytes_only,
        "model": {"type": "BPE", "vocab": vocabulary | specials, "merges": []},
    }
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config["max_position_embeddings"],
        "chat_template": "{% for m in messages %}{{ m['content'] }} {% endfor %}",
        **{f"{name}_token": f"<|{name}|>" for name in ends},
    }
    generation = {f"{name}_token_id": token for name, token in ends.items()}
    files = {"config": config, "tokenizer": tokenizer, "tokenizer_config": about, "generation_config": generation}
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary, as GPT-2 chose them."""
    shown = {*range(ord("!"), ord("~") + 1), *range(ord("\xa1"), ord("\xac") + 1), *range(ord("\xae"), ord("\xff") + 1)}
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in shown else chr(next(hidden)) for byte in range(256)]


class Weights:
    """The tensors of a checkpoint, random and the same each time."""

    def __init__(self, config: dict) -> None:
        self.config = config
        self.random = np.random.default_rng(0)
        self.tensors: list[tuple[str, str, list[int], np.ndarray]] = []
        self.gptq = config["quantization_config"]["quant_method"] == "gptq"
        self.group = config["quantization_config"].get("group_size", 32)

    def add(self, name: str, dtype: str, shape: list[int], values: np.ndarray) -> None:
        assert values.nbytes == int(np.prod(shape)) * SIZES[dtype], (name, values.nbytes, shape, dtype)
        self.tensors.append((name, dtype, shape, values))

    def plain(self, name: str, *shape: int, around: float = 0.0, spread: float = 0.02) -> None:
        values = self.random.standard_normal(shape, dtype=np.float32) * np.float32(spread) + np.float32(around)
        self.add(name, BF16, list(shape), bfloat16(values))

    def quantised(self, module: str, wide: int, deep: int) -> None:
        """A projection from `deep` to `wide`, in 4 bits whose values are spread evenly."""
        groups = deep // self.group
        values = self.random.integers(0, 2**32, wide * deep // 8, dtype=np.uint32)
        # Evenly spread 4 bits have a deviation of 4.6 steps: weights deviate by 0.02.
        scales = self.random.uniform(0.0035, 0.0055, wide * groups).astype(np.float32)
        if self.gptq:
            self.add(f"{module}.qweight", "I32", [deep // 8, wide], values)
            self.add(f"{module}.qzeros", "I32", [groups, wide // 8], np.full(groups * wide // 8, 0x77777777, np.uint32))
            self.add(f"{module}.scales", "F16", [groups, wide], scales.astype(np.float16))
            self.add(f"{module}.g_idx", "I32", [deep], (np.arange(deep) // self.group).astype(np.int32))
        else:
            self.add(f"{module}.weight_packed", "I32", [wide, deep // 8], values)
            self.add(f"{module}.weight_scale", BF16, [wide, groups], bfloat16(scales))
            self.add(f"{module}.weight_shape", "I64", [2], np.array([wide, deep], np.int64))

    def layer(self, number: int) -> None:
        of = self.config
        width, head, at = of["hidden_size"], of["head_dim"], f"model.layers.{number}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            self.plain(f"{at}.{norm}.weight", width, spread=0.0)
        if (number + 1) % of["full_attention_interval"] == 0:
            query, keys = of["num_attention_heads"] * head, of["num_key_value_heads"] * head
            # Twice the queries: the other half is the output's gate.
            for name, wide in {"q": 2 * query, "k": keys, "v": keys}.items():
                self.quantised(f"{at}.self_attn.{name}_proj", wide, width)
            self.quantised(f"{at}.self_attn.o_proj", width, query)
            for name in ("q_norm", "k_norm"):
                self.plain(f"{at}.self_attn.{name}.weight", head, spread=0.0)
        else:
            self.linear_attention(f"{at}.linear_attn")
        self.experts(f"{at}.mlp")

    def linear_attention(self, at: str) -> None:
        of = self.config
        width, keys, values = of["hidden_size"], of["linear_num_key_heads"], of["linear_num_value_heads"]
        key, value = keys * of["linear_key_head_dim"], values * of["linear_value_head_dim"]
        self.plain(f"{at}.A_log", values, around=1.0, spread=0.5)
        self.plain(f"{at}.dt_bias", values, around=1.0, spread=0.1)
        self.plain(f"{at}.conv1d.weight", 2 * key + value, 1, of["linear_conv_kernel_dim"], spread=0.3)
        self.quantised(f"{at}.in_proj_qkvz", 2 * key + 2 * value, width)
        self.plain(f"{at}.in_proj_ba.weight", 2 * values, width)
        self.plain(f"{at}.norm.weight", of["linear_value_head_dim"], around=1.0, spread=0.0)
        self.quantised(f"{at}.out_proj", width, value)

    def experts(self, at: str) -> None:
        of = self.config
        width, deep, shared = of["hidden_size"], of["moe_intermediate_size"], of["shared_expert_intermediate_size"]
        self.plain(f"{at}.gate.weight", of["num_experts"], width)
        self.plain(f"{at}.shared_expert_gate.weight", 1, width)
        for number in range(of["num_experts"]):
            for name in ("gate", "up"):
                self.quantised(f"{at}.experts.{number}.{name}_proj", deep, width)
            self.quantised(f"{at}.experts.{number}.down_proj", width, deep)
        # The published checkpoints differ here: see the `config.json` files.
        for name, wide, narrow in (("gate", shared, width), ("up", shared, width), ("down", width, shared)):
            if self.gptq:
                self.quantised(f"{at}.shared_expert.{name}_proj", wide, narrow)
            else:
                self.plain(f"{at}.shared_expert.{name}_proj.weight", wide, narrow)


def bfloat16(values: np.ndarray) -> np.ndarray:
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def write_weights(path: pathlib.Path, config: dict) -> None:
    weights = Weights(config)
    weights.plain("model.embed_tokens.weight", config["vocab_size"], config["hidden_size"])
    for number in range(config["num_hidden_layers"]):
        weights.layer(number)
    weights.plain("model.norm.weight", config["hidden_size"], spread=0.0)
    weights.plain("lm_head.weight", config["vocab_size"], config["hidden_size"])
    header: dict = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, dtype, shape, values in weights.tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + values.nbytes]}
        position += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, _, values in weights.tensors:
            file.write(values.data)
    print(f"{path}: {len(weights.tensors)} tensors, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
