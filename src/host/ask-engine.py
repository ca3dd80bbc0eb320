"""What vLLM makes of a command line, as one JSON line: asked of the installed runtime, nothing is loaded."""

import json
import sys

from vllm.engine.arg_utils import EngineArgs

try:
    from vllm.utils.argparse_utils import FlexibleArgumentParser
except ImportError:
    from vllm.utils import FlexibleArgumentParser

model, *flags = sys.argv[1:]
parser = EngineArgs.add_cli_args(FlexibleArgumentParser())
# Flags of the front end are not the engine's.
known, _ = parser.parse_known_args(["--model", model, *flags])
config = EngineArgs.from_cli_args(known).create_engine_config()
offload = getattr(config, "offload_config", None)
uva = getattr(offload, "uva", None)
answer = {
    "quantization": config.model_config.quantization,
    "max_model_len": config.model_config.max_model_len,
    "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
    "max_num_seqs": config.scheduler_config.max_num_seqs,
    "cpu_offload_gb": getattr(uva, "cpu_offload_gb", None),
}
print("awqdeploy-answer " + json.dumps(answer))
