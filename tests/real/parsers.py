"""The flags and variables that the installed vLLM knows, as one JSON line."""

import json

import vllm.envs
from vllm.engine.arg_utils import EngineArgs
from vllm.entrypoints.cli.serve import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser


def flags(parser):
    return sorted(flag for action in parser._actions for flag in action.option_strings)


serve = make_arg_parser(FlexibleArgumentParser())
print(
    "known "
    + json.dumps(
        {
            "engine": flags(EngineArgs.add_cli_args(FlexibleArgumentParser())),
            "serve": flags(serve),
            # Those that help does not show are known as well: `--no-enable-x` of 0.33.
            "switches": sorted(
                flag for flag, action in serve._option_string_actions.items() if action.nargs == 0 and action.dest != "help"
            ),
            "variables": sorted(vllm.envs.environment_variables),
        }
    )
)
