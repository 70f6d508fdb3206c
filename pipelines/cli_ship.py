"""`winnow export-model`: a model version as a folder that other programs load."""

import argparse
import sys
from pathlib import Path
from typing import Any

from pipelines.cli_parts import Argument, add_command, read_recipe, store_and_name

SHIP_EXAMPLES = {"export-model": "winnow export-model champion --to my_model --ollama"}

_ARGUMENTS: list[Argument] = [
    (("version",), {"help": "v2, an id, latest or champion"}),
    (("--to",), {"required": True, "metavar": "DIR", "type": Path, "help": "a new folder"}),
    (
        ("--dtype",),
        {
            "default": "bfloat16",
            "choices": ["bfloat16", "float16", "float32"],
            "help": "what the merged weights are rounded to",
        },
    ),
    (("--ollama",), {"action": "store_true", "help": "with a Modelfile for `ollama create`"}),
    (("--nf4",), {"action": "store_true", "help": "with the model in 4 bits, in a folder nf4"}),
    (
        ("--gguf",),
        {
            "choices": ["q8_0", "bf16", "f16", "f32"],
            "help": "with a GGUF file of this type; needs --llama-cpp",
        },
    ),
    (
        ("--llama-cpp",),
        {"metavar": "DIR", "type": Path, "help": "a checkout of llama.cpp, whose converter is run"},
    ),
]


def add_ship(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command that writes a model version out."""
    said = (export_model, "write a version as one merged model, checked, with its card", _ARGUMENTS)
    add_command(commands, "export-model", said, example=SHIP_EXAMPLES["export-model"],
                common=common)  # fmt: skip


def export_model(args: argparse.Namespace) -> int:
    from assets.ship import Form, ship_version

    recipe, (store, _) = read_recipe(args), store_and_name(args)
    form = Form(args.dtype, args.ollama, args.nf4, args.gguf, args.llama_cpp)
    moved = ship_version(store, recipe, args.version, to=args.to, form=form, report=_report)
    print(f"{args.version} written to {args.to}: {moved.line()}")
    return 0


def _report(line: str) -> None:
    print(line, file=sys.stderr)
