"""`winnow aurocs`: how well each scorer, and the ensemble of them, agrees with human verdicts."""

import argparse
from collections.abc import Iterator
from typing import Any

from pipelines.cli_parts import existing_store, read_recipe, say_nothing, show
from pipelines.cli_text import field, number, section

AUROCS_EXAMPLE = "winnow aurocs"


def add_aurocs(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "aurocs",
        help="how well each scorer agrees with human verdicts",
        description="How often an accepted row has a higher score than a rejected one, for each "
        "scorer and for the ensemble on rows it was not fitted on, with 95 % intervals. Below .5 "
        "people accept the lower scores.",
        parents=[common],
        epilog=f"example:\n  {AUROCS_EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=list_aurocs)


def list_aurocs(args: argparse.Namespace) -> int:
    from curation.ensemble import ENSEMBLE

    recipe = read_recipe(args)
    if ENSEMBLE not in recipe.scores:
        raise ValueError(f"{recipe.path}: no ensemble; add `ensemble: {{verdicts: FILE}}` to it")
    version = existing_store(args).head(f"{recipe.name}/facts/{ENSEMBLE}")
    if version is None:
        return say_nothing("nothing is fitted yet: run `winnow run --select facts/ensemble`")
    answer = {
        "verdicts": version.values["verdicts"],
        "aurocs": version.table("aurocs").to_dicts(),
    }
    return show(args, answer, _say(version.checks["verdicts"][1], answer["aurocs"]))


def _say(verdicts: str, aurocs: list[dict[str, Any]]) -> Iterator[str]:
    yield field("verdicts", verdicts)
    head = ["", "AUROC", "from", "to", "rows"]
    names = ("auroc", "low", "high", "n")
    lines = [[line["scorer"], *(number(line[n]) for n in names)] for line in aurocs]
    if lines:
        yield from section("scorers", [head, *lines], right=range(1, 5))
    else:
        yield "nothing is fitted: there are too few verdicts"
