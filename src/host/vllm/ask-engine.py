"""What vLLM makes of the arguments of `vllm serve`, as one JSON line. Asked of the installed runtime; nothing is loaded."""

import json
import sys


def say(answer):
    print("awqdeploy-answer " + json.dumps(answer), flush=True)


try:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.entrypoints.cli.serve import make_arg_parser

    try:
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError:
        from vllm.utils import FlexibleArgumentParser
except ImportError as error:
    # Another vLLM than those that this was written for. That says nothing against the command line.
    say({"silent": str(error)})
    sys.exit(0)

# The very parser of `vllm serve`: it leaves with status 2 at what it does not know.
arguments = make_arg_parser(FlexibleArgumentParser(prog="vllm serve")).parse_args(sys.argv[1:])
arguments.model = arguments.model_tag
config = EngineArgs.from_cli_args(arguments).create_engine_config()
offload = getattr(config, "offload_config", None)
uva = getattr(offload, "uva", None)
served = config.model_config.served_model_name
say(
    {
        "architecture": config.model_config.architecture,
        "quantization": config.model_config.quantization,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "served_model_name": served[0] if isinstance(served, list) else served,
        "max_model_len": config.model_config.max_model_len,
        "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
        "pipeline_parallel_size": config.parallel_config.pipeline_parallel_size,
        "max_num_seqs": config.scheduler_config.max_num_seqs,
        "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
        "gpu_memory_utilization": config.cache_config.gpu_memory_utilization,
        "cpu_offload_gb": getattr(uva, "cpu_offload_gb", getattr(config.cache_config, "cpu_offload_gb", None)),
        "cpu_offload_params": sorted(getattr(uva, "cpu_offload_params", None) or []),
        "kv_cache_dtype": config.cache_config.cache_dtype,
        "block_size": config.cache_config.block_size,
    }
)
