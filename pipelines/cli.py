"""The command line. Exit codes: 0 done, 1 the data or the gate says no, 2 the user's mistake."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipelines.cli_advise import ADVISE_EXAMPLE, add_advise
from pipelines.cli_alerts import ALERTS_EXAMPLE, add_alerts
from pipelines.cli_aurocs import AUROCS_EXAMPLE, add_aurocs
from pipelines.cli_error_types import TYPE_EXAMPLES, add_error_types
from pipelines.cli_harness import HARNESS_EXAMPLE, add_harness
from pipelines.cli_intake import INTAKE_EXAMPLES, add_intake
from pipelines.cli_lineage import LINEAGE_EXAMPLES, add_lineage
from pipelines.cli_llm import LLM_EXAMPLES, add_llm
from pipelines.cli_methods import METHODS_EXAMPLE, add_methods
from pipelines.cli_models import MODEL_EXAMPLES, add_models
from pipelines.cli_parts import keep_out_of_store
from pipelines.cli_preview import PREVIEW_EXAMPLE, add_preview
from pipelines.cli_prompts import PROMPT_EXAMPLES, add_prompts
from pipelines.cli_review import REVIEW_EXAMPLE, add_review
from pipelines.cli_reviews import REVIEW_EXAMPLES, add_reviews
from pipelines.cli_serve import SERVE_EXAMPLE, add_serve
from pipelines.cli_serve_model import MODEL_SERVER_EXAMPLES, add_model_server
from pipelines.cli_ship import SHIP_EXAMPLES, add_ship
from pipelines.cli_store import add_store
from pipelines.cli_tune import TUNE_EXAMPLE, add_tune

Command = Callable[[argparse.Namespace], int]

EXAMPLES = {
    "demo": "winnow demo",
    "run": "winnow run --recipe my_recipe.yaml --select rows duplicates unique_rows",
    "check": "winnow check my_recipe.yaml",
    "export": "winnow export training_set --to train.jsonl --format sharegpt",
    "preview": PREVIEW_EXAMPLE,
    "aurocs": AUROCS_EXAMPLE,
    "alerts": ALERTS_EXAMPLE,
    "doctor": "winnow doctor",
    **INTAKE_EXAMPLES,
    "serve": SERVE_EXAMPLE,
    "tune": TUNE_EXAMPLE,
    "methods": METHODS_EXAMPLE,
    "lm-eval": HARNESS_EXAMPLE,
    "advise": ADVISE_EXAMPLE,
    **LINEAGE_EXAMPLES,
    "review": REVIEW_EXAMPLE,
    **REVIEW_EXAMPLES,
    **LLM_EXAMPLES,
    **MODEL_EXAMPLES,
    **TYPE_EXAMPLES,
    **PROMPT_EXAMPLES,
    **SHIP_EXAMPLES,
    **MODEL_SERVER_EXAMPLES,
}


GROUPS = (
    add_intake,
    add_serve,
    add_review,
    add_reviews,
    add_error_types,
    add_prompts,
    add_preview,
    add_aurocs,
    add_alerts,
    add_lineage,
    add_store,
    add_llm,
    add_models,
    add_ship,
    add_model_server,
    add_tune,
    add_methods,
    add_harness,
    add_advise,
)
"""What adds the commands that have a file of their own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what the user can mend is one line on stderr."""
    args = build_parser().parse_args(arguments)
    try:
        keep_out_of_store(args)
        return args.command(args)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, LookupError, OSError) as error:
        if isinstance(error, KeyError):
            raise
        print(f"winnow: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        from curation.store import Conflict, Corrupt

        if not isinstance(error, Conflict | Corrupt):
            raise
        print(f"winnow: {error}; see `winnow store check`", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("winnow: stopped; the same command goes on where it was", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command, each with its example."""
    parser = argparse.ArgumentParser(
        prog="winnow", description="Data curation for SFT: every training row can be explained."
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--recipe",
        metavar="FILE",
        help="the recipe (default: $WINNOW_RECIPE, else the in-car example)",
    )
    common.add_argument(
        "--store",
        metavar="PLACE",
        help="a folder or s3://bucket/prefix (default: $WINNOW_STORE, else .winnow here)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(
        commands,
        "demo",
        run_demo,
        "build the in-car example twice and show what it came to",
        common,
    )
    run = _add(
        commands, "run", run_recipe, "build a recipe; what did not change is not computed", common
    )
    run.add_argument("--select", nargs="+", metavar="ASSET", default=(), help="only these assets")
    check = _add(commands, "check", check_recipe, "check a recipe without running it", common)
    check.add_argument("file", nargs="?", help="the recipe")
    for add in GROUPS:
        add(commands, common)
    export = _add(commands, "export", export_asset, "write an asset's rows to a file", common)
    export.add_argument("asset", help="such as rows, kept_rows, training_set")
    export.add_argument("--to", required=True, metavar="FILE", type=Path)
    export.add_argument(
        "--format", default="messages", choices=["messages", "alpaca", "sharegpt", "csv", "parquet"]
    )
    _add(
        commands,
        "doctor",
        run_doctor,
        "look at this machine and this project, and say what is missing",
        common,
    )
    return parser


def run_demo(args: argparse.Namespace) -> int:
    from pipelines.demo import run_demo as demo
    from pipelines.runs import RunFailed

    recipe = _recipe(args)
    try:
        report, promoted = demo(recipe, store=_store_path(args))
    except RunFailed as error:
        return _failed(error)
    print("\n" + report)
    return 0 if promoted else 1


def run_recipe(args: argparse.Namespace) -> int:
    from pipelines.runs import Console, RunFailed, run_graph

    recipe = _recipe(args)
    try:
        outcomes = run_graph(recipe, store=_store_path(args), console=Console(), select=args.select)
    except RunFailed as error:
        return _failed(error)
    recalled = sum(outcome.recalled for outcome in outcomes.values())
    print(f"{len(outcomes) - recalled} computed, {recalled} unchanged")
    model = outcomes.get("model_version")
    if model is None:
        return 0
    from curation.registry import say_verdict

    values = model.version.values
    print(
        f"v{values['number']} ({values['id']}) "
        + say_verdict(values)
        + ("" if values["promoted"] else ": " + "; ".join(values["verdict"]["reasons"]))
    )
    return 0 if values["promoted"] else 1


def check_recipe(args: argparse.Namespace) -> int:
    from assets.graph import build_stages

    args.recipe = args.file or args.recipe
    recipe = _recipe(args)
    parts = {"sources": recipe.sources, "scorers": recipe.scorers, "rules": recipe.keep}
    print(f"{recipe.path}: good; " + ", ".join(f"{len(part)} {n}" for n, part in parts.items()))
    print("assets: " + " ".join(stage.name for stage in build_stages(recipe)))
    return 0


def export_asset(args: argparse.Namespace) -> int:
    from assets.graph import build_stages
    from curation.export import export_rows
    from curation.plugins import nearest

    recipe = _recipe(args)
    names = [stage.name for stage in build_stages(recipe)]
    if args.asset not in names:
        raise LookupError(f"no asset is called {args.asset!r}{nearest(args.asset, names)}")
    version = _store(args).head(f"{recipe.name}/{args.asset}")
    if version is None or "rows" not in version.tables:
        how = f"`winnow run --select {args.asset}`"
        raise LookupError(f"asset {args.asset!r} has no rows yet: build it with {how}")
    n = export_rows(version.table("rows"), args.to, form=args.format)
    print(f"{n:,} rows of {args.asset} written to {args.to}")
    return 0


def run_doctor(args: argparse.Namespace) -> int:
    from pipelines.doctor import examine

    findings = examine(recipe=args.recipe, store=_store_path(args))
    for finding in findings:
        print(finding.line())
    return 0 if all(finding.fine for finding in findings) else 1


def _add(
    commands: Any, name: str, command: Command, text: str, common: argparse.ArgumentParser
) -> Any:
    parser = commands.add_parser(
        name,
        help=text,
        description=text,
        parents=[common],
        epilog=f"example:\n  {EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


def _failed(error: Any) -> int:
    """The exit code of a run that failed: 2 when the user can mend it, 1 when the data says no."""
    from assets.stage import NotBuilt

    print(f"winnow: {error}", file=sys.stderr)
    return 2 if isinstance(error.cause, NotBuilt | OSError) else 1


def _recipe(args: argparse.Namespace) -> Any:
    from assets.recipe import load_recipe
    from pipelines.paths import recipe_path

    return load_recipe(recipe_path(args.recipe))


def _store_path(args: argparse.Namespace) -> Path | str:
    from pipelines.paths import store_path

    return store_path(args.store)


def _store(args: argparse.Namespace) -> Any:
    from assets.io import open_store

    return open_store(_store_path(args))


if __name__ == "__main__":
    sys.exit(main())
