"""`winnow reviews agreement|samples|export|import`: what verdicts are worth, and other tools."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.cli_parts import Argument, existing_store, read_recipe, show
from pipelines.cli_text import Lines, field, number, section

REPORT_EXAMPLES = {
    "reviews agreement": "winnow reviews agreement",
    "reviews samples": "winnow reviews samples",
    "reviews export": "winnow reviews export --label-studio tasks.json",
    "reviews import": "winnow reviews import annotated.json",
}
TASKS: Argument = (
    ("--label-studio",),
    {"required": True, "type": Path, "metavar": "FILE", "help": "its tasks; FILE.xml: its labels"},
)
SIZE: Argument = (
    ("--size",),
    {"type": int, "default": 500, "metavar": "N", "help": "at most so many (default 500)"},
)
ANNOTATED: Argument = (("file",), {"type": Path, "help": "what Label Studio exports as JSON"})


def show_agreement(args: argparse.Namespace) -> int:
    from curation.agreement import compare_reviewers
    from curation.reviews import INBOX, read_said

    found = compare_reviewers(read_said(INBOX.read(existing_store(args))))
    return show(args, found, _say_agreement(found))


def show_samples(args: argparse.Namespace) -> int:
    from curation.lineage.views import newest_view
    from curation.review_rows import read_material
    from curation.review_samples import sample_groups
    from curation.reviews import INBOX, read_said

    recipe, store = read_recipe(args), existing_store(args)
    material = read_material(newest_view(store, recipe.name), recipe.keep)
    samples = sample_groups(material.rows, read_said(INBOX.read(store)))
    return show(args, samples, _say_samples(samples))


def export_tasks(args: argparse.Namespace) -> int:
    from curation.label_studio import CONFIG, write_tasks
    from curation.lineage.finding import row_places, rows_by_id
    from curation.lineage.views import newest_view
    from curation.review_queue import build_queue
    from curation.review_rows import read_material
    from curation.reviews import INBOX, read_said

    recipe, store = read_recipe(args), existing_store(args)
    view = newest_view(store, recipe.name)
    said = read_said(INBOX.read(store))
    queue = build_queue(read_material(view, recipe.keep), said, size=args.size)
    tasks = write_tasks(rows_by_id(row_places(view), queue["id"].to_list()), queue)
    args.label_studio.write_text(json.dumps(tasks, ensure_ascii=False, indent=1), encoding="utf-8")
    config = args.label_studio.with_suffix(".xml")
    config.write_text(CONFIG, encoding="utf-8")
    print(f"{len(tasks):,} tasks written to {args.label_studio}, their labels to {config}")
    return 0


def import_tasks(args: argparse.Namespace) -> int:
    from curation.label_studio import read_tasks
    from curation.lineage.finding import row_places, rows_by_id
    from curation.lineage.views import newest_view
    from curation.reviews import add_verdicts
    from curation.sources.json import json as read_json

    if not args.file.is_file():
        raise FileNotFoundError(f"there is no file {str(args.file)!r}")
    recipe, store = read_recipe(args), existing_store(args)
    places = row_places(newest_view(store, recipe.name))
    records = read_tasks(
        read_json(path=args.file)(),
        lambda ids: rows_by_id(places, list(ids)),
        task=recipe.task,
    )
    delivery = add_verdicts(store, records)
    for position, reason in delivery.quarantined:
        print(f"{position}: {reason}", file=sys.stderr)
    print(delivery.line())
    return 1 if delivery.quarantined and not delivery.new and not delivery.duplicate else 0


def _say_agreement(found: Mapping[str, Any]) -> Lines:
    yield field("reviewers", f"{found['reviewers']:,}")
    yield field("in common", f"{found['rows']:,} rows that two or more judged")
    yield field("alpha", f"{number(found['krippendorff'])} (Krippendorff)")
    many = found["fleiss_reviewers"]
    yield field("kappa", f"{number(found['fleiss'])} (Fleiss, of the rows that {many} judged)")
    head = ["", "", "rows", "agreed", "Cohen"]
    pairs = [
        [*pair["reviewers"], number(pair["rows"]), number(pair["agreed"]), number(pair["cohen"])]
        for pair in found["pairs"]
    ]
    yield from section("pairs", [head, *pairs] if pairs else [], right=range(2, 5))
    gold = [[one["by"], f"{one['right']:,} of {one['rows']:,}"] for one in found["gold"]]
    yield from section("gold rows judged right", gold, right=[1])


def _say_samples(samples: Sequence[Mapping[str, Any]]) -> Lines:
    head = ["", "rows", "good", "state", "confidence"]
    lines = []
    for one in samples:
        state = f"{one['needed']} more" if one["state"] == "more" else one["state"]
        good = f"{one['good']}/{one['looked']}"
        worth = number(one["confidence"]) if one["state"] == "passed" else ""
        group = one["group"] + (" (new)" if one["new"] else "")
        lines.append([group, number(one["rows"]), good, state, worth])
    yield from section("samples", [head, *lines] if lines else [], right=(1, 2, 4))
    if not lines:
        yield "there is nothing to sample yet"
