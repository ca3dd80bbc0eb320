"""What vLLM's own configuration classes make of configurations: `configs.py FILE`, one JSON line for each."""

import json
import logging
import os
import sys
import tempfile

logging.disable(logging.CRITICAL)

from vllm.config import ModelConfig, ParallelConfig  # noqa: E402


def read(files, folder):
    os.makedirs(folder)
    for name, text in files.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    try:
        model = ModelConfig(model=folder, tokenizer=folder, skip_tokenizer_init=True)
    except Exception:
        return {"refused": True}
    text = model.hf_text_config
    rope = getattr(text, "rope_parameters", None) or {}
    return {
        "quantization": model.quantization,
        # By default it takes less than it allows.
        "context": None if rope.get("rope_type") == "longrope" else model.max_model_len,
        "heads": model.get_num_attention_heads(ParallelConfig()),
        "kv_heads": model.get_total_num_kv_heads(),
        "head_dim": model.get_head_size(),
        "layers": text.num_hidden_layers,
        "hidden_size": model.get_hidden_size(),
        "vocab_size": model.get_vocab_size(),
    }


with tempfile.TemporaryDirectory() as scratch, open(sys.argv[1]) as file:
    for number, found in enumerate(json.load(file)):
        answer = read(found["files"], os.path.join(scratch, str(number)))
        print("read " + json.dumps({"name": found["name"], "vllm": answer}))
